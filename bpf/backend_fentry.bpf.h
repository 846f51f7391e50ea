/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Backend fentry: BTF trampolines on the entry functions of the system calls.
 * There is no instance pool, so any number of callers can be blocked at once.
 *
 * Two things are missed:
 * - A call for which the kernel skips all programs of a hook (recursion_misses;
 *   see "Spares" in call.bpf.h).
 * - The return of a call that is blocked while another tracer attaches to or
 *   detaches from the same function. The kernel then skips the return programs
 *   of the old trampoline (bpf_tramp_image_put() in kernel/bpf/trampoline.c).
 *   The call is counted as return_missed at the thread's next call or at its
 *   exit.
 */
#ifndef MQSPAN_BACKEND_FENTRY_BPF_H
#define MQSPAN_BACKEND_FENTRY_BPF_H

/*
 * The arguments, from the registers that the entry function gets. If BTF has
 * only a forward declaration of struct pt_regs (Debian's 5.10), the verifier
 * refuses the argument, and the registers are read from the thread's kernel
 * stack instead. ctx[0] is loaded inside its own branch so that the other
 * branch never touches it.
 */
#define FENTRY_ARGS(kind)                                       \
	({                                                      \
		const struct pt_regs *regs_;                    \
		struct call_args got_;                          \
                                                                \
		if (registers_on_stack) {                       \
			regs_ = current_registers();            \
			got_ = kind##_ARGS(PROBE, regs_);       \
		} else {                                        \
			regs_ = (const struct pt_regs *)ctx[0]; \
			got_ = kind##_ARGS(DIRECT, regs_);      \
		}                                               \
		got_;                                           \
	})

#define FENTRY_PROGRAMS(name, symbol, op, kind, program)                \
	SEC("fentry/" #symbol)                                          \
	int fe_##name(unsigned long long *ctx)                          \
	{                                                               \
		ENTER_##kind(current_task(), op, FENTRY_ARGS, program); \
		return 0;                                               \
	}                                                               \
	SEC("fexit/" #symbol)                                           \
	int fx_##name(unsigned long long *ctx)                          \
	{                                                               \
		LEAVE_##kind(current_task(), op, ctx[1], program);      \
		return 0;                                               \
	}

#define FENTRY_CALL(name, symbol, op, kind)                 \
	FENTRY_PROGRAMS(name, symbol, op, kind, FIRST)      \
	FENTRY_PROGRAMS(name##_2, symbol, op, kind, SECOND) \
	FENTRY_PROGRAMS(name##_3, symbol, op, kind, THIRD)  \
	FENTRY_PROGRAMS(name##_4, symbol, op, kind, FOURTH)

ENTRY_FUNCTIONS(FENTRY_CALL)

#define FENTRY_HANDLER(name, symbol)                                   \
	SEC("fexit/" #symbol)                                          \
	int fx_##name(unsigned long long *ctx)                         \
	{                                                              \
		return handler_returned(registers_of(current_task())); \
	}
#define FENTRY_HANDLERS(name, symbol)    \
	FENTRY_HANDLER(name, symbol)     \
	FENTRY_HANDLER(name##_2, symbol) \
	FENTRY_HANDLER(name##_3, symbol) \
	FENTRY_HANDLER(name##_4, symbol)

HANDLER_RETURNS(FENTRY_HANDLERS)

/*
 * These programs are idempotent: running one several times for one event
 * changes nothing. The first argument of load_msg() is const void *, which
 * 6.1's verifier does not let a program access.
 */
#define FENTRY_INSIDE(suffix)                                        \
	SEC("fentry/do_mq_timedsend")                                \
	int BPF_PROG(fe_do_send##suffix, int mqdes, const char *msg, \
		     unsigned long len, unsigned int priority,       \
		     struct timespec64 *timeout)                     \
	{                                                            \
		timeout_copied(timeout);                             \
		return 0;                                            \
	}                                                            \
	SEC("fentry/do_mq_timedreceive")                             \
	int BPF_PROG(fe_do_receive##suffix, int mqdes, char *msg,    \
		     unsigned long len, unsigned int *priority,      \
		     struct timespec64 *timeout)                     \
	{                                                            \
		timeout_copied(timeout);                             \
		return 0;                                            \
	}                                                            \
	SEC("fexit/load_msg")                                        \
	int BPF_PROG(fx_load_msg##suffix, const void *source,        \
		     unsigned long len, struct msg_msg *message)     \
	{                                                            \
		message_made((__u64)message);                        \
		return 0;                                            \
	}                                                            \
	SEC("fentry/store_msg")                                      \
	int BPF_PROG(fe_store_msg##suffix, void *destination,        \
		     struct msg_msg *message)                        \
	{                                                            \
		message_delivered((__u64)message, message->m_type);  \
		return 0;                                            \
	}                                                            \
	SEC("fentry/free_msg")                                       \
	int BPF_PROG(fe_free_msg##suffix, struct msg_msg *message)   \
	{                                                            \
		message_freed((__u64)message);                       \
		return 0;                                            \
	}

FENTRY_INSIDE()
FENTRY_INSIDE(_2)
FENTRY_INSIDE(_3)
FENTRY_INSIDE(_4)

#endif
