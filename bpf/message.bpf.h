/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tells messages apart. load_msg() makes a struct msg_msg in the sender;
 * store_msg() copies the same one out in the receiver, whether it was queued or
 * handed over directly; free_msg() ends it on every path (ipc/msgutil.c).
 * System V queues use the same functions, so only threads inside an mq_* call
 * count.
 */
#ifndef MQSPAN_MESSAGE_BPF_H
#define MQSPAN_MESSAGE_BPF_H

/* IS_ERR(), include/linux/err.h: the last 4095 addresses are errnos. */
#define MAX_ERRNO_POINTER (-4096ULL)

static __always_inline void message_made(__u64 message)
{
	struct thread_record *thread;
	struct message_origin origin = {};

	if (!message || message > MAX_ERRNO_POINTER)
		return;
	thread = thread_find(current_task());
	if (!thread || thread->state != THREAD_IN_CALL ||
	    !is_send(thread->call.op))
		return;
	/* A call makes one message: a spare has already recorded it. */
	if (thread->call.flags & CALL_MESSAGE)
		return;
	origin.start_ns = thread->call.start_ns;
	origin.tid = thread->call.tid;
	origin.created_ns = bpf_ktime_get_boot_ns();
	origin.root = thread->root;
	thread->call.message_created_ns = origin.created_ns;
	thread->call.flags |= CALL_MESSAGE;
	if (bpf_map_update_elem(&messages, &message, &origin, BPF_ANY))
		COUNT(message_lost);
	else
		thread->sent_message = message;
}

/* The send has returned. Its message may be gone and its address reused. */
static __always_inline void send_returned(struct thread_record *thread,
					  enum send_fate fate)
{
	struct message_origin *origin;

	if (!follows_messages || !thread->sent_message)
		return;
	origin = bpf_map_lookup_elem(&messages, &thread->sent_message);
	thread->sent_message = 0;
	if (origin && origin->start_ns == thread->call.start_ns &&
	    origin->tid == thread->call.tid)
		origin->fate = fate;
}

/* Will the parent of the receive's span exist? See events.h for the flags. */
static __always_inline __u32 sender_flags(const struct message_origin *origin)
{
	if (origin->fate == SEND_TOLD)
		return 0;
	if (origin->fate == SEND_UNTOLD)
		return CALL_SENDER_UNTOLD;
	if (filter.min_duration_ns || filter.agent_decides || ring_pressure)
		return CALL_SENDER_IN_CALL | CALL_SENDER_UNTOLD;
	return CALL_SENDER_IN_CALL;
}

static __always_inline void message_delivered(__u64 message, long type)
{
	struct thread_record *thread = thread_find(current_task());
	struct message_origin *origin;

	if (!thread || thread->state != THREAD_IN_CALL ||
	    !is_receive(thread->call.op))
		return;
	thread->call.priority = type;
	thread->call.flags |= CALL_PRIORITY;
	origin = bpf_map_lookup_elem(&messages, &message);
	if (!origin)
		return;
	thread->call.cause_start_ns = origin->start_ns;
	thread->call.cause_tid = origin->tid;
	thread->call.message_created_ns = origin->created_ns;
	thread->call.flags |= CALL_MESSAGE | sender_flags(origin);
	root_tell(thread, &origin->root);
	if (chains.joins_receives && origin->fate != SEND_UNTOLD &&
	    !is_in_application_trace(thread))
		root_is_of(thread, &origin->root);
	/*
	 * A message is received only once. Delete it here as well as in
	 * free_msg(), of which a backend may miss a run: a later message at the
	 * same address would find a stale entry.
	 */
	bpf_map_delete_elem(&messages, &message);
}

static __always_inline void message_freed(__u64 message)
{
	bpf_map_delete_elem(&messages, &message);
}

/* do_mq_timed{send,receive}() get the kernel's own copy of the timeout. */
static __always_inline void timeout_copied(const struct timespec64 *timeout)
{
	struct thread_record *thread = thread_find(current_task());
	struct timespec64 copy;

	if (!timeout || !thread || thread->state != THREAD_IN_CALL)
		return;
	if (bpf_probe_read_kernel(&copy, sizeof(copy), timeout))
		return;
	thread->call.timeout_sec = copy.tv_sec;
	thread->call.timeout_nsec = copy.tv_nsec;
	thread->call.flags |= CALL_TIMEOUT_READ;
}

#endif
