/* SPDX-License-Identifier: Apache-2.0 */
/* A caller that dies in its call, so that another one has to print the call. */
#ifndef VICTIM_H
#define VICTIM_H

#include <semaphore.h>

#include "call.h"

/* In shared memory: the call of a thread or process that will not live to print it. */
struct victim {
	struct queue queue;
	struct call call;
	sem_t begins;
};

struct victim *victim_new(const struct queue *queue);

/* A thread's body: a receive that never returns. */
void *victim_waits(void *victim);

/* Prints the call, once it has ended with its caller. */
void victim_print(struct victim *victim, const char *error_name);

#endif
