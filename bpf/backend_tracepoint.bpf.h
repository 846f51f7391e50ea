/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Backend tracepoint: the raw tracepoints sys_enter and sys_exit
 * (include/trace/events/syscalls.h). They run at every system call on the
 * host, so the number is looked at before all else. The kernel's own copies
 * and the messages' identity are out of reach here.
 */
#ifndef MQSPAN_BACKEND_TRACEPOINT_BPF_H
#define MQSPAN_BACKEND_TRACEPOINT_BPF_H

#define TRACEPOINT_ARGS(kind) kind##_ARGS(DIRECT, regs)

SEC("tp_btf/sys_enter")
int BPF_PROG(tp_sys_enter, struct pt_regs *regs, long nr)
{
	bool compat;
	__u8 op;

	if (!number_of_interest(nr))
		return 0;
	compat = current_is_compat();
	op = operation_of(nr, compat);
	if (!op)
		return 0;
	if (compat)
		ENTER_COMPAT(op, TRACEPOINT_ARGS);
	else
		ENTER_NATIVE(op, TRACEPOINT_ARGS);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(tp_sys_exit, struct pt_regs *regs, long ret)
{
	long nr = SYSCALL_NR(regs);

	if (!number_of_interest(nr) || !operation_of(nr, current_is_compat()))
		return 0;
	call_return(ret);
	return 0;
}

#endif
