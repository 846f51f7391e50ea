/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Signals, forks and exits: what the return of a call alone does not tell.
 * These programs are idempotent: running one several times for one event
 * changes nothing ("Spares" in call.bpf.h).
 */
#ifndef MQSPAN_LIFECYCLE_BPF_H
#define MQSPAN_LIFECYCLE_BPF_H

#define SA_RESTART 0x10000000 /* include/uapi/asm-generic/signal-defs.h */
#define SIGNAL_GROUP_EXIT 0x4 /* include/linux/sched/signal.h */
#define SIGKILL 9

/*
 * get_signal() has dequeued a signal for the current thread. If there is a
 * handler, its SA_RESTART decides between a restart and EINTR. If there is
 * none, the thread dies or restarts the call; its exit or its next entry tells
 * which.
 */
static __always_inline int signal_delivered(const struct k_sigaction *action)
{
	struct task_struct *task = current_task();
	struct thread_record *thread = thread_find(task);

	if (!thread || (thread->state != THREAD_INTERRUPTED &&
			!thread->interrupted_start_ns))
		return 0;
	if ((__u64)action->sa.sa_handler <= 1) /* SIG_DFL, SIG_IGN */
		return 0;
	if (thread->state == THREAD_INTERRUPTED)
		call_interrupted(task, thread, action->sa.sa_flags & SA_RESTART,
				 true);
	else
		thread->goes_back = 0;
	return 0;
}

/*
 * A signal handler has returned instead of jumping out (siglongjmp(3)), so the
 * thread goes on where the signal interrupted it. If that is the instruction of
 * the interrupted call, what comes next is its restart.
 */
static __always_inline int handler_returned(const struct pt_regs *regs)
{
	struct thread_record *thread = thread_find(current_task());

	if (thread && thread->interrupted_start_ns &&
	    SP_PROBE(regs) == thread->interrupted_sp &&
	    IP_PROBE(regs) + STEP_BACK == thread->interrupted_ip)
		thread->goes_back = 1;
	return 0;
}

/*
 * The signal that ends the process. SIGKILL if another thread's execve() or
 * exit_group() ends this one: then the exit code holds a status and no signal.
 */
static __always_inline __u32 signal_of_death(struct task_struct *task)
{
	__u32 signal = 0;

	if (TASK_VIA(task, signal, flags) & SIGNAL_GROUP_EXIT)
		signal = TASK_VIA(task, signal, group_exit_code) & 0x7f;
	return signal ? signal : SIGKILL;
}

static __always_inline int thread_exits(void)
{
	struct task_struct *task = current_task();
	struct thread_record *thread = thread_find(task);
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 pid = pid_tgid >> 32, tid = (__u32)pid_tgid;

	if (thread && thread->state == THREAD_INTERRUPTED) {
		stopped_goes_on(task, thread);
		thread->call.end_ns = bpf_ktime_get_boot_ns();
		thread->call.death_signal = signal_of_death(task);
		thread->call.flags |= CALL_DIED;
		call_submit(task, thread);
	} else if (thread && thread->state == THREAD_IN_CALL) {
		call_missed(thread);
	}
	if (thread) {
		await_no_more(thread);
		thread_unfollow(thread);
	}
	if (!use_task_storage && thread)
		thread_delete_by_id(tid);
	if (!filter.by_process && !contexts_known)
		return 0;
	if (!TASK_VIA(task, signal, live.counter)) {
		bpf_map_delete_elem(&pids, &pid);
		context_forget(pid);
	}
	return 0;
}

/*
 * A thread other than the leader takes the leader's id at execve() (de_thread()
 * in fs/exec.c). From then on, the record under the old id belongs to nobody.
 * Task storage is not affected: it is keyed by task.
 */
static __always_inline int process_executes(struct task_struct *task,
					    int old_pid)
{
	struct thread_record *thread;
	__u32 tid = old_pid;

	if (use_task_storage || task->pid == old_pid)
		return 0;
	thread = thread_by_id(tid);
	if (!thread)
		return 0;
	await_no_more(thread);
	thread_unfollow(thread);
	thread_delete_by_id(tid);
	return 0;
}

/* A child inherits the verdict of its parent. */
static __always_inline int process_forks(struct task_struct *parent,
					 struct task_struct *child)
{
	__u32 parent_pid = parent->tgid, pid = child->tgid;
	__u8 *verdict;

	if (!filter.by_process || pid == parent_pid)
		return 0;
	verdict = bpf_map_lookup_elem(&pids, &parent_pid);
	if (verdict && bpf_map_update_elem(&pids, &pid, verdict, BPF_ANY))
		COUNT(child_lost);
	return 0;
}

#define LIFECYCLE_PROGRAMS(suffix)                                           \
	SEC("tp_btf/signal_deliver")                                         \
	int BPF_PROG(tp_signal##suffix, int signal, void *info,              \
		     struct k_sigaction *action)                             \
	{                                                                    \
		return signal_delivered(action);                             \
	}                                                                    \
	SEC("tp_btf/sched_process_exit")                                     \
	int BPF_PROG(tp_exit##suffix, struct task_struct *task)              \
	{                                                                    \
		return thread_exits();                                       \
	}                                                                    \
	SEC("tp_btf/sched_process_exec")                                     \
	int BPF_PROG(tp_exec##suffix, struct task_struct *task, int old_pid) \
	{                                                                    \
		return process_executes(task, old_pid);                      \
	}                                                                    \
	SEC("tp_btf/sched_process_fork")                                     \
	int BPF_PROG(tp_fork##suffix, struct task_struct *parent,            \
		     struct task_struct *child)                              \
	{                                                                    \
		return process_forks(parent, child);                         \
	}

LIFECYCLE_PROGRAMS()
LIFECYCLE_PROGRAMS(_2)
LIFECYCLE_PROGRAMS(_3)
LIFECYCLE_PROGRAMS(_4)

#endif
