// SPDX-License-Identifier: Apache-2.0
#include "queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

void queue_name(char name[QUEUE_NAME_SIZE], const char *suffix)
{
	snprintf(name, QUEUE_NAME_SIZE, "%s%s", option_prefix, suffix);
}

void queue_create(struct queue *queue, const char *suffix, int oflag)
{
	struct mq_attr attr = {
		.mq_maxmsg = QUEUE_MAX_MESSAGES,
		.mq_msgsize = QUEUE_MESSAGE_SIZE,
	};
	char name[QUEUE_NAME_SIZE];
	long ret;

	queue_name(name, suffix);
	ret = call_open(queue, name, oflag | O_CREAT | O_EXCL, 0600, &attr);
	if (ret < 0)
		fail("mq_open %s: %s", name, strerror((int)-ret));
}

void queue_share(struct queue *copy, const struct queue *queue)
{
	*copy = *queue;
	copy->depth = -1;
}

void queue_close(struct queue *queue)
{
	close(queue->mqdes);
}

void queue_destroy(struct queue *queue)
{
	queue_close(queue);
	call_unlink(queue->name);
}

void queue_pushed(struct queue *queue, unsigned int priority,
		  bool message_known, unsigned long long message)
{
	if (queue->depth < 0)
		return;
	queue->messages[queue->depth].priority = priority;
	queue->messages[queue->depth].message_known = message_known;
	queue->messages[queue->depth].message = message;
	queue->depth++;
}

int queue_next(const struct queue *queue)
{
	int next = -1;

	for (int i = 0; i < queue->depth; i++)
		if (next < 0 || queue->messages[i].priority >
					queue->messages[next].priority)
			next = i;
	return next;
}

void queue_popped(struct queue *queue)
{
	int next = queue_next(queue);

	if (next < 0)
		return;
	queue->depth--;
	memmove(&queue->messages[next], &queue->messages[next + 1],
		(size_t)(queue->depth - next) * sizeof(queue->messages[0]));
}
