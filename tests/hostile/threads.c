// SPDX-License-Identifier: Apache-2.0
/* Threads that stay: those that called once, and those that never return from a call. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hostile.h"

#define MANY 10000
#define BLOCKED 4096

static int queue;
static sem_t begun;

static void *call_and_stay(void *argument)
{
	(void)argument;
	refused_call();
	sem_post(&begun);
	for (;;)
		pause();
	return NULL;
}

static void *receive_and_stay(void *argument)
{
	char body[64];

	(void)argument;
	count_calls(1);
	sem_post(&begun);
	receive_message(queue, body, sizeof(body));
	for (;;)
		pause();
	return NULL;
}

/*
 * Makes as many threads as there is room for: fewer than asked is a smaller
 * attack, none is an error.
 */
static void make_threads(long count, void *(*body)(void *))
{
	pthread_attr_t attr;
	long made = 0;

	sem_init(&begun, 0, 0);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN);
	while (made < count && !time_is_up()) {
		pthread_t thread;
		int error = pthread_create(&thread, &attr, body, NULL);

		if (error && made == 0)
			fail("a thread: %s", strerror(error));
		if (error)
			break;
		made++;
	}
	for (long i = 0; i < made; i++)
		while (sem_wait(&begun))
			;
	fprintf(stderr, "hostile: %ld threads\n", made);
	while (!time_is_up()) {
		refused_call();
		sleep_ms(1);
	}
}

static long share(long all)
{
	return (options.count ? options.count : all) / options.workers;
}

static void many(long worker)
{
	(void)worker;
	make_threads(share(MANY), call_and_stay);
}

int attack_threads_many(void)
{
	return run_workers(many);
}

static void blocked(long worker)
{
	char name[64];

	snprintf(name, sizeof(name), "hostile-%d-%ld", getppid(), worker);
	queue = (int)open_queue(name, O_RDWR, 1, 64);
	if (queue < 0)
		fail("mq_open %s: %s", name, strerror(errno));
	unlink_queue(name);
	make_threads(share(BLOCKED), receive_and_stay);
}

int attack_threads_blocked(void)
{
	return run_workers(blocked);
}
