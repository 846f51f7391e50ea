// SPDX-License-Identifier: Apache-2.0
/* Another thread rewrites a call's memory while the kernel reads it, or afterwards. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"
#include "raw.h"

#define AHEAD_NS 100000000
#define PAST_SEC 5

static struct timespec timeout = { .tv_sec = PAST_SEC };
static unsigned int priority;
static _Atomic(time_t) future_sec = PAST_SEC;
static _Atomic(time_t) written_sec; /* the last future that was written */
static atomic_bool stop;

static void *rewrite(void *argument)
{
	(void)argument;
	while (!stop) {
		time_t future = future_sec;

		*(volatile time_t *)&timeout.tv_sec = PAST_SEC;
		*(volatile unsigned int *)&priority = 0xdead;
		*(volatile time_t *)&timeout.tv_sec = future;
		*(volatile unsigned int *)&priority = 0xbeef;
		written_sec = future;
	}
	return NULL;
}

/*
 * An empty queue times out at once or after AHEAD_NS. This tells which of the
 * two timeouts was used.
 */
static void time_out(struct queue *queue)
{
	char body[QUEUE_MESSAGE_SIZE];
	int64_t until_ns = realtime_ns() + AHEAD_NS;
	struct call call;

	timeout.tv_nsec = (long)(until_ns % 1000000000);
	future_sec = (time_t)(until_ns / 1000000000);
	/* From here on only the past and this future are written. */
	while (written_sec != future_sec)
		;
	call_begin(&call, OP_RECEIVE);
	call_end(&call, mq_timedreceive(queue->mqdes, body, sizeof(body),
					&priority, &timeout));
	if (call.ret != -ETIMEDOUT)
		fail("an empty queue returned %ld", call.ret);
	call.transfers = true;
	call.msg_len = sizeof(body);
	call.priority_asked = true;
	call.timed = true;
	call.timeout_sec = call.end_ns < until_ns ? PAST_SEC : future_sec;
	call.timeout_nsec = timeout.tv_nsec;
	call_on_queue(&call, queue);
	call.nonblocking = queue->nonblocking;
	truth_print(&call);
}

/* A message has its own priority, whatever is in the caller's memory by then. */
static void take_priority(struct queue *queue)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'w' };
	struct raw_transfer receive = {
		body, sizeof(body), (uintptr_t)&priority, NULL, NULL, false
	};

	if (call_send(queue, body, 27, 12, NULL) ||
	    raw_receive(queue, &receive) != 27)
		fail("a send or a receive failed");
}

struct waiter {
	struct queue queue;
	struct timespec until;
	struct timespec *timeout; /* until, in a page that is not present */
	sem_t begins;
	pid_t tid;
};

static void *wait_with_timeout(void *argument)
{
	struct waiter *waiter = argument;
	char body[QUEUE_MESSAGE_SIZE];
	struct timespec64 value = { waiter->until.tv_sec,
				    waiter->until.tv_nsec };
	struct raw_transfer receive = {
		body,	sizeof(body), (uintptr_t)&priority, waiter->timeout,
		&value, false
	};

	waiter->tid = thread_id();
	sem_post(&waiter->begins);
	if (raw_receive(&waiter->queue, &receive) != 28)
		fail("the receive failed");
	return NULL;
}

/*
 * Only the kernel's own copy holds this timeout: at the entry it cannot be
 * read, and before the return it is overwritten. With the overwritten value the
 * wait would end at once.
 */
static void keep_timeout(void)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'k' };
	struct waiter waiter;
	struct queue queue;
	pthread_t thread;

	queue_create(&queue, ".tocttou.keep", O_RDWR);
	queue.depth = -1;
	queue_share(&waiter.queue, &queue);
	clock_gettime(CLOCK_REALTIME, &waiter.until);
	waiter.until.tv_sec += 600;
	waiter.timeout = page_not_present(&waiter.until, sizeof(waiter.until));
	sem_init(&waiter.begins, 0, 0);
	if (pthread_create(&thread, NULL, wait_with_timeout, &waiter))
		fail("no thread");
	sem_wait(&waiter.begins);
	await_blocked(getpid(), waiter.tid);
	waiter.timeout->tv_sec = PAST_SEC;
	waiter.timeout->tv_nsec = 1;
	if (call_send(&queue, body, 28, 3, NULL))
		fail("the send failed");
	pthread_join(thread, NULL);
	queue_destroy(&queue);
}

int scenario_tocttou(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 20);
	struct queue queue;
	pthread_t thread;

	queue_create(&queue, ".tocttou", O_RDWR);
	if (pthread_create(&thread, NULL, rewrite, NULL))
		fail("no thread");
	for (long i = 0; i < count; i++) {
		time_out(&queue);
		take_priority(&queue);
	}
	stop = true;
	pthread_join(thread, NULL);
	queue_destroy(&queue);
	keep_timeout();
	return 0;
}
