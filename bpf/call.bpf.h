/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One call from its entry to its return: the body that all backends share. The
 * state of a thread goes IDLE -> IN_CALL -> IDLE or, if the filter drops the
 * call, IDLE -> FILTERED -> IDLE. A wait that a signal ended goes through
 * INTERRUPTED until it is known whether the thread restarts the call, returns
 * EINTR, or dies.
 */
#ifndef MQSPAN_CALL_BPF_H
#define MQSPAN_CALL_BPF_H

/*
 * Spares. Where threads can be preempted inside the kernel, a thread that is
 * preempted within a program keeps the kernel from running that program for any
 * other thread of that CPU: prog->active in kernel/bpf/trampoline.c and, where
 * tracepoints can be preempted, kernel/trace/bpf_trace.c. On such kernels each
 * hook has several programs with the same body. The first one to run does the
 * work, whichever it is; the others see in entered_by and returned_by that it
 * is done. A call is lost only if preempted threads hold all of them, and that
 * is counted at its return.
 *
 * kprobe programs run with preemption off, but none runs on a CPU where a
 * thread is preempted within bpf(2), for whatever map (bpf_prog_active in
 * kernel/trace/bpf_trace.c). All kprobe programs of a hook would be skipped
 * together, so the spare of a kprobe is a fentry program.
 */

struct user_timespec32 {
	__s32 tv_sec;
	__s32 tv_nsec;
};

struct user_timespec64 {
	__s64 tv_sec;
	__s64 tv_nsec;
};

/* The beginning of struct sigevent; sigev_value is one word. */
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
		/* For compat the upper half is padding: get_timespec64(). */
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

/* A call that was in flight at attach is over. */
static __always_inline void await_no_more(struct thread_record *thread)
{
	if (!thread->is_awaited)
		return;
	thread->is_awaited = 0;
	__sync_fetch_and_add(&found_blocked, -1);
}

/*
 * A call that was blocked when the agent attached returns. Only now is its
 * thread the current one and can be identified.
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
 * Copies the first bytes of the message from the caller's buffer, as it is now
 * at the return, behind the name in the record. Returns the new size of the
 * record, or size if the buffer cannot be read.
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
	/* For the verifier: compare the very registers that are passed on. */
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
 * True for about one call in look_mask + 1, at random. The time is hashed
 * because the low bits of a clock are not random: one that ticks every 10
 * (HPET) or 40 ns (25 MHz) leaves some of them unchanged for a while.
 */
static __always_inline bool is_time_to_look(__u64 ns)
{
	return !(ns * 0x9e3779b97f4a7c15ULL >> 32 & look_mask);
}

/* What later calls have to know of this one, and whether it has a span. */
static __always_inline void call_is_over(struct task_struct *task,
					 struct thread_record *thread,
					 enum send_fate fate)
{
	struct call_event *call = &thread->call;

	send_returned(thread, fate);
	if (is_send(call->op))
		send_forgives(task, thread);
	else if (is_receive(call->op) && call->ret >= 0 &&
		 !(call->flags & CALL_DIED)) {
		if (fate == SEND_TOLD)
			chain_begins(task, thread);
		else
			chain_breaks(thread);
	}
}

/*
 * Writes the record into the ring, with the context in front of it if there is
 * one. Two calls, so that the verifier knows the size of either.
 */
static __always_inline long record_output(struct thread_record *thread,
					  __u64 size, __u64 context_size,
					  __u64 flags)
{
	if (context_size) {
		thread->context.kind = EVENT_CALL_IN_CONTEXT;
		return bpf_ringbuf_output(&events, &thread->context,
					  size + sizeof(struct call_context),
					  flags);
	}
	KEEP_APART();
	return bpf_ringbuf_output(&events, &thread->call, size, flags);
}

/* Sends the finished record to the agent, and frees it for the next call. */
static __always_inline void call_submit(struct task_struct *task,
					struct thread_record *thread)
{
	struct call_event *call = &thread->call;
	__u64 size, context_size = 0, used, flags = BPF_RB_NO_WAKEUP;

	thread->state = THREAD_IDLE;
	if (!wanted_at_return(call)) {
		COUNT(filtered_return);
		call_is_over(task, thread, SEND_UNTOLD);
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
	 * No wake-up per call: it can take longer than the call itself. Check
	 * the fill level now and then, and wake the agent once if it is
	 * waiting.
	 */
	if (is_time_to_look(call->end_ns)) {
		used = ring_look();
		if (used >= wakeup_bytes && agent_waits) {
			agent_waits = 0;
			flags = BPF_RB_FORCE_WAKEUP;
		}
	}
	if (thread->context.span.is_known || thread->context.has_root_trace)
		context_size = sizeof(struct call_context);
	if (ring_pressure && !ring_share_take(size + context_size)) {
		call_lost();
		call_is_over(task, thread, SEND_UNTOLD);
		return;
	}
	/* Never true; the verifier needs the bound. */
	barrier_var(size);
	if (size > CALL_FIXED_SIZE + QUEUE_NAME_SIZE + payload_max)
		size = CALL_FIXED_SIZE + QUEUE_NAME_SIZE + payload_max;
	if (record_output(thread, size, context_size, flags)) {
		call_lost();
		call_is_over(task, thread, SEND_UNTOLD);
	} else {
		COUNT(submitted);
		call_is_over(task, thread, SEND_TOLD);
	}
}

/*
 * Tells a call from other calls of the thread: the kernel restarts an
 * interrupted call with the same arguments.
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
 * Fills in what the caller passed. file is the open file behind the descriptor,
 * for calls that take one. Names and sigevents are in user memory, which only
 * the thread itself can read.
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
		thread->file = 0; /* name_read() overwrites the name */
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

/* Fills in what the entry could not read, and what only the return knows. */
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

static __always_inline void call_missed(struct thread_record *thread)
{
	thread->state = THREAD_IDLE;
	await_no_more(thread);
	/* It may have been a receive that took a message. */
	chain_breaks(thread);
	COUNT(return_missed);
}

static __always_inline void call_filtered(struct thread_record *thread, __u8 op)
{
	thread->state = THREAD_FILTERED;
	/* What it takes is not known, but the next send may come of it. */
	if (is_receive(op))
		chain_breaks(thread);
	COUNT(filtered_entry);
}

/* A call that it_blocked found stopped gets its end time only now. */
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
 * A wait that a signal ended is over; EINTR or a restart follows. Without a
 * handler the kernel goes back to the call itself. With one, handler_returned()
 * sees whether it does.
 */
static __always_inline void call_interrupted(struct task_struct *task,
					     struct thread_record *thread,
					     bool restarts, bool handler)
{
	const struct pt_regs *regs;

	stopped_goes_on(task, thread);
	thread->interrupted_start_ns = restarts ? thread->call.start_ns : 0;
	if (restarts)
		thread->call.flags |= CALL_REENTERED;
	thread->interrupted_for = thread->context.span;
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
 * Entry of a call. If the thread is still IN_CALL, the return of its last call
 * was missed. If it is INTERRUPTED, the kernel restarted the call without a
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
	/* If entries can be missed, the return counts calls with no record. */
	thread = thread_find_or_make(task, !entries_go_missing);
	if (!thread) {
		if (entries_go_missing && program == FIRST)
			__sync_fetch_and_add(&without_record, 1);
		return;
	}
	if (has_spares) {
		/*
		 * Each program runs once per call: if this one has not run yet,
		 * it is a spare.
		 */
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
		call_filtered(thread, op);
		return;
	}
	thread->call.flags = 0;
	thread->state = THREAD_IN_CALL;
	process_identify(task, thread);
	if (takes_descriptor(op)) {
		file = file_of(task, args->arg[0]);
		/* Keeps the branch: no arithmetic is allowed on file. */
		barrier_var(file);
	}
	call_arguments(thread, op, abi, args, file);
	if (!takes_descriptor(op) && !(thread->call.flags & CALL_NAME)) {
		/* The name's page is not present yet; at the return it is. */
		thread->call.flags |= CALL_UNDECIDED;
	} else if (!queue_wanted()) {
		call_filtered(thread, op);
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
	context_find(thread);
	if (is_transfer(op))
		wait_tell(task, thread);
	if (is_send(op))
		cause_find(thread);
	else if (is_receive(op))
		root_is_own(thread);
	COUNT(entered);
}

/*
 * Return of a call. ret is the kernel's own value: -ERESTARTSYS (-512) if a
 * signal ended the wait.
 */
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
 * Can seccomp or ptrace refuse a call of the task before its entry is traced?
 * Its return is traced all the same (kernel/entry/common.c).
 */
static __always_inline bool calls_can_be_refused(struct task_struct *task)
{
	if (BPF_CORE_READ(task, ptrace))
		return true;
	return bpf_core_field_exists(task->seccomp.mode) &&
	       BPF_CORE_READ(task, seccomp.mode);
}

/*
 * A return without a call in flight: a spare has already handled the return, or
 * no program saw the call begin.
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
		/*
		 * The mark needs a record, too. If there is no room for it,
		 * FIRST counts the loss.
		 */
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
