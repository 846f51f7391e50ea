/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ENTRY_FUNCTIONS(ENTRY): ENTRY(name, symbol, op, kind) once for the entry
 * function of every call in every ABI. The symbols come from SYSCALL_DEFINE and
 * COMPAT_SYSCALL_DEFINE (arch/{x86,arm64}/include/asm/syscall_wrapper.h) and
 * the tables of system calls. Beware: __x64_sys_mq_timedreceive_time32 exists
 * and is never called.
 *
 * kind: NATIVE, COMPAT, X32, or SHARED if both ABIs use the function; the
 * thread then tells which one.
 *
 * HANDLER_RETURNS(RETURN): RETURN(name, symbol) for each way in which a signal
 * handler returns.
 */
#ifndef MQSPAN_ENTRY_FUNCTIONS_BPF_H
#define MQSPAN_ENTRY_FUNCTIONS_BPF_H

#if defined(__TARGET_ARCH_x86)

#define ENTRY_FUNCTIONS(ENTRY)                                                 \
	ENTRY(open, __x64_sys_mq_open, CALL_OPEN, NATIVE)                      \
	ENTRY(unlink, __x64_sys_mq_unlink, CALL_UNLINK, NATIVE)                \
	ENTRY(send, __x64_sys_mq_timedsend, CALL_TIMEDSEND, NATIVE)            \
	ENTRY(recv, __x64_sys_mq_timedreceive, CALL_TIMEDRECEIVE, NATIVE)      \
	ENTRY(notify, __x64_sys_mq_notify, CALL_NOTIFY, NATIVE)                \
	ENTRY(attr, __x64_sys_mq_getsetattr, CALL_GETSETATTR, NATIVE)          \
	ENTRY(c_open, __ia32_compat_sys_mq_open, CALL_OPEN, COMPAT)            \
	ENTRY(c_unlink, __ia32_sys_mq_unlink, CALL_UNLINK, COMPAT)             \
	ENTRY(c_send32, __ia32_sys_mq_timedsend_time32, CALL_TIMEDSEND_TIME32, \
	      COMPAT)                                                          \
	ENTRY(c_recv32, __ia32_sys_mq_timedreceive_time32,                     \
	      CALL_TIMEDRECEIVE_TIME32, COMPAT)                                \
	ENTRY(c_send64, __ia32_sys_mq_timedsend, CALL_TIMEDSEND_TIME64,        \
	      COMPAT)                                                          \
	ENTRY(c_recv64, __ia32_sys_mq_timedreceive, CALL_TIMEDRECEIVE_TIME64,  \
	      COMPAT)                                                          \
	ENTRY(c_notify, __ia32_compat_sys_mq_notify, CALL_NOTIFY, COMPAT)      \
	ENTRY(c_attr, __ia32_compat_sys_mq_getsetattr, CALL_GETSETATTR,        \
	      COMPAT)                                                          \
	ENTRY(x_notify, __x64_compat_sys_mq_notify, CALL_NOTIFY, X32)

/* The names are those in the kernel's BTF. */
#define HANDLER_RETURNS(RETURN)                         \
	RETURN(handler, __do_sys_rt_sigreturn)          \
	RETURN(c_handler, __do_compat_sys_rt_sigreturn) \
	RETURN(c_handler_old, __do_compat_sys_sigreturn)

#elif defined(__TARGET_ARCH_arm64)

#define ENTRY_FUNCTIONS(ENTRY)                                              \
	ENTRY(open, __arm64_sys_mq_open, CALL_OPEN, NATIVE)                 \
	ENTRY(unlink, __arm64_sys_mq_unlink, CALL_UNLINK, SHARED)           \
	ENTRY(send, __arm64_sys_mq_timedsend, CALL_TIMEDSEND, SHARED)       \
	ENTRY(recv, __arm64_sys_mq_timedreceive, CALL_TIMEDRECEIVE, SHARED) \
	ENTRY(notify, __arm64_sys_mq_notify, CALL_NOTIFY, NATIVE)           \
	ENTRY(attr, __arm64_sys_mq_getsetattr, CALL_GETSETATTR, NATIVE)     \
	ENTRY(c_open, __arm64_compat_sys_mq_open, CALL_OPEN, COMPAT)        \
	ENTRY(c_send32, __arm64_sys_mq_timedsend_time32,                    \
	      CALL_TIMEDSEND_TIME32, COMPAT)                                \
	ENTRY(c_recv32, __arm64_sys_mq_timedreceive_time32,                 \
	      CALL_TIMEDRECEIVE_TIME32, COMPAT)                             \
	ENTRY(c_notify, __arm64_compat_sys_mq_notify, CALL_NOTIFY, COMPAT)  \
	ENTRY(c_attr, __arm64_compat_sys_mq_getsetattr, CALL_GETSETATTR, COMPAT)

#define HANDLER_RETURNS(RETURN)                            \
	RETURN(handler, __arm64_sys_rt_sigreturn)          \
	RETURN(c_handler, __arm64_compat_sys_rt_sigreturn) \
	RETURN(c_handler_old, __arm64_compat_sys_sigreturn)

#endif

/* Is the task's call of the 32-bit ABI? Thread and call have the same ABI. */
static __always_inline bool is_compat(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
	return TASK(task, thread_info.status) & TS_COMPAT;
#elif defined(__TARGET_ARCH_arm64)
	return REGISTERS_ARE_COMPAT(registers_of(task));
#endif
}

/* What a SHARED function means in the 32-bit ABI. */
static __always_inline __u8 shared_op_of_compat(__u8 op)
{
	if (op == CALL_TIMEDSEND)
		return CALL_TIMEDSEND_TIME64;
	if (op == CALL_TIMEDRECEIVE)
		return CALL_TIMEDRECEIVE_TIME64;
	return op;
}

/*
 * ENTER_<kind>: entry of a call of the current task. ARGS(kind) gives the
 * arguments in the convention of NATIVE or COMPAT. LEAVE_<kind>: its return.
 */
#define ENTER_NATIVE(task, op, ARGS, program)                      \
	do {                                                       \
		struct call_args args_ = ARGS(NATIVE);             \
		call_enter(task, op, ABI_NATIVE, &args_, program); \
	} while (0)
#define ENTER_COMPAT(task, op, ARGS, program)                      \
	do {                                                       \
		struct call_args args_ = ARGS(COMPAT);             \
		call_enter(task, op, ABI_COMPAT, &args_, program); \
	} while (0)
#define ENTER_X32(task, op, ARGS, program)                      \
	do {                                                    \
		struct call_args args_ = ARGS(NATIVE);          \
		call_enter(task, op, ABI_X32, &args_, program); \
	} while (0)
#define ENTER_SHARED(task, op, ARGS, program)                              \
	do {                                                               \
		struct task_struct *task_ = task;                          \
		if (is_compat(task_))                                      \
			ENTER_COMPAT(task_, shared_op_of_compat(op), ARGS, \
				     program);                             \
		else                                                       \
			ENTER_NATIVE(task_, op, ARGS, program);            \
	} while (0)

#define LEAVE_NATIVE(task, op, ret, program) \
	call_return(task, op, ABI_NATIVE, ret, program)
#define LEAVE_COMPAT(task, op, ret, program) \
	call_return(task, op, ABI_COMPAT, ret, program)
#define LEAVE_X32(task, op, ret, program) \
	call_return(task, op, ABI_X32, ret, program)
#define LEAVE_SHARED(task, op, ret, program)                              \
	do {                                                              \
		struct task_struct *task_ = task;                         \
		if (is_compat(task_))                                     \
			LEAVE_COMPAT(task_, shared_op_of_compat(op), ret, \
				     program);                            \
		else                                                      \
			LEAVE_NATIVE(task_, op, ret, program);            \
	} while (0)

#endif
