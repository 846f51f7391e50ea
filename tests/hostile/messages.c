// SPDX-License-Identifier: Apache-2.0
/*
 * More messages at a time than the agent has room for. Only root can queue so
 * many; it would take nine users.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "hostile.h"

#define MANY 70000
#define PER_QUEUE 35000

void prepare_messages(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_MSGQUEUE, &unlimited))
		lacking("RLIMIT_MSGQUEUE: %s", strerror(errno));
}

static void fill(long worker)
{
	long count = options.count ? options.count : MANY;
	int queues[16], used = 0;
	char body[8] = { 'm' };

	for (long sent = 0; sent < count; sent++) {
		if (sent % PER_QUEUE == 0) {
			char name[64];

			if (used == 16)
				fail("more than 16 queues");
			snprintf(name, sizeof(name), "hostile-%ld-%d", worker,
				 used);
			queues[used] = (int)open_queue(name, O_RDWR, PER_QUEUE,
						       sizeof(body));
			if (queues[used] < 0)
				fail("mq_open %s: %s", name, strerror(errno));
			unlink_queue(name);
			used++;
		}
		if (send_message(queues[used - 1], body, sizeof(body)))
			fail("mq_timedsend: %s", strerror(errno));
	}
	for (long left = count; left > 0; left--)
		if (receive_message(queues[(left - 1) / PER_QUEUE], body,
				    sizeof(body)) < 0)
			fail("mq_timedreceive: %s", strerror(errno));
	count_calls(2 * (uint64_t)count);
}

int attack_messages_many(void)
{
	return run_workers(fill);
}
