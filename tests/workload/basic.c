// SPDX-License-Identifier: Apache-2.0
/* Every call in one thread, with its successes and its common failures. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

static void expect(long ret, long expected, const char *what)
{
	if (ret != expected)
		fail("%s returned %ld, not %ld", what, ret, expected);
}

static struct timespec from_now(int64_t ns)
{
	int64_t at = realtime_ns() + ns;

	return (struct timespec){
		.tv_sec = (time_t)(at / 1000000000),
		.tv_nsec = (long)(at % 1000000000),
	};
}

static void priorities(struct queue *queue)
{
	static const unsigned int sent[] = { 0, 1, 31, 32767, 1 };
	char body[QUEUE_MESSAGE_SIZE];

	memset(body, 'p', sizeof(body));
	for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++)
		expect(call_send(queue, body, 16 + i, sent[i], NULL), 0,
		       "send");
	expect(call_getsetattr(queue, NULL), 0, "getattr");
	while (queue->depth > 0)
		if (call_receive(queue, body, sizeof(body), NULL) < 16)
			fail("a receive failed");
	expect(call_send(queue, body, 0, 3, NULL), 0, "send of nothing");
	expect(call_receive(queue, body, sizeof(body), NULL), 0,
	       "receive of nothing");
	expect(call_send(queue, body, 8, 32768, NULL), -EINVAL,
	       "send above the priorities");
}

static void timeouts(struct queue *queue)
{
	struct timespec past = { .tv_sec = 1, .tv_nsec = 999999999 };
	struct timespec soon = from_now(50 * 1000000);
	struct timespec later = from_now(60 * INT64_C(1000000000));
	struct timespec nsec_too_big = { .tv_sec = later.tv_sec,
					 .tv_nsec = 1000000000 };
	struct timespec nsec_negative = { .tv_sec = later.tv_sec,
					  .tv_nsec = -1 };
	struct timespec negative = { .tv_sec = -5, .tv_nsec = 1 };
	char body[QUEUE_MESSAGE_SIZE] = { 't' };
	size_t size = sizeof(body);

	expect(call_receive(queue, body, size, &past), -ETIMEDOUT,
	       "receive in the past");
	expect(call_receive(queue, body, size, &soon), -ETIMEDOUT,
	       "receive, 50 ms");
	expect(call_receive(queue, body, size, &nsec_too_big), -EINVAL,
	       "receive, bad nsec");
	expect(call_receive(queue, body, size, &nsec_negative), -EINVAL,
	       "receive, nsec -1");
	expect(call_receive(queue, body, size, &negative), -EINVAL,
	       "receive, negative");
	expect(call_send(queue, body, 9, 2, &later), 0, "send with a timeout");
	expect(call_receive(queue, body, size, &later), 9,
	       "receive with a timeout");
	while (queue->depth < queue->max_messages)
		expect(call_send(queue, body, 10, 0, NULL), 0, "send");
	soon = from_now(20 * 1000000);
	expect(call_send(queue, body, 10, 7, &past), -ETIMEDOUT,
	       "send in the past");
	expect(call_send(queue, body, 10, 7, &soon), -ETIMEDOUT, "send, 20 ms");
	expect(call_send(queue, body, 10, 7, &nsec_too_big), -EINVAL,
	       "send, bad nsec");
	while (queue->depth > 0)
		expect(call_receive(queue, body, size, NULL), 10, "receive");
}

static void refusals(struct queue *queue)
{
	struct queue none = { .mqdes = 1000 },
		     file = { .mqdes = open("/dev/null", O_RDWR) };
	struct queue readonly, writeonly;
	char body[QUEUE_MESSAGE_SIZE + 1] = { 'r' };

	expect(call_receive(queue, body, QUEUE_MESSAGE_SIZE - 1, NULL),
	       -EMSGSIZE, "short buffer");
	expect(call_send(queue, body, sizeof(body), 0, NULL), -EMSGSIZE,
	       "send too big");
	expect(call_receive(&none, body, sizeof(body), NULL), -EBADF,
	       "receive, no file");
	expect(call_send(&none, body, 8, 1, NULL), -EBADF, "send, no file");
	expect(call_getsetattr(&none, NULL), -EBADF, "getattr, no file");
	expect(call_notify_none(&none), -EBADF, "notify, no file");
	expect(call_receive(&file, body, sizeof(body), NULL), -EBADF,
	       "receive, /dev/null");
	expect(call_send(&file, body, 8, 1, NULL), -EBADF, "send, /dev/null");
	expect(call_getsetattr(&file, NULL), -EBADF, "getattr, /dev/null");
	close(file.mqdes);

	if (call_open(&readonly, queue->name, O_RDONLY, 0, NULL) < 0 ||
	    call_open(&writeonly, queue->name, O_WRONLY, 0, NULL) < 0)
		fail("the queue does not open a second time");
	expect(call_send(&readonly, body, 8, 1, NULL), -EBADF,
	       "send, read only");
	expect(call_receive(&writeonly, body, sizeof(body), NULL), -EBADF,
	       "receive, write only");
	queue_close(&readonly);
	queue_close(&writeonly);
}

static void nonblocking(struct queue *queue)
{
	struct mq_attr attr = { .mq_flags = O_NONBLOCK };
	struct timespec soon = from_now(50 * 1000000);
	char body[QUEUE_MESSAGE_SIZE] = { 'n' };

	expect(call_getsetattr(queue, &attr), 0, "setattr");
	expect(call_receive(queue, body, sizeof(body), NULL), -EAGAIN,
	       "receive, empty");
	expect(call_receive(queue, body, sizeof(body), &soon), -EAGAIN,
	       "receive, empty, timeout");
	while (queue->depth < queue->max_messages)
		expect(call_send(queue, body, 11, 4, NULL), 0, "send");
	expect(call_send(queue, body, 11, 5, NULL), -EAGAIN, "send, full");
	while (queue->depth > 0)
		expect(call_receive(queue, body, sizeof(body), NULL), 11,
		       "receive");
	attr.mq_flags = 0;
	expect(call_getsetattr(queue, &attr), 0, "setattr");
	attr.mq_flags = O_APPEND;
	expect(call_getsetattr(queue, &attr), -EINVAL,
	       "setattr of another flag");
}

int scenario_basic(int argc, char **argv)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 32 };
	char name[QUEUE_NAME_SIZE];
	struct queue queue, other;

	(void)argc, (void)argv;
	queue_create(&queue, ".basic", O_RDWR);
	expect(call_open(&other, queue.name, O_RDWR | O_CREAT | O_EXCL, 0600,
			 &attr),
	       -EEXIST, "open, there already");
	queue_name(name, ".none");
	expect(call_open(&other, name, O_RDWR, 0, NULL), -ENOENT,
	       "open, not there");
	attr.mq_maxmsg = 0;
	expect(call_open(&other, name, O_RDWR | O_CREAT, 0600, &attr), -EINVAL,
	       "open, bad limits");
	queue_name(name, ".other");
	attr.mq_maxmsg = 4;
	umask(0);
	if (call_open(&other, name, O_WRONLY | O_CREAT | O_EXCL | O_NONBLOCK,
		      0640, &attr) < 0)
		fail("the second queue does not open");
	queue_destroy(&other);

	priorities(&queue);
	timeouts(&queue);
	refusals(&queue);
	nonblocking(&queue);

	expect(call_notify(&queue, SIGEV_SIGNAL, SIGUSR2), 0, "notify");
	expect(call_notify(&queue, SIGEV_SIGNAL, SIGUSR2), -EBUSY,
	       "notify again");
	expect(call_notify_none(&queue), 0, "notify none");
	expect(call_notify(&queue, SIGEV_NONE, 0), 0, "notify SIGEV_NONE");
	expect(call_notify_none(&queue), 0, "notify none");
	queue_destroy(&queue);
	expect(call_unlink(queue.name), -ENOENT, "unlink, not there");
	return 0;
}

/*
 * waits MS: receives from an empty queue until one receive has taken MS
 * milliseconds. On a slow machine the timeout can be over before the receive
 * begins.
 */
int scenario_waits(int argc, char **argv)
{
	int64_t wanted_ns = argument_count(argc, argv, 0, 20) * 1000000;
	char body[QUEUE_MESSAGE_SIZE] = { 'w' };
	int64_t took_ns = 0;
	struct queue queue;

	queue_create(&queue, ".waits", O_RDWR);
	expect(call_send(&queue, body, 1, 0, NULL), 0, "send");
	expect(call_receive(&queue, body, sizeof(body), NULL), 1, "receive");
	for (int64_t wait_ns = wanted_ns; took_ns < wanted_ns; wait_ns *= 2) {
		struct timespec until = from_now(wait_ns);
		int64_t start_ns = realtime_ns();

		expect(call_receive(&queue, body, sizeof(body), &until),
		       -ETIMEDOUT, "receive from an empty queue");
		took_ns = realtime_ns() - start_ns;
	}
	queue_destroy(&queue);
	return 0;
}
