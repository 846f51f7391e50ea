/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Iterators over all threads, mainly to find blocked calls. The entry of a call
 * that was already blocked when the agent attached was not seen. it_blocked
 * runs once, after the hooks are in place, and makes the records that those
 * entries would have made. it_waiting tells who waits at the moment.
 */
#ifndef MQSPAN_BLOCKED_BPF_H
#define MQSPAN_BLOCKED_BPF_H

/* The file behind a descriptor of any process, or NULL. */
static __always_inline struct file *task_file(struct task_struct *task,
					      __s32 mqdes)
{
	struct file **slots = BPF_CORE_READ(task, files, fdt, fd);
	struct file *file = NULL;

	if ((__u32)mqdes < BPF_CORE_READ(task, files, fdt, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file),
				      slots + (__u32)mqdes);
	return file;
}

static __always_inline bool task_is_compat(struct task_struct *task,
					   const struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
#elif defined(__TARGET_ARCH_arm64)
	return REGISTERS_ARE_COMPAT(regs);
#endif
}

/*
 * The agent waits for this iterator by reading it to its end. If a thread
 * returns from its call while the iterator looks at it, the call is counted as
 * return_missed at the thread's next call.
 *
 * A thread that entered after the first program was attached to its function,
 * but before the last, has a record, but its return will not be seen: each
 * attachment makes the kernel skip the return programs of the calls inside
 * (backend_fentry.bpf.h). Such threads are awaited like the others.
 */
SEC("iter/task")
int it_blocked(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	const struct pt_regs *regs;
	struct thread_record *thread;
	struct call_args args;
	bool compat, stopped;
	__u64 nr;
	__u8 op;

	if (!task)
		return 0;
	thread = thread_find_of(task);
	if (thread && thread->state == THREAD_IN_CALL && !thread->is_awaited) {
		thread->is_awaited = 1;
		__sync_fetch_and_add(&found_blocked, 1);
		if (thread->state != THREAD_IN_CALL)
			await_no_more(thread);
	}
	regs = registers_of(task);
	/* In user space the number is stale; while asleep it is valid. */
	if (!task_is_asleep(task))
		return 0;
	/* A stop has ended the wait: what comes next is a restart. */
	stopped = task_is_stopped(task);
	if (stopped && RETURN_VALUE_PROBE(regs) != -ERESTARTSYS)
		return 0;
	nr = SYSCALL_NR_PROBE(regs);
	compat = task_is_compat(task, regs);
	op = operation_of(nr, compat);
	if (!is_transfer(op) ||
	    !wanted(op, compat ? ABI_COMPAT : ABI_NATIVE, task->tgid))
		return 0;
	if (!thread) {
		if (use_task_storage)
			thread_in_storage(task, BPF_LOCAL_STORAGE_GET_F_CREATE);
		else
			thread_insert_by_id(task->pid);
		thread = thread_find_of(task);
		if (!thread)
			return 0;
		thread->owner = owner_of(task);
		if (!thread_counts(thread)) {
			thread_delete(task, task->pid);
			return 0;
		}
	}
	if (thread->state != THREAD_IDLE)
		return 0;
	if (compat)
		args = COMPAT_ARGS(PROBE, regs);
	else
		args = NATIVE_ARGS(PROBE, regs);
	thread->call.flags = CALL_START_UNKNOWN | CALL_UNDECIDED;
	thread->call.start_ns = bpf_ktime_get_boot_ns();
	thread->call.ipc_ns = BPF_CORE_READ(task, nsproxy, ipc_ns, ns.inum);
	thread->call.pid = task->tgid;
	thread->call.tid = task->pid;
	context_clear(thread); /* only the thread itself can read it */
	root_is_own(thread);
	call_arguments(thread, op, compat ? ABI_COMPAT : ABI_NATIVE, &args,
		       task_file(task, args.arg[0]));
	if (caller_verdict(task, thread) != WANTED ||
	    queue_verdict(thread) != WANTED) {
		/* Any program that runs next is at another call's entry. */
		thread->entered_by = ~0;
		call_filtered(thread, op);
		return 0;
	}
	if (stopped) {
		thread->state = THREAD_INTERRUPTED;
		thread->call.ret = -ERESTARTSYS;
		thread->call.end_ns = 0; /* set by stopped_goes_on() */
	} else {
		thread->state = THREAD_IN_CALL;
	}
	/* Any program that runs next is at another call's entry. */
	thread->entered_by = ~0;
	if (!thread->is_awaited) {
		thread->is_awaited = 1;
		__sync_fetch_and_add(&found_blocked, 1);
	}
	COUNT(start_unknown);
	return 0;
}

/*
 * Writes the record of each thread that waits in a send or receive now. Only
 * what is known at the entry is valid, plus pid, tid and comm. These are
 * otherwise filled in at the return, with the same values.
 */
SEC("iter/task")
int it_waiting(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread_record *thread;
	const struct pt_regs *regs;
	__u64 nr;

	if (!task || !task_is_asleep(task))
		return 0;
	thread = thread_find_of(task);
	if (thread && thread->state == THREAD_IN_CALL &&
	    is_transfer(thread->call.op)) {
		/* If its return was missed, the thread now sleeps elsewhere. */
		regs = registers_of(task);
		nr = SYSCALL_NR_PROBE(regs);
		if (operation_of(nr, task_is_compat(task, regs)) !=
		    thread->call.op)
			return 0;
		thread->call.pid = task->tgid;
		thread->call.tid = task->pid;
		BPF_CORE_READ_INTO(&thread->call.comm, task, comm);
		bpf_seq_write(ctx->meta->seq, &thread->call,
			      sizeof(thread->call));
	}
	return 0;
}

/* The processes of the host, with their ids in the reader's PID namespace. */
SEC("iter/task")
int it_processes(struct bpf_iter__task *ctx)
{
	struct task_struct *reader = (void *)bpf_get_current_task();
	struct task_struct *task = ctx->task;
	struct process_entry entry = {};
	struct pid *here, *pid;
	struct pid_level level;

	if (!task || task->pid != task->tgid)
		return 0;
	here = BPF_CORE_READ(reader, thread_pid);
	pid = BPF_CORE_READ(task, thread_pid);
	entry.pid = task->tgid;
	entry.parent = BPF_CORE_READ(task, real_parent, tgid);
	entry.level_here = BPF_CORE_READ(here, level);
	level = pid_at(pid, entry.level_here);
	if (level.ns == pid_at(here, entry.level_here).ns)
		entry.pid_here = level.pid;
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}

/*
 * One byte for each thread that has a record. The agent corrects the count in
 * followed by this, because the end of a thread can be missed ("Spares" in
 * call.bpf.h).
 */
SEC("iter/task")
int it_followed(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	char one = 1;

	if (task && thread_find_of(task))
		bpf_seq_write(ctx->meta->seq, &one, sizeof(one));
	return 0;
}

/*
 * The return of a call that it_blocked found. The backend's own return hook
 * (fentry, kprobe) is not on that thread's stack. Attached only until the last
 * of these calls has returned, because it runs at every system call.
 */
static __always_inline int blocked_left(const struct pt_regs *regs, long ret)
{
	struct task_struct *task;
	struct thread_record *thread;

	if (!found_blocked || !number_of_interest(SYSCALL_NR(regs)))
		return 0;
	task = current_task();
	thread = thread_find(task);
	if (thread && thread->state == THREAD_IN_CALL && thread->is_awaited)
		call_leave(task, thread, ret);
	return 0;
}

#define CATCH_UP_PROGRAM(suffix)                                          \
	SEC("tp_btf/sys_exit")                                            \
	int BPF_PROG(tp_catch_up##suffix, struct pt_regs *regs, long ret) \
	{                                                                 \
		return blocked_left(regs, ret);                           \
	}

CATCH_UP_PROGRAM()
CATCH_UP_PROGRAM(_2)
CATCH_UP_PROGRAM(_3)
CATCH_UP_PROGRAM(_4)

#endif
