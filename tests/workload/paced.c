// SPDX-License-Identifier: Apache-2.0
/* Many calls: at a steady pace, between two processes, or as fast as they go. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

#define PACE_NS \
	100000 /* between one send and receive and the next: at most 20,000 calls/s */

static int64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* paced N: N sends and N receives in one thread. */
int scenario_paced(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 1000);
	char body[QUEUE_MESSAGE_SIZE];
	int64_t next_ns = monotonic_ns();
	struct queue queue;

	memset(body, 'p', sizeof(body));
	queue_create(&queue, ".paced", O_RDWR);
	for (long i = 0; i < count; i++) {
		struct timespec at;

		if (call_send(&queue, body, 8 + (size_t)(i % 64),
			      (unsigned int)i % 32, NULL) ||
		    call_receive(&queue, body, sizeof(body), NULL) < 0)
			fail("call %ld failed", i);
		next_ns += PACE_NS;
		at.tv_sec = (time_t)(next_ns / 1000000000);
		at.tv_nsec = (long)(next_ns % 1000000000);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	}
	queue_destroy(&queue);
	return 0;
}

static void pong(struct queue *pings, struct queue *pongs, long count)
{
	char body[QUEUE_MESSAGE_SIZE];

	for (long i = 0; i < count; i++)
		if (call_receive(pings, body, sizeof(body), NULL) < 0 ||
		    call_send(pongs, body, 20, 2, NULL) < 0)
			fail("pong %ld failed", i);
}

/* pingpong N: N round trips between two processes. */
int scenario_pingpong(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 100);
	char body[QUEUE_MESSAGE_SIZE] = { 'g' };
	struct queue pings, pongs;
	pid_t child;

	queue_create(&pings, ".ping", O_RDWR);
	queue_create(&pongs, ".pong", O_RDWR);
	pings.depth = pongs.depth = -1;
	child = start_process();
	if (child == 0) {
		pong(&pings, &pongs, count);
		_exit(0);
	}
	for (long i = 0; i < count; i++)
		if (call_send(&pings, body, 10, 1, NULL) < 0 ||
		    call_receive(&pongs, body, sizeof(body), NULL) < 0)
			fail("ping %ld failed", i);
	wait_for_process(child);
	queue_destroy(&pings);
	queue_destroy(&pongs);
	return 0;
}

static void print_cost(long calls, int64_t took_ns)
{
	printf("{\"calls\":%ld,\"ns_per_call\":%.1f}\n", calls,
	       (double)took_ns / (double)calls);
}

/* Sleeps until this many calls are due at this rate. */
static void keep_pace(int64_t start_ns, long calls, long per_second)
{
	int64_t at_ns = start_ns + calls * 1000000000 / per_second;
	struct timespec at = {
		.tv_sec = (time_t)(at_ns / 1000000000),
		.tv_nsec = (long)(at_ns % 1000000000),
	};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

/*
 * flood N [RATE]: N sends and N receives without lines of truth, as fast as
 * possible, or RATE calls a second in batches of a hundred. Prints the cost of
 * a call.
 */
int scenario_flood(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 100000);
	long per_second = argument_count(argc, argv, 1, 0);
	struct mq_attr attr = { .mq_maxmsg = 2, .mq_msgsize = 64 };
	char name[QUEUE_NAME_SIZE], body[64] = { 'f' };
	unsigned int priority;
	int64_t start_ns, took_ns;
	mqd_t queue;

	queue_name(name, ".flood");
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	if (queue < 0)
		fail("mq_open %s: %s", name, strerror(errno));
	start_ns = monotonic_ns();
	for (long i = 0; i < count; i++) {
		if (per_second && i % 50 == 0)
			keep_pace(start_ns, 2 * i, per_second);
		if (mq_send(queue, body, sizeof(body), 1) < 0 ||
		    mq_receive(queue, body, sizeof(body), &priority) < 0)
			fail("call %ld: %s", i, strerror(errno));
	}
	took_ns = monotonic_ns() - start_ns;
	mq_close(queue);
	mq_unlink(name);
	print_cost(2 * count, took_ns);
	return 0;
}

/* getppid N: 2 N system calls that have nothing to do with queues. Prints the cost of a call. */
int scenario_getppid(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 100000);
	int64_t start_ns = monotonic_ns();

	for (long i = 0; i < 2 * count; i++)
		syscall(SYS_getppid);
	print_cost(2 * count, monotonic_ns() - start_ns);
	return 0;
}
