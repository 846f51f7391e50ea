/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Backend tracepoint: the raw tracepoints sys_enter and sys_exit
 * (include/trace/events/syscalls.h). They run at every system call on the host,
 * so the programs check the number first. This backend sees neither the
 * kernel's own copies of arguments nor the identity of messages.
 */
#ifndef MQSPAN_BACKEND_TRACEPOINT_BPF_H
#define MQSPAN_BACKEND_TRACEPOINT_BPF_H

/*
 * The system call number after the return of a signal handler. The kernel sets
 * it so that no call is restarted twice (restore_sigcontext(), arch/x86;
 * forget_syscall(), arch/arm64).
 */
#define NO_SYSCALL (-1)

#define TRACEPOINT_ARGS(kind) kind##_ARGS(DIRECT, regs)

static __always_inline int syscall_entered(const struct pt_regs *regs, long nr,
					   enum program program)
{
	struct task_struct *task;
	bool compat;
	__u8 op;

	if (!number_of_interest(nr))
		return 0;
	task = current_task();
	compat = is_compat(task);
	op = operation_of(nr, compat);
	if (!op)
		return 0;
	if (compat)
		ENTER_COMPAT(task, op, TRACEPOINT_ARGS, program);
	else
		ENTER_NATIVE(task, op, TRACEPOINT_ARGS, program);
	return 0;
}

static __always_inline int syscall_left(const struct pt_regs *regs, long ret,
					enum program program)
{
	long nr = SYSCALL_NR(regs);
	struct task_struct *task;
	bool compat;
	__u8 op;

	if (nr == NO_SYSCALL)
		return handler_returned(regs);
	if (!number_of_interest(nr))
		return 0;
	task = current_task();
	compat = is_compat(task);
	op = operation_of(nr, compat);
	if (op)
		call_return(task, op, compat ? ABI_COMPAT : ABI_NATIVE, ret,
			    program);
	return 0;
}

#define TRACEPOINT_PROGRAMS(suffix, program)                              \
	SEC("tp_btf/sys_enter")                                           \
	int BPF_PROG(tp_sys_enter##suffix, struct pt_regs *regs, long nr) \
	{                                                                 \
		return syscall_entered(regs, nr, program);                \
	}                                                                 \
	SEC("tp_btf/sys_exit")                                            \
	int BPF_PROG(tp_sys_exit##suffix, struct pt_regs *regs, long ret) \
	{                                                                 \
		return syscall_left(regs, ret, program);                  \
	}

TRACEPOINT_PROGRAMS(, FIRST)
TRACEPOINT_PROGRAMS(_2, SECOND)
TRACEPOINT_PROGRAMS(_3, THIRD)
TRACEPOINT_PROGRAMS(_4, FOURTH)

#endif
