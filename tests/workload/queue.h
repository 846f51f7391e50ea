/* SPDX-License-Identifier: Apache-2.0 */
/* What this program knows about a queue that it has open. */
#ifndef MQWORK_QUEUE_H
#define MQWORK_QUEUE_H

#include <mqueue.h>
#include <stdbool.h>

#define QUEUE_NAME_SIZE 320
#define QUEUE_MAX_MESSAGES 8
#define QUEUE_MESSAGE_SIZE 128

struct queue {
	char name[QUEUE_NAME_SIZE]; /* with its leading slash */
	int mqdes;
	bool known; /* the descriptor is a queue's */
	long max_messages, max_message_size;
	bool nonblocking;
	bool unlinked;
	long depth; /* -1: other threads change it too */
	/* Priorities and identities of the queued messages, oldest first, while depth is known. */
	struct {
		unsigned int priority;
		unsigned long long message;
		bool message_known;
	} messages[64];
};

/* Writes the prefix and the suffix into name. */
void queue_name(char name[QUEUE_NAME_SIZE], const char *suffix);

/* Creates a queue of QUEUE_MAX_MESSAGES times QUEUE_MESSAGE_SIZE; exits on failure. */
void queue_create(struct queue *queue, const char *suffix, int oflag);
/* A second descriptor of the same queue, for another thread or process. */
void queue_share(struct queue *copy, const struct queue *queue);
void queue_close(struct queue *queue);
/* Closes and unlinks. */
void queue_destroy(struct queue *queue);

/*
 * Bookkeeping of queued messages. queue_next() is the index of the message that
 * comes out next, or -1.
 */
void queue_pushed(struct queue *queue, unsigned int priority,
		  bool message_known, unsigned long long message);
int queue_next(const struct queue *queue);
void queue_popped(struct queue *queue);

#endif
