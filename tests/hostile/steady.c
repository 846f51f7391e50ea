// SPDX-License-Identifier: Apache-2.0
/*
 * steady [--truth FILE] [--prefix NAME] RATE: a well-behaved program. It makes
 * RATE calls a second, half of them sends and half receives. It prints "steady"
 * after the first two, and goes on until standard input ends. Its truth has the
 * format of mqwork's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

const char *option_prefix = "/steady";

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("steady: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static int64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Waits until at_ns; false if standard input has ended. */
static bool goes_on_at(int64_t at_ns)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	int64_t left_ns = at_ns - monotonic_ns();
	struct timespec left = { 0 };

	if (left_ns > 0) {
		left.tv_sec = (time_t)(left_ns / 1000000000);
		left.tv_nsec = (long)(left_ns % 1000000000);
	}
	return ppoll(&input, 1, &left, NULL) == 0;
}

static void make_pair(struct queue *queue, long number)
{
	char body[QUEUE_MESSAGE_SIZE] = { 's' };

	if (call_send(queue, body, 8 + (size_t)(number % 64),
		      (unsigned int)number % 32, NULL) ||
	    call_receive(queue, body, sizeof(body), NULL) < 0)
		fail("pair %ld failed", number);
}

int main(int argc, char **argv)
{
	int64_t next_ns = monotonic_ns();
	struct queue queue;
	long rate = 0;
	int i = 1;

	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		if (strcmp(argv[i], "--truth") == 0)
			truth_open(argv[i + 1]);
		else if (strcmp(argv[i], "--prefix") == 0)
			option_prefix = argv[i + 1];
		else
			fail("unknown option %s", argv[i]);
	}
	if (i < argc)
		rate = atol(argv[i]);
	if (rate < 1) {
		fputs("usage: steady [--truth FILE] [--prefix /NAME] RATE\n",
		      stderr);
		return 2;
	}
	queue_create(&queue, ".steady", O_RDWR);
	for (long number = 0;; number++) {
		make_pair(&queue, number);
		if (number == 0 && write(STDOUT_FILENO, "steady\n", 7) != 7)
			fail("standard output: %s", strerror(errno));
		next_ns += 2 * 1000000000LL / rate;
		/* Does not catch up on what a busy machine delayed. */
		if (next_ns < monotonic_ns())
			next_ns = monotonic_ns();
		if (!goes_on_at(next_ns))
			break;
	}
	queue_destroy(&queue);
	return 0;
}
