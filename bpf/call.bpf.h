/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One call from its entry to its return: the body that all backends share.
 * The state of a thread goes IDLE -> IN_CALL -> IDLE, or, if the filter drops
 * the call, IDLE -> FILTERED -> IDLE; a wait that a signal ended goes through
 * INTERRUPTED, until it is known whether the thread restarts the call, comes
 * back with EINTR, or dies.
 */
#ifndef MQSPAN_CALL_BPF_H
#define MQSPAN_CALL_BPF_H

/*
 * Spares. Where threads lose the CPU inside the kernel, one that is preempted
 * within a program keeps the kernel from running that program for any other
 * thread of that CPU: prog->active in kernel/bpf/trampoline.c and, where
 * tracepoints can be preempted, kernel/trace/bpf_trace.c. Then each hook has
 * several programs with the same body. The one that comes first does the work,
 * in whichever order that is; the others see by entered_by and returned_by that
 * it is done. A call is lost only if all of them are taken by preempted threads,
 * and that is counted at its return.
 *
 * Programs at kprobes run with preemption off, but none runs on a CPU where a
 * thread is preempted within bpf(2), for whatever map (bpf_prog_active in
 * kernel/trace/bpf_trace.c): all of a hook would be left out together. The spare
 * of a kprobe is a fentry program.
 */

#define ERESTARTSYS 512 /* include/linux/errno.h, never seen by user space */

struct user_timespec32 {
	__s32 tv_sec;
	__s32 tv_nsec;
};

struct user_timespec64 {
	__s64 tv_sec;
	__s64 tv_nsec;
};

/* struct sigevent without what follows; sigev_value is one word. */
struct user_sigevent32 {
	__s32 value;
	__s32 signo;
	__s32 notify;
};

struct user_sigevent64 {
	__s64 value;
	__s32 signo;
	__s32 notify;
};

static __always_inline void timeout_read(struct thread_record *thread, __u8 op,
					 __u8 abi)
{
	struct call_event *call = &thread->call;
	const void *address = (const void *)thread->timeout_ptr;
	struct user_timespec32 time32;
	struct user_timespec64 time64;

	if (is_time32(op)) {
		if (bpf_probe_read_user(&time32, sizeof(time32), address))
			return;
		call->timeout_sec = time32.tv_sec;
		call->timeout_nsec = time32.tv_nsec;
	} else {
		if (bpf_probe_read_user(&time64, sizeof(time64), address))
			return;
		call->timeout_sec = time64.tv_sec;
		/* get_timespec64(): the upper half is padding there. */
		call->timeout_nsec = abi == ABI_COMPAT ? (__s32)time64.tv_nsec :
							 time64.tv_nsec;
	}
	call->flags |= CALL_TIMEOUT_READ;
}

static __always_inline void name_read(struct thread_record *thread)
{
	struct call_event *call = &thread->call;

	queue_name_set(call, bpf_probe_read_user_str(
				     call->name + 1, QUEUE_NAME_MAX,
				     (const void *)thread->argument_ptr));
}

static __always_inline void sigevent_read(struct thread_record *thread,
					  __u8 abi)
{
	const void *address = (const void *)thread->argument_ptr;
	struct call_event *call = &thread->call;
	struct user_sigevent32 event32;
	struct user_sigevent64 event64;

	if (!address) {
		call->flags |= CALL_NOTIFY_NONE;
		return;
	}
	if (abi != ABI_NATIVE) {
		if (bpf_probe_read_user(&event32, sizeof(event32), address))
			return;
		call->notify = event32.notify;
		call->signo = event32.signo;
	} else {
		if (bpf_probe_read_user(&event64, sizeof(event64), address))
			return;
		call->notify = event64.notify;
		call->signo = event64.signo;
	}
	call->flags |= CALL_ARGUMENTS;
}

/* The call that was in flight at attach is over. */
static __always_inline void await_no_more(struct thread_record *thread)
{
	if (!thread->is_awaited)
		return;
	thread->is_awaited = 0;
	__sync_fetch_and_add(&found_blocked, -1);
}

/*
 * A call that was blocked when the agent attached comes back: now the thread
 * is at hand to be identified.
 */
static __always_inline void blocked_returns(struct task_struct *task,
					    struct thread_record *thread)
{
	__u32 ipc_ns = thread->call.ipc_ns;

	process_identify(task, thread);
	if (thread->call.flags & CALL_QUEUE)
		thread->call.ipc_ns = ipc_ns;
}

/*
 * The first bytes of the message, behind the record's name, out of the
 * caller's buffer now, at the return. How long the record is with them.
 */
static __always_inline __u64 payload_read(struct thread_record *thread,
					  __u64 size)
{
	struct call_event *call = &thread->call;
	__u64 len = is_send(call->op) ? call->msg_len : (__u64)call->ret;
	__u64 at = call->flags & CALL_NAME ? call->name_len : 0;

	if (len > payload_max)
		len = payload_max;
	at = PAYLOAD_OFFSET(at);
	/* The same registers are compared and passed on, for the verifier. */
	barrier_var(len);
	barrier_var(at);
	if (at > QUEUE_NAME_SIZE || len > PAYLOAD_MAX)
		return size;
	if (bpf_probe_read_user(call->name + at, len,
				(const void *)thread->message_ptr))
		return size;
	call->payload_len = len;
	call->flags |= CALL_PAYLOAD;
	return CALL_FIXED_SIZE + at + ((len + 7) & ~7ULL);
}

/*
 * As if by chance. The low bits of a clock are none: one that ticks every 10
 * (HPET) or 40 ns (25 MHz) leaves some of them as they are for a while.
 */
static __always_inline bool is_time_to_look(__u64 ns)
{
	return !(ns * 0x9e3779b97f4a7c15ULL >> 32 & look_mask);
}

/* The finished record goes to the agent; the thread is free for its next. */
static __always_inline void call_submit(struct task_struct *task,
					struct thread_record *thread)
{
	struct call_event *call = &thread->call;
	__u64 size, used, flags = BPF_RB_NO_WAKEUP;

	thread->state = THREAD_IDLE;
	if (!wanted_at_return(call)) {
		COUNT(filtered_return);
		send_returned(thread, SEND_UNTOLD);
		return;
	}
	comm_read(task, (__u64 *)call->comm);
	size = call->flags & CALL_NAME ? call->name_len : 0;
	if (size > QUEUE_NAME_MAX)
		size = QUEUE_NAME_MAX;
	size = CALL_FIXED_SIZE + ((size + 7) & ~7ULL);
	if (payload_max && is_transfer(call->op) && call->ret >= 0)
		size = payload_read(thread, size);
	/*
	 * No wake-up a call: it can take longer than the call. Now and then the
	 * fill level is looked at, and the agent woken, once, if it waits.
	 */
	if (is_time_to_look(call->end_ns)) {
		used = ring_look();
		if (used >= wakeup_bytes && agent_waits) {
			agent_waits = 0;
			flags = BPF_RB_FORCE_WAKEUP;
		}
	}
	if (ring_pressure && !ring_share_take(size)) {
		call_lost();
		send_returned(thread, SEND_UNTOLD);
		return;
	}
	/* Never so long; for the verifier. */
	barrier_var(size);
	if (size > CALL_FIXED_SIZE + QUEUE_NAME_SIZE + payload_max)
		size = CALL_FIXED_SIZE + QUEUE_NAME_SIZE + payload_max;
	if (bpf_ringbuf_output(&events, call, size, flags)) {
		call_lost();
		send_returned(thread, SEND_UNTOLD);
	} else {
		COUNT(submitted);
		send_returned(thread, SEND_TOLD);
	}
}

/*
 * What tells a call from others of the thread: the kernel enters an interrupted
 * one again with the same arguments.
 */
static __always_inline __u64 call_hash(const struct thread_record *thread)
{
	const struct call_event *call = &thread->call;
	__u64 words[] = {
		call->op,
		(__u32)call->mqdes,
		thread->message_ptr,
		call->msg_len,
		is_send(call->op) ? call->priority : thread->priority_ptr,
		thread->timeout_ptr,
	};
	__u64 hash = 0;

	for (int i = 0; i < 6; i++)
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ULL;
	return hash;
}

/*
 * What the caller passed. File is what is behind the descriptor, for calls
 * that take one. Names and sigevents are read by the thread itself only.
 */
static __always_inline void call_arguments(struct thread_record *thread,
					   __u8 op, __u8 abi,
					   const struct call_args *args,
					   struct file *file)
{
	struct call_event *call = &thread->call;

	call->kind = EVENT_CALL;
	call->op = op;
	call->abi = abi;
	call->mqdes = args->arg[0];
	thread->timeout_ptr = 0;
	thread->priority_ptr = 0;
	thread->argument_ptr = 0;

	if (op == CALL_OPEN || op == CALL_UNLINK) {
		thread->file = 0; /* the name is overwritten */
		thread->argument_ptr = args->arg[0];
		name_read(thread);
		call->oflag = args->arg[1];
		call->mode = (umode_t)args->arg[2];
		return;
	}
	queue_resolve(thread, file);
	if (op == CALL_NOTIFY) {
		thread->argument_ptr = args->arg[1];
		sigevent_read(thread, abi);
	}
	if (!is_transfer(op))
		return;

	thread->message_ptr = args->arg[1];
	call->msg_len = args->arg[2];
	if (is_send(op)) {
		call->priority = args->arg[3];
		call->flags |= CALL_PRIORITY;
	} else {
		thread->priority_ptr = args->arg[3];
	}
	if (args->arg[4]) {
		call->flags |= CALL_TIMEOUT_GIVEN;
		thread->timeout_ptr = args->arg[4];
	}
}

/* What the entry could not read, and what only the return knows. */
static __always_inline void call_complete(struct task_struct *task,
					  struct thread_record *thread)
{
	struct call_event *call = &thread->call;
	__u8 op = call->op;

	if (is_transfer(op)) {
		if ((call->flags & CALL_TIMEOUT_GIVEN) &&
		    !(call->flags & CALL_TIMEOUT_READ))
			timeout_read(thread, op, call->abi);
		if (is_receive(op) && call->ret >= 0 &&
		    !(call->flags & CALL_PRIORITY) && thread->priority_ptr &&
		    !bpf_probe_read_user(&call->priority,
					 sizeof(call->priority),
					 (const void *)thread->priority_ptr))
			call->flags |= CALL_PRIORITY;
		queue_depth(thread);
	} else if (op == CALL_GETSETATTR) {
		queue_depth(thread);
	} else if (op == CALL_OPEN || op == CALL_UNLINK) {
		if (!(call->flags & CALL_NAME))
			name_read(thread);
		if (op == CALL_OPEN && call->ret >= 0) {
			call->mqdes = call->ret;
			queue_resolve(thread, file_of(task, call->mqdes));
		}
	} else if (op == CALL_NOTIFY) {
		if (!(call->flags & (CALL_ARGUMENTS | CALL_NOTIFY_NONE)))
			sigevent_read(thread, call->abi);
	}
}

/* The thread has left its call without being seen. */
static __always_inline void call_missed(struct thread_record *thread)
{
	thread->state = THREAD_IDLE;
	await_no_more(thread);
	COUNT(return_missed);
}

/* The filter drops a call at its entry. */
static __always_inline void call_filtered(struct thread_record *thread)
{
	thread->state = THREAD_FILTERED;
	COUNT(filtered_entry);
}

/* A call that was found stopped has an end only now. */
static __always_inline void stopped_goes_on(struct task_struct *task,
					    struct thread_record *thread)
{
	if (thread->call.end_ns)
		return;
	thread->call.end_ns = bpf_ktime_get_boot_ns();
	await_no_more(thread);
	blocked_returns(task, thread);
}

/*
 * The wait that a signal ended is over, with EINTR or a restart to come. The
 * kernel goes back to the call itself if there is no handler; if there is one,
 * that is seen when the handler returns.
 */
static __always_inline void call_interrupted(struct task_struct *task,
					     struct thread_record *thread,
					     bool restarts, bool handler)
{
	const struct pt_regs *regs;

	stopped_goes_on(task, thread);
	thread->interrupted_start_ns = restarts ? thread->call.start_ns : 0;
	thread->goes_back = !handler;
	if (restarts && handler) {
		regs = registers_of(task);
		thread->interrupted_ip = IP_PROBE(regs);
		thread->interrupted_sp = SP_PROBE(regs);
	}
	thread->interrupted_hash = call_hash(thread);
	call_submit(task, thread);
}

/*
 * Entry of a call. A thread that is still IN_CALL here has come back without
 * being seen; one that is INTERRUPTED was restarted by the kernel with no
 * handler in between (SIGSTOP and SIGCONT, a debugger).
 */
static __noinline void call_enter(struct task_struct *task, __u8 op, __u8 abi,
				  const struct call_args *args,
				  enum program program)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct thread_record *thread;
	struct file *file = NULL;

	if (!wanted_at_entry(op, abi)) {
		if (program == FIRST)
			COUNT(filtered_entry);
		return;
	}
	/* Where entries go missing the return counts what gets no record. */
	thread = thread_find_or_make(task, !entries_go_missing);
	if (!thread) {
		if (entries_go_missing && program == FIRST)
			__sync_fetch_and_add(&without_record, 1);
		return;
	}
	if (has_spares) {
		/* A program comes by but once a call. */
		if ((thread->state == THREAD_IN_CALL ||
		     thread->state == THREAD_FILTERED) &&
		    !(thread->entered_by & program)) {
			thread->entered_by |= program;
			return;
		}
		thread->entered_by = program;
	}
	if (thread->state == THREAD_IN_CALL) {
		call_missed(thread);
	} else if (thread->state == THREAD_INTERRUPTED) {
		call_interrupted(task, thread, true, false);
	}

	if (!caller_wanted()) {
		call_filtered(thread);
		return;
	}
	thread->call.flags = 0;
	thread->state = THREAD_IN_CALL;
	process_identify(task, thread);
	if (takes_descriptor(op)) {
		file = file_of(task, args->arg[0]);
		/* A branch: the verifier allows no arithmetic on it. */
		barrier_var(file);
	}
	call_arguments(thread, op, abi, args, file);
	if (!takes_descriptor(op) && !(thread->call.flags & CALL_NAME)) {
		/* The name is in a page that will be there at the return. */
		thread->call.flags |= CALL_UNDECIDED;
	} else if (!queue_wanted()) {
		call_filtered(thread);
		return;
	}
	if (thread->timeout_ptr)
		timeout_read(thread, op, abi);
	/* A handler may have made calls of its own in between. */
	if (thread->interrupted_start_ns && thread->goes_back &&
	    thread->interrupted_hash == call_hash(thread)) {
		thread->call.flags |= CALL_RESTARTED;
		thread->call.interrupted_start_ns =
			thread->interrupted_start_ns;
		thread->interrupted_start_ns = 0;
	}
	thread->call.start_ns = now;
	COUNT(entered);
}

/* Return of a call; ret as the kernel has it, -512 where a signal came. */
static __always_inline void call_leave(struct task_struct *task,
				       struct thread_record *thread, long ret)
{
	struct call_event *call = &thread->call;

	call->end_ns = bpf_ktime_get_boot_ns();
	call->ret = ret;
	await_no_more(thread);
	if (call->flags & CALL_START_UNKNOWN)
		blocked_returns(task, thread);
	call_complete(task, thread);
	if (ret == -ERESTARTSYS)
		thread->state = THREAD_INTERRUPTED;
	else
		call_submit(task, thread);
}

/*
 * Can a call of the task be refused before its entry is told of (seccomp,
 * ptrace)? Its return is told of all the same (kernel/entry/common.c).
 */
static __always_inline bool calls_can_be_refused(struct task_struct *task)
{
	if (BPF_CORE_READ(task, ptrace))
		return true;
	return bpf_core_field_exists(task->seccomp.mode) &&
	       BPF_CORE_READ(task, seccomp.mode);
}

/*
 * A return that is not that of a call in flight: another program has been here,
 * or none has seen the call begin.
 */
static __always_inline void call_unknown(struct task_struct *task,
					 struct thread_record *thread, __u8 op,
					 __u8 abi, enum program program)
{
	if (thread && thread->returned_by && !(thread->returned_by & program)) {
		thread->returned_by |= program;
		return;
	}
	if (!found_all || !wanted_at_entry(op, abi))
		return;
	if (!thread) {
		/* Where there is no room for the mark, either, the first one counts. */
		thread = thread_find_or_make(task, program == FIRST);
		if (!thread)
			return;
		if (without_record > 0) {
			__sync_fetch_and_add(&without_record, -1);
			thread->returned_by = program;
			COUNT(in_flight_full);
			owner_lost(&thread->owner, LOST_IN_FLIGHT_FULL);
			return;
		}
	}
	thread->returned_by = program;
	if (hooks_every_call && calls_can_be_refused(task))
		COUNT(entry_doubtful);
	else
		COUNT(entry_missed);
}

static __noinline void call_return(struct task_struct *task, __u8 op, __u8 abi,
				   long ret, enum program program)
{
	struct thread_record *thread = thread_find(task);

	if (thread && thread->state == THREAD_IN_CALL) {
		if (has_spares)
			thread->returned_by = program;
		call_leave(task, thread, ret);
	} else if (thread && thread->state == THREAD_FILTERED) {
		thread->returned_by = program;
		thread->state = THREAD_IDLE;
	} else if (entries_go_missing) {
		call_unknown(task, thread, op, abi, program);
	}
}

#endif
