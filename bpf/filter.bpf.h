/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decides which calls are wanted. What these programs cannot decide passes, and
 * the agent decides: containers that it has not seen before, globs whose table
 * would be too large, and calls with CALL_UNDECIDED.
 */
#ifndef MQSPAN_FILTER_BPF_H
#define MQSPAN_FILTER_BPF_H

/*
 * Cold paths and loops are global functions: the object contains them once, and
 * the verifier checks each once per program instead of once per path that leads
 * to it. They take no pointers; they look up the thread's record again.
 */

/* By system call, ABI and process, which are constant from entry to return. */
static __always_inline bool wanted(__u8 op, __u8 abi, __u32 pid)
{
	__u8 *verdict;

	if (!(filter.operations & (1U << op)))
		return false;
	if (abi == ABI_COMPAT ? !filter.compat : !filter.native)
		return false;
	if (!filter.by_process)
		return true;
	verdict = bpf_map_lookup_elem(&pids, &pid);
	return (verdict ? *verdict : filter.pid_default) == WANTED;
}

static __always_inline bool wanted_at_entry(__u8 op, __u8 abi)
{
	return wanted(op, abi, bpf_get_current_pid_tgid() >> 32);
}

static __always_inline bool id_wanted(__u16 kind, __u32 id, __u8 by_default)
{
	struct id_key key = {
		.slot = filter.generation & 1,
		.kind = kind,
		.id = id,
	};
	__u8 *verdict = bpf_map_lookup_elem(&ids, &key);

	return (verdict ? *verdict : by_default) == WANTED;
}

/* Runs a name through the automaton for its kind, starting at cell 0. */
static __always_inline __u8 name_verdict(__u32 kind, const char *name, int size)
{
	const struct name_table *table = &names[filter.generation & 1][kind];
	__u32 at = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < size; i++) {
		__u8 byte = name[i];

		if (!byte)
			break;
		at = table->cells[(at + table->column[byte]) &
				  (NAME_CELLS - 1)];
	}
	return table->cells[(at + table->end) & (NAME_CELLS - 1)];
}

/* Verdicts on names stay in the thread's record until the filter changes. */
static __always_inline void verdicts_renew(struct thread_record *thread)
{
	if (thread->judged == filter.generation)
		return;
	thread->judged = filter.generation;
	thread->comm_verdict = UNKNOWN;
	thread->queue_verdict = UNKNOWN;
}

static __always_inline void comm_read(struct task_struct *task, __u64 comm[2])
{
	if (!HAVE_TASK_BTF) {
		bpf_probe_read_kernel(comm, COMM_SIZE, &task->comm);
		return;
	}
	comm[0] = *(__u64 *)&task->comm[0];
	comm[1] = *(__u64 *)&task->comm[8];
}

static __always_inline bool comm_wanted(struct task_struct *task,
					struct thread_record *thread)
{
	__u64 comm[2];

	if (!thread)
		return true;
	comm_read(task, comm);
	verdicts_renew(thread);
	if (thread->comm_verdict && thread->comm[0] == comm[0] &&
	    thread->comm[1] == comm[1])
		return thread->comm_verdict == WANTED;
	thread->comm[0] = comm[0];
	thread->comm[1] = comm[1];
	thread->comm_verdict =
		name_verdict(NAME_COMM, (const char *)thread->comm, COMM_SIZE);
	return thread->comm_verdict == WANTED;
}

static __always_inline bool container_wanted(struct task_struct *task)
{
	__u64 id = cgroup_key(runtime_cgroup(task));
	struct cgroup_verdict *known = bpf_map_lookup_elem(&cgroups, &id);

	return !known || known->generation != filter.generation ||
	       known->verdict == WANTED;
}

/* By the process and the thread as they are now; thread may be NULL. */
static __always_inline enum verdict caller_verdict(struct task_struct *task,
						   struct thread_record *thread)
{
	if (filter.by_uid &&
	    !id_wanted(ID_UID, TASK_VIA(task, real_cred, uid.val),
		       filter.uid_default))
		return UNWANTED;
	if (filter.by_container && !container_wanted(task))
		return UNWANTED;
	if (filter.by_comm && !comm_wanted(task, thread))
		return UNWANTED;
	return WANTED;
}

__noinline int caller_judge(void)
{
	struct task_struct *task = current_task();

	return caller_verdict(task, filter.by_comm ? thread_find(task) : NULL);
}

static __always_inline bool caller_wanted(void)
{
	return !filter.by_caller || caller_judge() == WANTED;
}

/* By the queue of the thread's call and its IPC namespace. */
static __always_inline enum verdict queue_verdict(struct thread_record *thread)
{
	if (filter.by_namespace && !id_wanted(ID_NAMESPACE, thread->call.ipc_ns,
					      filter.namespace_default))
		return UNWANTED;
	if (!filter.by_queue)
		return WANTED;
	if (!(thread->call.flags & CALL_NAME))
		return filter.queue_default;
	verdicts_renew(thread);
	/*
	 * The verdict is cached for thread->file. A name that came as an
	 * argument belongs to no file yet.
	 */
	if (thread->file && thread->queue_verdict)
		return thread->queue_verdict;
	thread->queue_verdict =
		name_verdict(NAME_QUEUE, thread->call.name, QUEUE_NAME_SIZE);
	return thread->queue_verdict;
}

__noinline int queue_judge(void)
{
	struct thread_record *thread = thread_find(current_task());

	return thread ? queue_verdict(thread) : WANTED;
}

static __always_inline bool queue_wanted(void)
{
	return !(filter.by_queue || filter.by_namespace) ||
	       queue_judge() == WANTED;
}

static __always_inline bool wanted_at_return(const struct call_event *call)
{
	if (filter.errors_only && call->ret >= 0 && !(call->flags & CALL_DIED))
		return false;
	if (filter.min_duration_ns &&
	    call->end_ns - call->start_ns < filter.min_duration_ns)
		return false;
	return true;
}

#endif
