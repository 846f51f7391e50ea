// SPDX-License-Identifier: GPL-2.0-only
/* The least that a tracer by raw tracepoints can cost: programs that do nothing. */
#define SEC(name) __attribute__((section(name), used))

SEC("raw_tp/sys_enter") int floor_enter(void *ctx)
{
	(void)ctx;
	return 0;
}

SEC("raw_tp/sys_exit") int floor_exit(void *ctx)
{
	(void)ctx;
	return 0;
}

char license[] SEC("license") = "GPL";
