// SPDX-License-Identifier: Apache-2.0
/* Many callers blocked at once. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
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
	sem_t *stays; /* NULL: the thread ends after its call */
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
	while (receiver->stays && sem_wait(receiver->stays))
		;
	return NULL;
}

/*
 * blocked N [hold|stay]: N threads wait in a receive, then N messages release
 * them. With "hold", prints "blocked" once all threads wait, and sends the
 * messages when standard input ends. With "stay", prints "blocked", sends the
 * messages after one byte of standard input and prints "released"; after their
 * call the threads wait for something else until standard input ends.
 */
int scenario_blocked(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 100);
	struct receiver *receivers = calloc((size_t)count, sizeof(*receivers));
	char body[QUEUE_MESSAGE_SIZE] = { 'b' };
	pthread_attr_t attr;
	struct queue queue;
	sem_t begins, stays;
	bool stay = argc > 1 && strcmp(argv[1], "stay") == 0;
	bool hold = argc > 1 && strcmp(argv[1], "hold") == 0;

	if (!receivers)
		fail("no memory for %ld threads", count);
	queue_create(&queue, ".blocked", O_RDWR);
	queue.depth = -1;
	sem_init(&begins, 0, 0);
	sem_init(&stays, 0, 0);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (long i = 0; i < count; i++) {
		int error;

		queue_share(&receivers[i].queue, &queue);
		receivers[i].begins = &begins;
		receivers[i].stays = stay ? &stays : NULL;
		error = pthread_create(&receivers[i].thread, &attr, receive,
				       &receivers[i]);
		if (error)
			fail("thread %ld: %s", i, strerror(error));
	}
	for (long i = 0; i < count; i++)
		sem_wait(&begins);
	for (long i = 0; i < count; i++)
		await_blocked(getpid(), receivers[i].tid);
	if (hold || stay)
		say_and_wait("blocked", stay ? 1 : UNTIL_END);
	for (long i = 0; i < count; i++)
		if (call_send(&queue, body, 12, 1, NULL))
			fail("a send failed");
	if (stay)
		say_and_wait("released", UNTIL_END);
	for (long i = 0; i < count; i++)
		sem_post(&stays);
	for (long i = 0; i < count; i++)
		pthread_join(receivers[i].thread, NULL);
	queue_destroy(&queue);
	free(receivers);
	return 0;
}
