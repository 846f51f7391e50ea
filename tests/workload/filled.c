// SPDX-License-Identifier: Apache-2.0
/* A queue that holds messages, and a caller that waits until a known time. */
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

struct parked {
	struct queue queue;
	struct timespec until;
	sem_t begins;
	pid_t tid;
};

static void *wait_until(void *argument)
{
	struct parked *parked = argument;
	char body[QUEUE_MESSAGE_SIZE];

	parked->tid = thread_id();
	sem_post(&parked->begins);
	if (call_receive(&parked->queue, body, sizeof(body), &parked->until) <
	    0)
		fail("the receive that waits failed");
	return NULL;
}

/*
 * filled N SECOND: puts N messages into one queue, and a thread waits on
 * another one until this Unix time. Prints "blocked" once both is done. When
 * standard input ends, all messages are received.
 */
int scenario_filled(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 3);
	struct parked parked = {
		.until.tv_sec = argument_count(argc, argv, 1, 2000000000),
	};
	char body[QUEUE_MESSAGE_SIZE] = { 'f' };
	struct queue filled, waits;
	pthread_t thread;

	queue_create(&filled, ".filled", O_RDWR);
	queue_create(&waits, ".waits", O_RDWR);
	waits.depth = -1;
	queue_share(&parked.queue, &waits);
	for (long i = 0; i < count; i++)
		if (call_send(&filled, body, 10, 1, NULL))
			fail("send %ld failed", i);
	sem_init(&parked.begins, 0, 0);
	if (pthread_create(&thread, NULL, wait_until, &parked))
		fail("no thread");
	sem_wait(&parked.begins);
	await_blocked(getpid(), parked.tid);
	say_and_wait("blocked", UNTIL_END);
	if (call_send(&waits, body, 10, 1, NULL))
		fail("the send that releases failed");
	pthread_join(thread, NULL);
	for (long i = 0; i < count; i++)
		if (call_receive(&filled, body, sizeof(body), NULL) < 0)
			fail("receive %ld failed", i);
	queue_destroy(&filled);
	queue_destroy(&waits);
	return 0;
}
