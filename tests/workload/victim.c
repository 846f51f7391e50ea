// SPDX-License-Identifier: Apache-2.0
#include "victim.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "mqwork.h"

struct victim *victim_new(const struct queue *queue)
{
	struct victim *victim =
		mmap(NULL, sizeof(*victim), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (victim == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	queue_share(&victim->queue, queue);
	sem_init(&victim->begins, 1, 0);
	return victim;
}

void *victim_waits(void *argument)
{
	struct victim *victim = argument;
	char body[QUEUE_MESSAGE_SIZE];
	unsigned int priority;

	call_begin(&victim->call, OP_RECEIVE);
	sem_post(&victim->begins);
	mq_receive(victim->queue.mqdes, body, sizeof(body), &priority);
	fail("a receive that was to be the last has returned");
}

void victim_print(struct victim *victim, const char *error_name)
{
	struct call *call = &victim->call;

	call->end_ns = realtime_ns();
	call->ret = -KERNEL_ERESTARTSYS;
	call->error_name = error_name;
	call->transfers = true;
	call->msg_len = QUEUE_MESSAGE_SIZE;
	call->priority_asked = true;
	call_on_queue(call, &victim->queue);
	call->nonblocking = victim->queue.nonblocking;
	truth_print(call);
}
