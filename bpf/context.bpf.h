/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The application's own traces. A thread whose program has an OpenTelemetry SDK
 * can publish the span that it works for (OTEP 4947, "Thread Context"): the TLS
 * variable otel_thread_ctx_v1 points to a record with the ids. A thread inside
 * a call of its own does not change the record, so it is read at the entry.
 *
 * Where the variable is, only the process's memory maps and ELF files tell. The
 * agent looks for it (agent/src/context/) and puts what it finds into the map
 * contexts. A host without such processes pays one compare for each call.
 *
 * Everything read here is the program's to write. It can name any span as the
 * parent of its own calls, as it can with an SDK, and nothing else: reads of
 * user memory neither fault nor wait.
 */
#ifndef MQSPAN_CONTEXT_BPF_H
#define MQSPAN_CONTEXT_BPF_H

/* The beginning of a Thread-Local Context Record, OTEP 4947. */
struct thread_context {
	__u64 trace_id[2];
	__u64 span_id;
	__u8 valid; /* 1: the record is complete */
	__u8 trace_flags;
} __attribute__((packed));

#define TRACE_SAMPLED 0x01 /* W3C Trace Context, "Trace flags" */

/* A pointer of the program, or 0. */
static __always_inline __u64 user_pointer(__u64 address, __u32 size)
{
	__u64 wide = 0;
	__u32 narrow = 0;

	if (size == sizeof(narrow)) {
		if (bpf_probe_read_user(&narrow, sizeof(narrow),
					(const void *)address))
			return 0;
		return narrow;
	}
	if (bpf_probe_read_user(&wide, sizeof(wide), (const void *)address))
		return 0;
	return wide;
}

/*
 * Address of the current thread's variable, or 0. The block of a module whose
 * memory the C library has not made for this thread yet is all ones (glibc), 0,
 * or beyond the end of the thread's vector.
 */
static __always_inline __u64 variable_of(struct task_struct *task,
					 const struct context_recipe *recipe)
{
	__u64 vector, length, block, unmade;
	__u64 pointer = thread_pointer_of(task, recipe->word);

	if (!pointer)
		return 0;
	if (!recipe->module)
		return pointer + recipe->offset;
	vector = user_pointer(pointer + recipe->vector_at, recipe->word);
	if (!vector)
		return 0;
	length = user_pointer(vector + recipe->length_at, recipe->word);
	if (recipe->module > length)
		return 0;
	block = user_pointer(vector + (__u64)recipe->module * recipe->entry,
			     recipe->word);
	unmade = recipe->word == 4 ? (__u32)-1 : (__u64)-1;
	if (!block || block == unmade)
		return 0;
	return block + recipe->offset;
}

/* Reads the span of the current thread into its record. */
__noinline int context_read(void)
{
	struct task_struct *task = current_task();
	struct thread_record *thread = thread_find(task);
	struct thread_context context = {};
	struct application_span *span;
	struct context_recipe *recipe;
	__u64 address;
	__u32 pid;

	if (!thread)
		return 0;
	pid = thread->call.pid;
	recipe = bpf_map_lookup_elem(&contexts, &pid);
	if (!recipe || recipe->execution.exec_id != thread->call.exec_id ||
	    recipe->execution.process_start_ns != thread->call.process_start_ns)
		return 0;
	address = variable_of(task, recipe);
	if (!address)
		return 0;
	address = user_pointer(address, recipe->word);
	if (!address || bpf_probe_read_user(&context, sizeof(context),
					    (const void *)address))
		return 0;
	if (context.valid != 1 || !context.span_id ||
	    !(context.trace_id[0] | context.trace_id[1]))
		return 0;
	span = &thread->context.span;
	span->trace_id[0] = context.trace_id[0];
	span->trace_id[1] = context.trace_id[1];
	span->span_id = context.span_id;
	span->trace_flags = context.trace_flags;
	span->is_known = 1;
	return 0;
}

/* A call begins that is not known to be anybody's work. */
static __always_inline void context_clear(struct thread_record *thread)
{
	thread->context.span.is_known = 0;
	thread->context.has_root_trace = 0;
}

/*
 * Finds the span that the call which now begins is made for. To the program a
 * restarted call is the same call, and a handler may have left something else.
 */
static __always_inline void context_find(struct thread_record *thread)
{
	context_clear(thread);
	if (thread->call.flags & CALL_RESTARTED)
		thread->context.span = thread->interrupted_for;
	else if (contexts_known)
		context_read();
}

/* Whether the call is the child of the span that it is made for. */
static __always_inline bool
is_in_application_trace(const struct thread_record *thread)
{
	const struct application_span *span = &thread->context.span;

	return span->is_known && (span->trace_flags & TRACE_SAMPLED);
}

/* The process has ended. */
static __always_inline void context_forget(__u32 pid)
{
	if (contexts_known && !bpf_map_delete_elem(&contexts, &pid))
		__sync_fetch_and_add(&contexts_known, -1);
}

#endif
