// SPDX-License-Identifier: Apache-2.0
/* The descriptor is closed, or the queue unlinked, while a receive waits. */
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

struct waiter {
	struct queue queue;
	sem_t begins;
	pid_t tid;
};

static void *wait_for_message(void *argument)
{
	struct waiter *waiter = argument;
	char body[QUEUE_MESSAGE_SIZE];

	waiter->tid = thread_id();
	sem_post(&waiter->begins);
	if (call_receive(&waiter->queue, body, sizeof(body), NULL) < 0)
		fail("the receive failed");
	return NULL;
}

static pthread_t start_waiter(struct waiter *waiter)
{
	pthread_t thread;

	sem_init(&waiter->begins, 0, 0);
	if (pthread_create(&thread, NULL, wait_for_message, waiter))
		fail("no thread");
	sem_wait(&waiter->begins);
	await_blocked(getpid(), waiter->tid);
	return thread;
}

int scenario_closed(int argc, char **argv)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'c' };
	struct waiter waiter;
	struct queue queue, second;
	pthread_t thread;

	(void)argc, (void)argv;
	queue_create(&queue, ".closed", O_RDWR);
	if (call_open(&second, queue.name, O_RDWR, 0, NULL) < 0)
		fail("the queue does not open a second time");
	second.depth = queue.depth = -1;

	queue_share(&waiter.queue, &second);
	thread = start_waiter(&waiter);
	queue_close(&second);
	if (call_send(&queue, body, 21, 1, NULL))
		fail("the send failed");
	pthread_join(thread, NULL);

	queue_share(&waiter.queue, &queue);
	thread = start_waiter(&waiter);
	call_unlink(queue.name);
	queue.unlinked = waiter.queue.unlinked = true;
	if (call_send(&queue, body, 22, 2, NULL))
		fail("the send failed");
	pthread_join(thread, NULL);
	queue_close(&queue);
	return 0;
}
