// SPDX-License-Identifier: Apache-2.0
/* Calls, processes and threads as fast as possible. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define BATCH 256 /* calls between two checks of the time */
#define THREADS_AT_ONCE 16

static void getsetattr(long worker)
{
	(void)worker;
	while (!time_is_up()) {
		for (int i = 0; i < BATCH; i++)
			syscall(SYS_mq_getsetattr, -1, NULL, NULL);
		count_calls(BATCH);
	}
}

int attack_flood_getsetattr(void)
{
	return run_workers(getsetattr);
}

/* Unlinks names that do not exist: a new one each time, or options.count names in turn. */
static void unlink_nothing(long worker)
{
	unsigned long number = 0;
	char name[64];

	while (!time_is_up())
		for (int i = 0; i < BATCH; i++) {
			snprintf(name, sizeof(name), "hostile-%d-%ld-%lu",
				 getppid(), worker, number++);
			if (options.count)
				number %= (unsigned long)options.count;
			unlink_queue(name);
		}
}

int attack_flood_unlink(void)
{
	return run_workers(unlink_nothing);
}

static void exchange(long worker)
{
	char name[64], body[64] = { 'h' };
	long queue;

	snprintf(name, sizeof(name), "hostile-%d-%ld", getppid(), worker);
	queue = open_queue(name, O_RDWR, 4, sizeof(body));
	if (queue < 0)
		fail("mq_open %s: %s", name, strerror(errno));
	/* An unlinked queue goes away with this process, however that ends. */
	unlink_queue(name);
	while (!time_is_up()) {
		for (int i = 0; i < BATCH; i++)
			if (send_message((int)queue, body, sizeof(body)) ||
			    receive_message((int)queue, body, sizeof(body)) < 0)
				fail("exchange: %s", strerror(errno));
		count_calls(2 * BATCH);
	}
}

int attack_flood_exchange(void)
{
	return run_workers(exchange);
}

static void forks(long worker)
{
	(void)worker;
	while (!time_is_up()) {
		pid_t child = try_start();

		if (child == 0) {
			refused_call();
			_exit(0);
		}
		if (child > 0)
			reap(child);
	}
}

int attack_flood_forks(void)
{
	return run_workers(forks);
}

static void executions(long worker)
{
	char *environment[] = { "OTEL_SERVICE_NAME=hostile", NULL };

	(void)worker;
	while (!time_is_up())
		execute_once(self_path, environment);
}

int attack_flood_exec(void)
{
	return run_workers(executions);
}

static void *call_once(void *argument)
{
	(void)argument;
	refused_call();
	return NULL;
}

static void threads(long worker)
{
	pthread_t made[THREADS_AT_ONCE];
	pthread_attr_t attr;

	(void)worker;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN);
	while (!time_is_up()) {
		int count = 0;

		while (count < THREADS_AT_ONCE &&
		       pthread_create(&made[count], &attr, call_once, NULL) ==
			       0)
			count++;
		while (count > 0)
			pthread_join(made[--count], NULL);
	}
}

int attack_flood_threads(void)
{
	return run_workers(threads);
}
