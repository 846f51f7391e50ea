/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Backend kprobe: kprobes and kretprobes on the same functions as fentry. They
 * run with preemption off, so none hides another; see "Spares" in call.bpf.h
 * for what does.
 *
 * A return is missed when blocked callers hold all instances of a kretprobe;
 * the agent asks for as many as tracefs allows. From Linux 6.14 on, the same
 * programs are attached as kprobe.multi, which needs no instances
 * (4346ba160409).
 */
#ifndef MQSPAN_BACKEND_KPROBE_BPF_H
#define MQSPAN_BACKEND_KPROBE_BPF_H

#define KPROBE_ARGS(kind) kind##_ARGS(PROBE, regs)

#define KPROBE_CALL(name, symbol, op, kind)                           \
	SEC("kprobe/" #symbol)                                        \
	int BPF_KPROBE(kp_##name, const struct pt_regs *regs)         \
	{                                                             \
		ENTER_##kind(current_task(), op, KPROBE_ARGS, FIRST); \
		return 0;                                             \
	}                                                             \
	SEC("kretprobe/" #symbol)                                     \
	int BPF_KRETPROBE(kr_##name, long ret)                        \
	{                                                             \
		LEAVE_##kind(current_task(), op, ret, FIRST);         \
		return 0;                                             \
	}

ENTRY_FUNCTIONS(KPROBE_CALL)

#define KPROBE_HANDLER(name, symbol)                                   \
	SEC("kretprobe/" #symbol)                                      \
	int kr_##name(void *ctx)                                       \
	{                                                              \
		return handler_returned(registers_of(current_task())); \
	}

HANDLER_RETURNS(KPROBE_HANDLER)

SEC("kprobe/do_mq_timedsend")
int BPF_KPROBE(kp_do_send, int mqdes, const char *msg, unsigned long len,
	       unsigned int priority, const struct timespec64 *timeout)
{
	timeout_copied(timeout);
	return 0;
}

SEC("kprobe/do_mq_timedreceive")
int BPF_KPROBE(kp_do_receive, int mqdes, char *msg, unsigned long len,
	       unsigned int *priority, const struct timespec64 *timeout)
{
	timeout_copied(timeout);
	return 0;
}

SEC("kretprobe/load_msg")
int BPF_KRETPROBE(kr_load_msg, struct msg_msg *message)
{
	message_made((__u64)message);
	return 0;
}

SEC("kprobe/store_msg")
int BPF_KPROBE(kp_store_msg, void *destination, struct msg_msg *message)
{
	message_delivered((__u64)message, BPF_CORE_READ(message, m_type));
	return 0;
}

SEC("kprobe/free_msg")
int BPF_KPROBE(kp_free_msg, struct msg_msg *message)
{
	message_freed((__u64)message);
	return 0;
}

#endif
