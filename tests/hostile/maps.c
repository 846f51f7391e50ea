// SPDX-License-Identifier: Apache-2.0
/*
 * Calls on a CPU whose other threads are in bpf(2) most of the time. If they
 * can be preempted there, the kernel runs no kprobe program on that CPU
 * meanwhile (bpf_prog_active, kernel/bpf/syscall.c). Needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostile.h"

#define VALUE_SIZE (1 << 20) /* takes long to copy */

static void stay_on_one_cpu(void)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (sched_setaffinity(0, sizeof(first), &first))
		fail("sched_setaffinity: %s", strerror(errno));
}

static void look_up(void)
{
	/*
	 * Before Linux 5.11 maps count as locked memory. Later there is no need
	 * to raise the limit, which root may be forbidden to do.
	 */
	struct rlimit any = { RLIM_INFINITY, RLIM_INFINITY };
	static char value[VALUE_SIZE];
	int key = 0;
	union bpf_attr attributes = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(key),
		.value_size = VALUE_SIZE,
		.max_entries = 1,
	};
	long map;

	setrlimit(RLIMIT_MEMLOCK, &any);
	map = syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes));
	if (map < 0)
		lacking("no BPF map: %s", strerror(errno));
	memset(&attributes, 0, sizeof(attributes));
	attributes.map_fd = (unsigned int)map;
	attributes.key = (unsigned long)&key;
	attributes.value = (unsigned long)value;
	while (!time_is_up())
		syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attributes,
			sizeof(attributes));
}

static void exchange(void)
{
	char body[8] = { 'm' };
	long queue = open_queue("maps", O_RDWR, 2, sizeof(body));

	if (queue < 0)
		fail("mq_open: %s", strerror(errno));
	while (!time_is_up()) {
		send_message((int)queue, body, sizeof(body));
		receive_message((int)queue, body, sizeof(body));
		count_calls(2);
		sleep_ms(1);
	}
	close((int)queue);
	unlink_queue("maps");
}

static void work(long worker)
{
	stay_on_one_cpu();
	if (worker == 0)
		exchange();
	else
		look_up();
}

int attack_maps(void)
{
	return run_workers(work);
}
