// SPDX-License-Identifier: Apache-2.0
/* Callers that arrive one after the other and stay. */
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

#define STACK_SIZE 65536

struct arrival {
	pthread_t thread;
	struct queue queue;
	sem_t begins;
	pid_t tid;
};

static void *wait_for_message(void *argument)
{
	struct arrival *arrival = argument;
	char body[QUEUE_MESSAGE_SIZE];

	arrival->tid = thread_id();
	sem_post(&arrival->begins);
	if (call_receive(&arrival->queue, body, sizeof(body), NULL) < 0)
		fail("a receive failed");
	return NULL;
}

/*
 * arriving N MILLISECONDS: N threads block in a receive, one every
 * MILLISECONDS. Prints "blocked" once all of them do. When standard input ends,
 * each gets a message.
 */
int scenario_arriving(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 500);
	long apart_ms = argument_count(argc, argv, 1, 4);
	struct timespec apart = { apart_ms / 1000, apart_ms % 1000 * 1000000 };
	static struct arrival arrivals[1000];
	pthread_attr_t attributes;
	struct queue queue;
	char body[8] = { 'a' };

	if (count > 1000)
		fail("no more than 1000 can arrive");
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	queue_create(&queue, ".arriving", O_RDWR);
	queue.depth = -1;
	for (long i = 0; i < count; i++) {
		queue_share(&arrivals[i].queue, &queue);
		sem_init(&arrivals[i].begins, 0, 0);
		if (pthread_create(&arrivals[i].thread, &attributes,
				   wait_for_message, &arrivals[i]))
			fail("no thread %ld", i);
		nanosleep(&apart, NULL);
	}
	for (long i = 0; i < count; i++) {
		sem_wait(&arrivals[i].begins);
		await_blocked(getpid(), arrivals[i].tid);
	}
	say_and_wait("blocked", UNTIL_END);
	for (long i = 0; i < count; i++)
		if (call_send(&queue, body, sizeof(body), 1, NULL))
			fail("send %ld failed", i);
	for (long i = 0; i < count; i++)
		pthread_join(arrivals[i].thread, NULL);
	queue_destroy(&queue);
	return 0;
}
