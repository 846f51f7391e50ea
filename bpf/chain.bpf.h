/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Chains: what a send comes of. A thread that takes a message and then sends
 * one may go on with the first one's work. That is taken as proven if nothing
 * else can have reached the thread in between: it has not slept of its own will
 * (task->nvcsw), read nothing (task->ioac.syscr) and received nothing else. The
 * send is then in the trace of the receive, and its message carries the root of
 * that trace on. Otherwise the two are linked at most.
 *
 * A chain ends where it began: once the reply to a request is back in the
 * process that sent the request, what comes next is something new. Where the
 * one that replies has waited for something, its reply begins a trace of its
 * own, and the message also carries who may have asked for it. A chain also ends
 * by its length and by its age.
 */
#ifndef MQSPAN_CHAIN_BPF_H
#define MQSPAN_CHAIN_BPF_H

/* What tells whether the thread has waited, and whether it has read. */
static __always_inline __u64 waits_of(struct task_struct *task)
{
	return TASK(task, nvcsw);
}

/* Without CONFIG_TASK_XACCT nobody counts reads. */
#define READS_ARE_COUNTED \
	bpf_core_field_exists(((struct task_struct *)0)->ioac.syscr)

static __always_inline __u64 reads_of(struct task_struct *task)
{
	if (!READS_ARE_COUNTED)
		return 0;
	return TASK(task, ioac.syscr);
}

/* Tells the agent which trace the cause of the call is in. */
static __always_inline void root_tell(struct thread_record *thread,
				      const struct trace_root *root)
{
	struct call_context *context = &thread->context;

	thread->call.root_start_ns = root->start_ns;
	thread->call.root_tid = root->tid;
	context->has_root_trace = root->is_application;
	if (!root->is_application)
		return;
	context->root_trace_flags = root->trace_flags;
	context->root_trace_id[0] = root->trace_id[0];
	context->root_trace_id[1] = root->trace_id[1];
}

/*
 * The call is the first of its trace, or the first of ours in the trace of an
 * application.
 */
static __always_inline void root_is_own(struct thread_record *thread)
{
	const struct application_span *span = &thread->context.span;
	struct trace_root *root = &thread->root;

	root->start_ns = thread->call.start_ns;
	root->tid = thread->call.tid;
	root->pid = thread->call.pid;
	root->hops = 1;
	root->is_away = 0;
	for (int i = 0; i < MAX_ASKED; i++)
		root->asked[i] = 0;
	root->is_application = is_in_application_trace(thread);
	if (!root->is_application)
		return;
	root->trace_flags = span->trace_flags;
	root->trace_id[0] = span->trace_id[0];
	root->trace_id[1] = span->trace_id[1];
}

/* The call is the child of one that has this root. */
static __always_inline void root_is_of(struct thread_record *thread,
				       const struct trace_root *before)
{
	struct trace_root *root = &thread->root;

	thread->call.flags |= CALL_CHILD;
	*root = *before;
	root->hops++;
	if (root->pid != thread->call.pid)
		root->is_away = 1;
}

/* The thread has taken no message that its next send could come of. */
static __always_inline void chain_breaks(struct thread_record *thread)
{
	thread->chain.cause_start_ns = 0;
}

/* A receive has returned with a message, and its record is in the ring. */
static __always_inline void chain_begins(struct task_struct *task,
					 struct thread_record *thread)
{
	struct chain *chain = &thread->chain;

	chain->cause_start_ns = thread->call.start_ns;
	chain->root = thread->root;
	chain->taken_ns = thread->call.end_ns;
	chain->waits = waits_of(task);
	chain->reads = reads_of(task);
	chain->generation = filter.generation;
}

/* Has the reply come to where the request came from? */
static __always_inline bool root_is_home(const struct trace_root *root,
					 const struct call_event *call)
{
	if (root->hops == 1)
		return false;
	if (root->tid == call->tid)
		return root->start_ns >= call->process_start_ns;
	return root->is_away && root->pid == call->pid &&
	       root->start_ns >= call->process_start_ns;
}

/* Where in asked the thread or its process is, or MAX_ASKED. */
static __always_inline int place_in_asked(const struct trace_root *root,
					  const struct call_event *call)
{
	int place = MAX_ASKED;

#pragma clang loop unroll(full)
	for (int i = 0; i < MAX_ASKED; i++) {
		__u32 asked = root->asked[i];

		if (asked && (asked == call->pid || asked == call->tid))
			place = i;
	}
	return place;
}

/*
 * The call begins a trace that may go on with the one of this root. Whoever
 * waits there then waits for what comes of this trace, unless the reply has come
 * to them with the message.
 */
static __always_inline void asked_of(struct thread_record *thread,
				     const struct trace_root *before)
{
	const struct call_event *call = &thread->call;
	__u32 *asked = thread->root.asked;
	int place = place_in_asked(before, call);
	bool is_full = before->asked[MAX_ASKED - 1];
	__u32 last = before->pid == call->pid ? before->tid : before->pid;

	if (place < MAX_ASKED || root_is_home(before, call) ||
	    before->hops == 1)
		last = 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < MAX_ASKED; i++) {
		asked[i] = i < place ? before->asked[i] : 0;
		/* The first one is forgotten if there are too many. */
		if (last && is_full && i + 1 < MAX_ASKED)
			asked[i] = before->asked[i + 1];
		if (last && (!asked[i] || (is_full && i + 1 == MAX_ASKED))) {
			asked[i] = last;
			last = 0;
		}
	}
}

static __always_inline bool is_too_old(__u64 ns, const struct call_event *call)
{
	return chains.max_age_ns && call->start_ns - ns > chains.max_age_ns;
}

/* Notes whether anything can have reached the thread since its last receive. */
static __always_inline void wait_tell(struct task_struct *task,
				      struct thread_record *thread)
{
	const struct chain *chain = &thread->chain;

	if (READS_ARE_COUNTED && chain->cause_start_ns &&
	    chain->generation == filter.generation &&
	    chain->waits == waits_of(task) && chain->reads == reads_of(task))
		thread->call.flags |= CALL_NO_WAIT;
}

/* May the send that now begins be the child of the thread's last receive? */
static __always_inline bool chain_goes_on(const struct thread_record *thread)
{
	const struct chain *chain = &thread->chain;
	const struct call_event *call = &thread->call;

	if (chains.mode == CHAINS_LINK || root_is_home(&chain->root, call) ||
	    place_in_asked(&chain->root, call) < MAX_ASKED)
		return false;
	/* The application knows better. */
	if (is_in_application_trace(thread))
		return false;
	/* Its receive is to be within the limit, too. */
	if (chain->root.hops + 2 > chains.max_hops)
		return false;
	if (is_too_old(chain->root.start_ns, call))
		return false;
	if (chains.mode == CHAINS_THREAD)
		return true;
	/* A message from nobody knows where may be a reply. */
	return chain->root.hops > 1 && (call->flags & CALL_NO_WAIT);
}

/* Finds what the send that now begins comes of. Its start_ns is set. */
static __always_inline void cause_find(struct thread_record *thread)
{
	struct call_event *call = &thread->call;
	struct chain *chain = &thread->chain;

	root_is_own(thread);
	if (!chains.mode || !chain->cause_start_ns ||
	    chain->generation != filter.generation ||
	    is_too_old(chain->taken_ns, call))
		return;
	call->cause_start_ns = chain->cause_start_ns;
	call->cause_tid = call->tid;
	call->flags |= CALL_CAUSE;
	root_tell(thread, &chain->root);
	if (chain_goes_on(thread))
		root_is_of(thread, &chain->root);
	else
		asked_of(thread, &chain->root);
}

/* A wait for room in the queue brings nothing new to the thread. */
static __always_inline void send_forgives(struct task_struct *task,
					  struct thread_record *thread)
{
	if (thread->call.flags & CALL_NO_WAIT)
		thread->chain.waits = waits_of(task);
}

#endif
