/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * System call numbers and arguments of each ABI, from
 * arch/x86/entry/syscalls/syscall_{64,32}.tbl and
 * arch/arm64/tools/syscall_{64,32}.tbl.
 */
#ifndef MQSPAN_ABI_BPF_H
#define MQSPAN_ABI_BPF_H

struct call_args {
	__u64 arg[5];
};

/*
 * Two ways to read a field of a struct pt_regs: a plain load if the verifier
 * knows the pointer's type, a probe read if it does not.
 */
#define DIRECT(pointer, field) ((pointer)->field)
#define PROBE(pointer, field) BPF_CORE_READ(pointer, field)

/* mq_timedsend_time64 and mq_timedreceive_time64, in 32-bit ABIs only. */
#define NR_TIMEDSEND_TIME64 418
#define NR_TIMEDRECEIVE_TIME64 419

#if defined(__TARGET_ARCH_x86)

#define ABI_NATIVE ABI_X86_64
#define ABI_COMPAT ABI_I386
#define NR_NATIVE_FIRST 240 /* mq_open */
#define NR_COMPAT_FIRST 277 /* mq_open */

#define NATIVE_ARGS(READ, regs)                                                \
	((struct call_args){ { READ(regs, di), READ(regs, si), READ(regs, dx), \
			       READ(regs, r10), READ(regs, r8) } })
#define COMPAT_ARGS(READ, regs)                                              \
	((struct call_args){ { (__u32)READ(regs, bx), (__u32)READ(regs, cx), \
			       (__u32)READ(regs, dx), (__u32)READ(regs, si), \
			       (__u32)READ(regs, di) } })
#define SYSCALL_NR(regs) ((regs)->orig_ax)
#define SYSCALL_NR_PROBE(regs) BPF_CORE_READ(regs, orig_ax)
#define RETURN_VALUE_PROBE(regs) ((long)BPF_CORE_READ(regs, ax))
#define IP_PROBE(regs) ((__u64)BPF_CORE_READ(regs, ip))
#define SP_PROBE(regs) ((__u64)BPF_CORE_READ(regs, sp))
/*
 * How far the kernel moves the instruction pointer back to restart a call, in
 * bytes. On x86 the tracepoint signal_deliver comes before this step back, on
 * arm64 after it.
 */
#define STEP_BACK 2

/* arch/x86/include/asm/thread_info.h; set for int 0x80 too. */
#define TS_COMPAT 0x2

#elif defined(__TARGET_ARCH_arm64)

#define ABI_NATIVE ABI_AARCH64
#define ABI_COMPAT ABI_ARM
#define NR_NATIVE_FIRST 180 /* mq_open */
#define NR_COMPAT_FIRST 274 /* mq_open */

#define NATIVE_ARGS(READ, r)                                       \
	((struct call_args){ { READ(r, regs[0]), READ(r, regs[1]), \
			       READ(r, regs[2]), READ(r, regs[3]), \
			       READ(r, regs[4]) } })
#define COMPAT_ARGS(READ, r)                                        \
	((struct call_args){                                        \
		{ (__u32)READ(r, regs[0]), (__u32)READ(r, regs[1]), \
		  (__u32)READ(r, regs[2]), (__u32)READ(r, regs[3]), \
		  (__u32)READ(r, regs[4]) } })
#define SYSCALL_NR(r) ((r)->syscallno)
#define SYSCALL_NR_PROBE(r) BPF_CORE_READ(r, syscallno)
#define RETURN_VALUE_PROBE(r) ((long)BPF_CORE_READ(r, regs[0]))
#define IP_PROBE(r) ((__u64)BPF_CORE_READ(r, pc))
#define SP_PROBE(r) \
	((__u64)(REGISTERS_ARE_COMPAT(r) ? PROBE(r, regs[13]) : PROBE(r, sp)))
#define STEP_BACK 0

/*
 * arch/arm64/include/uapi/asm/ptrace.h. TIF_32BIT, the thread flag that says
 * the same, has no fixed number.
 */
#define PSR_MODE32_BIT 0x10
#define REGISTERS_ARE_COMPAT(r) (BPF_CORE_READ(r, pstate) & PSR_MODE32_BIT)

#endif

/*
 * Maps a system call number to enum call_op; 0 if it is not an mq_* call. The
 * six calls of 2004 have consecutive numbers in every table: open, unlink,
 * timedsend, timedreceive, notify, getsetattr.
 */
static __always_inline __u8 operation_of(long nr, bool compat)
{
	__u64 index = nr - (compat ? NR_COMPAT_FIRST : NR_NATIVE_FIRST);

	switch (index) {
	case 0:
		return CALL_OPEN;
	case 1:
		return CALL_UNLINK;
	case 2:
		return compat ? CALL_TIMEDSEND_TIME32 : CALL_TIMEDSEND;
	case 3:
		return compat ? CALL_TIMEDRECEIVE_TIME32 : CALL_TIMEDRECEIVE;
	case 4:
		return CALL_NOTIFY;
	case 5:
		return CALL_GETSETATTR;
	}
	if (compat && nr == NR_TIMEDSEND_TIME64)
		return CALL_TIMEDSEND_TIME64;
	if (compat && nr == NR_TIMEDRECEIVE_TIME64)
		return CALL_TIMEDRECEIVE_TIME64;
	return 0;
}

/* Cheap first test: is this the number of an mq_* call in either ABI? */
static __always_inline bool number_of_interest(__u64 nr)
{
	return nr - NR_NATIVE_FIRST < 6 || nr - NR_COMPAT_FIRST < 6 ||
	       nr - NR_TIMEDSEND_TIME64 < 2;
}

static __always_inline bool is_send(__u8 op)
{
	return op >= CALL_TIMEDSEND && op <= CALL_TIMEDSEND_TIME64;
}

static __always_inline bool is_receive(__u8 op)
{
	return op >= CALL_TIMEDRECEIVE && op <= CALL_TIMEDRECEIVE_TIME64;
}

static __always_inline bool is_transfer(__u8 op)
{
	return op >= CALL_TIMEDSEND && op <= CALL_TIMEDRECEIVE_TIME64;
}

static __always_inline bool takes_descriptor(__u8 op)
{
	return op != CALL_OPEN && op != CALL_UNLINK;
}

/* The timeout is two 32-bit words. */
static __always_inline bool is_time32(__u8 op)
{
	return op == CALL_TIMEDSEND_TIME32 || op == CALL_TIMEDRECEIVE_TIME32;
}

#endif
