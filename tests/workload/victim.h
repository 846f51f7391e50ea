/* SPDX-License-Identifier: Apache-2.0 */
/* A caller that ends in its call, and of which another has to tell. */
#ifndef VICTIM_H
#define VICTIM_H

#include <semaphore.h>

#include "call.h"

/* What a thread or process that will never tell it has begun to do, in shared memory. */
struct victim {
	struct queue queue;
	struct call call;
	sem_t begins;
};

struct victim *victim_new(const struct queue *queue);

/* A thread's body: a receive that never returns. */
void *victim_waits(void *victim);

/* The truth of the call, once it has ended with its caller. */
void victim_print(struct victim *victim, const char *error_name);

#endif
