/* SPDX-License-Identifier: GPL-2.0-only */
/* Which calls are wanted. What names decide is decided in the agent. */
#ifndef MQSPAN_FILTER_BPF_H
#define MQSPAN_FILTER_BPF_H

enum { PID_WANTED = 1, PID_UNWANTED = 2 };

static __always_inline bool wanted(__u8 op, __u8 abi, __u32 pid)
{
	__u8 *verdict;

	if (!(filter.operations & (1U << op)))
		return false;
	if (abi == ABI_NATIVE ? !filter.native : !filter.compat)
		return false;
	if (!filter.by_process)
		return true;
	verdict = bpf_map_lookup_elem(&pids, &pid);
	return (verdict ? *verdict : filter.pid_default) == PID_WANTED;
}

static __always_inline bool wanted_at_entry(__u8 op, __u8 abi)
{
	return wanted(op, abi, bpf_get_current_pid_tgid() >> 32);
}

static __always_inline bool wanted_at_return(const struct call_event *call)
{
	if (filter.errors_only && call->ret >= 0 && !(call->flags & CALL_DIED))
		return false;
	if (filter.min_duration_ns &&
	    call->end_ns - call->start_ns < filter.min_duration_ns)
		return false;
	return true;
}

#endif
