/* SPDX-License-Identifier: Apache-2.0 */
/* What the two programs of the demo share. */
#ifndef DEMO_H
#define DEMO_H

#include <time.h>

#define ORDERS "/orders"
#define ACKS "/acks"
#define MESSAGE_SIZE 64

enum priority { STANDARD = 1, EXPRESS = 9, CLOSING = 31 };

static inline struct timespec from_now_ms(long ms)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_nsec += ms % 1000 * 1000000;
	at.tv_sec += ms / 1000 + at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	return at;
}

static inline void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

#endif
