/* SPDX-License-Identifier: Apache-2.0 */
/* Calls by their numbers, with arguments that glibc would not pass on. */
#ifndef MQWORK_RAW_H
#define MQWORK_RAW_H

#include <stdint.h>

#include "call.h"

/* The 64-bit layout of struct timespec, which the time64 calls of 32-bit ABIs take. */
struct timespec64 {
	int64_t tv_sec, tv_nsec;
};

#if defined(__i386__) || defined(__arm__)
#define NR_MQ_TIMEDSEND_TIME64 418
#define NR_MQ_TIMEDRECEIVE_TIME64 419
#endif

/*
 * A transfer by number, with its line of truth. body, priority and timeout go
 * to the kernel as they are, mapped or not. timeout_value is what can be read
 * at timeout, or NULL. The result tells whether a message was pushed or popped.
 * message_lost: the kernel takes the message off the queue, then fails.
 */
struct raw_transfer {
	const void *body;
	size_t body_size;
	/* The value for a send, the pointer for a receive. */
	uintptr_t priority;
	const void *timeout;
	const struct timespec64 *timeout_value;
	bool message_lost;
};

long raw_send(struct queue *queue, const struct raw_transfer *transfer);
long raw_receive(struct queue *queue, const struct raw_transfer *transfer);
#if defined(NR_MQ_TIMEDSEND_TIME64)
long raw_send_time64(struct queue *queue, const struct raw_transfer *transfer);
long raw_receive_time64(struct queue *queue,
			const struct raw_transfer *transfer);
#endif

/*
 * A page that begins with these bytes. They are in a file and in no page table
 * yet: the kernel's own read brings them in. Writes to the page do not reach
 * the file.
 */
void *page_not_present(const void *bytes, size_t size);

/*
 * mq_open by number. name is in the kernel's form, without the slash; known is
 * what can be read there, or NULL.
 */
long raw_open(struct queue *queue, const void *name, const char *known,
	      int oflag);
long raw_unlink(const void *name, const char *known);

#endif
