/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The records of threads. They are in task storage if tracing programs have it,
 * else in a hash map by thread id; either with room for payloads or without.
 * Only one of these four maps exists, and the verifier removes the paths to the
 * others.
 */
#ifndef MQSPAN_THREAD_BPF_H
#define MQSPAN_THREAD_BPF_H

#define EINTR 4 /* include/uapi/asm-generic/errno-base.h */
#define ERESTARTSYS 512 /* include/linux/errno.h, never seen by user space */

/*
 * Keeps the compiler from merging calls on two maps into one call on either
 * map: then both paths would refer to the map that does not exist.
 */
#define KEEP_APART() asm volatile("" ::: "memory")

static __always_inline struct thread_record *thread_by_id(__u32 tid)
{
	struct thread_record *thread;

	if (payload_max) {
		thread = bpf_map_lookup_elem(&tids_payload, &tid);
		KEEP_APART();
		return thread;
	}
	return bpf_map_lookup_elem(&threads_by_id, &tid);
}

static __always_inline struct thread_record *
thread_in_storage(struct task_struct *task, __u64 flags)
{
	struct thread_record *thread;

	if (payload_max) {
		thread = bpf_task_storage_get(&threads_payload, task, NULL,
					      flags);
		KEEP_APART();
		return thread;
	}
	return bpf_task_storage_get(&threads, task, NULL, flags);
}

/* The record of any task if it has one; for iterators. */
static __always_inline struct thread_record *
thread_find_of(struct task_struct *task)
{
	if (use_task_storage)
		return thread_in_storage(task, 0);
	return thread_by_id(task->pid);
}

/* The record of the current task if it has one. */
static __always_inline struct thread_record *
thread_find(struct task_struct *task)
{
	if (use_task_storage)
		return thread_in_storage(task, 0);
	return thread_by_id((__u32)bpf_get_current_pid_tgid());
}

static __always_inline void thread_insert_by_id(__u32 tid)
{
	if (payload_max) {
		bpf_map_update_elem(&tids_payload, &tid,
				    &empty_thread_with_payload, BPF_NOEXIST);
		KEEP_APART();
	} else {
		bpf_map_update_elem(&threads_by_id, &tid, &empty_thread,
				    BPF_NOEXIST);
	}
}

static __always_inline void thread_delete_by_id(__u32 tid)
{
	if (payload_max) {
		bpf_map_delete_elem(&tids_payload, &tid);
		KEEP_APART();
	} else {
		bpf_map_delete_elem(&threads_by_id, &tid);
	}
}

static __always_inline void thread_delete(struct task_struct *task, __u32 tid)
{
	if (!use_task_storage) {
		thread_delete_by_id(tid);
	} else if (payload_max) {
		bpf_task_storage_delete(&threads_payload, task);
		KEEP_APART();
	} else {
		bpf_task_storage_delete(&threads, task);
	}
}

#endif
