// SPDX-License-Identifier: Apache-2.0
/* Many senders and many receivers: which message is whose? */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

#define PRODUCERS 3
#define BODY_SIZE 24
#define STOP_SIZE 16 /* shorter than any other message */

static void produce(struct queue queues[2], long count, unsigned int seed)
{
	char body[BODY_SIZE] = { 'x' };

	for (long i = 0; i < count; i++) {
		seed = seed * 1103515245 + 12345;
		if (call_send(&queues[i & 1], body, sizeof(body),
			      1 + (seed >> 16) % 31, NULL))
			fail("send %ld: %s", i, strerror(errno));
	}
}

static void consume(struct queue *queue)
{
	char body[QUEUE_MESSAGE_SIZE];
	long size;

	do {
		size = call_receive(queue, body, sizeof(body), NULL);
		if (size < 0)
			fail("receive: %s", strerror(errno));
	} while (size != STOP_SIZE);
}

/*
 * Sends System V messages until their queue is gone. They have the same size as
 * the others and lie in the same kernel memory, but are not POSIX messages.
 */
static void make_noise(int noise)
{
	struct {
		long type;
		char body[BODY_SIZE];
	} message = { .type = 1, .body = { 'n' } };

	while (msgsnd(noise, &message, sizeof(message.body), 0) == 0 &&
	       msgrcv(noise, &message, sizeof(message.body), 0, 0) >= 0)
		sched_yield();
	if (errno != EIDRM && errno != EINVAL)
		fail("System V queue: %s", strerror(errno));
}

/* Runs the consumer as another program, which may be of another ABI. */
static _Noreturn void execute_consumer(const char *program, const char *suffix)
{
	execl(program, program, "--truth", truth_path, "--prefix",
	      option_prefix, "consume", suffix, (char *)NULL);
	fail("%s: %s", program, strerror(errno));
}

/* consume SUFFIX: the consumer that exchange runs as another program. */
int scenario_consume(int argc, char **argv)
{
	char name[QUEUE_NAME_SIZE];
	struct queue queue;

	if (argc != 1)
		fail("usage: mqwork consume SUFFIX");
	queue_name(name, argv[0]);
	if (call_open(&queue, name, O_RDWR, 0, NULL) < 0)
		fail("mq_open %s: %s", name, strerror(errno));
	queue.depth = -1;
	consume(&queue);
	return 0;
}

/*
 * exchange N [PROGRAM]: three producers send N messages each, of any priority,
 * to two queues with one consumer each. With PROGRAM, the consumers are its
 * scenario consume. Meanwhile a System V queue is busy.
 */
int scenario_exchange(int argc, char **argv)
{
	static const char *const suffixes[2] = { ".left", ".right" };
	long count = argument_count(argc, argv, 0, 1000);
	char stop[STOP_SIZE] = { 0 };
	struct queue queues[2];
	pid_t producers[PRODUCERS], consumers[2], noisy;
	int noise = msgget(IPC_PRIVATE, 0600);

	if (noise < 0)
		fail("msgget: %s", strerror(errno));
	noisy = start_process();
	if (noisy == 0) {
		make_noise(noise);
		_exit(0);
	}

	for (int i = 0; i < 2; i++) {
		queue_create(&queues[i], suffixes[i], O_RDWR);
		queues[i].depth = -1;
	}
	for (int i = 0; i < 2; i++) {
		consumers[i] = start_process();
		if (consumers[i] == 0) {
			if (argc > 1)
				execute_consumer(argv[1], suffixes[i]);
			consume(&queues[i]);
			_exit(0);
		}
	}
	for (int i = 0; i < PRODUCERS; i++) {
		producers[i] = start_process();
		if (producers[i] == 0) {
			produce(queues, count, (unsigned int)i + 1);
			_exit(0);
		}
	}
	for (int i = 0; i < PRODUCERS; i++)
		wait_for_process(producers[i]);
	/* The lowest priority: these come out last. */
	for (int i = 0; i < 2; i++)
		if (call_send(&queues[i], stop, sizeof(stop), 0, NULL))
			fail("stop: %s", strerror(errno));
	for (int i = 0; i < 2; i++)
		wait_for_process(consumers[i]);
	msgctl(noise, IPC_RMID, NULL);
	wait_for_process(noisy);
	queue_destroy(&queues[0]);
	queue_destroy(&queues[1]);
	return 0;
}
