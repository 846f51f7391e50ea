// SPDX-License-Identifier: Apache-2.0
/* Many callers blocked at once. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

#define STACK_SIZE (64 * 1024)

struct receiver {
	pthread_t thread;
	struct queue queue;
	sem_t *begins;
	pid_t tid;
};

static void *receive(void *argument)
{
	struct receiver *receiver = argument;
	char body[QUEUE_MESSAGE_SIZE];

	receiver->tid = thread_id();
	sem_post(receiver->begins);
	if (call_receive(&receiver->queue, body, sizeof(body), NULL) < 0)
		fail("a blocked receive failed");
	return NULL;
}

/*
 * blocked N [hold]: N threads wait in a receive, then as many messages release them. With "hold"
 * they wait until standard input ends; "blocked" on standard output tells when all of them wait.
 */
int scenario_blocked(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 100);
	struct receiver *receivers = calloc((size_t)count, sizeof(*receivers));
	char body[QUEUE_MESSAGE_SIZE] = { 'b' };
	pthread_attr_t attr;
	struct queue queue;
	sem_t begins;

	if (!receivers)
		fail("no memory for %ld threads", count);
	queue_create(&queue, ".blocked", O_RDWR);
	queue.depth = -1;
	sem_init(&begins, 0, 0);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (long i = 0; i < count; i++) {
		int error;

		queue_share(&receivers[i].queue, &queue);
		receivers[i].begins = &begins;
		error = pthread_create(&receivers[i].thread, &attr, receive,
				       &receivers[i]);
		if (error)
			fail("thread %ld: %s", i, strerror(error));
	}
	for (long i = 0; i < count; i++)
		sem_wait(&begins);
	for (long i = 0; i < count; i++)
		await_blocked(getpid(), receivers[i].tid);
	if (argc > 1 && strcmp(argv[1], "hold") == 0) {
		if (write(STDOUT_FILENO, "blocked\n", 8) != 8)
			fail("standard output: %s", strerror(errno));
		while (read(STDIN_FILENO, body, 1) > 0)
			;
	}
	for (long i = 0; i < count; i++)
		if (call_send(&queue, body, 12, 1, NULL))
			fail("a send failed");
	for (long i = 0; i < count; i++)
		pthread_join(receivers[i].thread, NULL);
	queue_destroy(&queue);
	free(receivers);
	return 0;
}
