// SPDX-License-Identifier: Apache-2.0
/*
 * Programs that pass work on. The truth says of each send which message it was
 * made for: that is what a trace should show, or leave open, but never get wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

#define BODY_SIZE 24
#define END 'E' /* body[8] of the last message to each reader */
#define WORKERS 3

static long total;

struct message {
	char body[QUEUE_MESSAGE_SIZE];
};

static bool is_end(const struct message *message)
{
	return message->body[8] == END;
}

static void take(struct queue *queue, struct message *message)
{
	if (call_receive(queue, message->body, sizeof(message->body), NULL) < 0)
		fail("%s: %s", queue->name, strerror(errno));
}

/* Sends for the sake of message, or of nothing. */
static void give(struct queue *queue, char mark, const struct message *message)
{
	char body[BODY_SIZE] = { [8] = mark };

	send_cause = 0;
	if (message)
		memcpy(&send_cause, message->body, sizeof(send_cause));
	if (call_send(queue, body, sizeof(body), 1, NULL))
		fail("%s: %s", queue->name, strerror(errno));
	send_cause = 0;
}

static void make(struct queue *queues, int count)
{
	for (int i = 0; i < count; i++) {
		char suffix[16] = { '.', 's', (char)('a' + i) };

		queue_create(&queues[i], suffix, O_RDWR);
		queues[i].depth = -1;
	}
}

static void unmake(struct queue *queues, int count)
{
	for (int i = 0; i < count; i++)
		queue_destroy(&queues[i]);
}

/* In a process of its own, whose truth is written at its end. */
#define PROCESS(body)                                \
	do {                                         \
		pid_t child_ = start_process();      \
		if (child_ == 0) {                   \
			truth_keep();                \
			body;                        \
			truth_give();                \
			_exit(0);                    \
		}                                    \
		children[children_count++] = child_; \
	} while (0)

static pid_t children[16];
static int children_count;

static void wait_for_all(void)
{
	while (children_count)
		wait_for_process(children[--children_count]);
}

static void source(struct queue *to, int ends)
{
	for (long i = 0; i < total; i++)
		give(to, '.', NULL);
	while (ends--)
		give(to, END, NULL);
}

static void sink(struct queue *from, int ends)
{
	struct message message;

	while (ends) {
		take(from, &message);
		ends -= is_end(&message);
	}
}

static void stage(struct queue *from, struct queue *to, int ends)
{
	struct message message;

	while (ends) {
		take(from, &message);
		give(to, is_end(&message) ? END : '.', &message);
		ends -= is_end(&message);
	}
}

/* A to B to C to D. */
static void shape_pipeline(void)
{
	struct queue queues[3];

	make(queues, 3);
	PROCESS(stage(&queues[0], &queues[1], 1));
	PROCESS(stage(&queues[1], &queues[2], 1));
	PROCESS(sink(&queues[2], 1));
	PROCESS(source(&queues[0], 1));
	wait_for_all();
	unmake(queues, 3);
}

static void *worker(void *data)
{
	struct queue *queues = data;

	truth_keep();
	stage(&queues[0], &queues[1], 1);
	truth_give();
	return NULL;
}

static void workers(struct queue *queues)
{
	pthread_t threads[WORKERS];

	for (int i = 0; i < WORKERS; i++)
		if (pthread_create(&threads[i], NULL, worker, queues))
			fail("no thread");
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
}

/* Threads that take from one queue and put into another. */
static void shape_pool(void)
{
	struct queue queues[2];

	make(queues, 2);
	PROCESS(workers(queues));
	PROCESS(sink(&queues[1], WORKERS));
	PROCESS(source(&queues[0], WORKERS));
	wait_for_all();
	unmake(queues, 2);
}

static void spread(struct queue *from, struct queue *to, int count)
{
	struct message message;

	do {
		take(from, &message);
		for (int i = 0; i < count; i++)
			give(&to[i], is_end(&message) ? END : '.', &message);
	} while (!is_end(&message));
}

/* One message becomes three. */
static void shape_fanout(void)
{
	struct queue queues[4];

	make(queues, 4);
	PROCESS(spread(&queues[0], &queues[1], 3));
	for (int i = 1; i < 4; i++)
		PROCESS(sink(&queues[i], 1));
	PROCESS(source(&queues[0], 1));
	wait_for_all();
	unmake(queues, 4);
}

/* Three sources, one that passes on. */
static void shape_fanin(void)
{
	struct queue queues[2];

	make(queues, 2);
	PROCESS(stage(&queues[0], &queues[1], 3));
	PROCESS(sink(&queues[1], 3));
	for (int i = 0; i < 3; i++)
		PROCESS(source(&queues[0], 1));
	wait_for_all();
	unmake(queues, 2);
}

static void ask(struct queue *requests, struct queue *replies)
{
	struct message message;

	for (long i = 0; i < total; i++) {
		give(requests, '.', NULL);
		take(replies, &message);
	}
	give(requests, END, NULL);
}

static void answer(struct queue *requests, struct queue *replies)
{
	struct message message;

	for (;;) {
		take(requests, &message);
		if (is_end(&message))
			return;
		give(replies, '.', &message);
	}
}

/* The next request is not for the sake of the last reply. */
static void shape_request(void)
{
	struct queue queues[2];

	make(queues, 2);
	PROCESS(answer(&queues[0], &queues[1]));
	PROCESS(ask(&queues[0], &queues[1]));
	wait_for_all();
	unmake(queues, 2);
}

/* Asks somebody else, and has to think before it answers. */
static void answer_late(struct queue *requests, struct queue *replies,
			struct queue *asks, struct queue *answers)
{
	const struct timespec thought = { 0, 100000 };
	struct message message;

	for (;;) {
		take(requests, &message);
		if (is_end(&message))
			break;
		nanosleep(&thought, NULL);
		if (asks) {
			give(asks, '.', &message);
			take(answers, &message);
			nanosleep(&thought, NULL);
		}
		give(replies, '.', &message);
	}
	if (asks)
		give(asks, END, &message);
}

/*
 * As before, but those that answer have waited for something else, so that their
 * answers begin traces. The next request is not for the sake of the last reply
 * there either.
 */
static void shape_late(void)
{
	struct queue queues[4];

	make(queues, 4);
	PROCESS(answer_late(&queues[2], &queues[3], NULL, NULL));
	PROCESS(answer_late(&queues[0], &queues[1], &queues[2], &queues[3]));
	PROCESS(ask(&queues[0], &queues[1]));
	wait_for_all();
	unmake(queues, 4);
}

static void bounce(struct queue *from, struct queue *to, bool begins)
{
	struct message message;

	if (begins)
		give(to, '.', NULL);
	for (long i = 0; i < total; i++) {
		take(from, &message);
		if (!begins || i + 1 < total)
			give(to, '.', &message);
	}
}

/* One ball between two processes. */
static void shape_pingpong(void)
{
	struct queue queues[2];

	make(queues, 2);
	PROCESS(bounce(&queues[0], &queues[1], false));
	PROCESS(bounce(&queues[1], &queues[0], true));
	wait_for_all();
	unmake(queues, 2);
}

static void gather(struct queue *from, struct queue *to)
{
	struct message message;
	long taken = 0;

	do {
		take(from, &message);
		if (++taken % 4 == 0 || is_end(&message))
			give(to, is_end(&message) ? END : '.', &message);
	} while (!is_end(&message));
}

/* Four messages become one, for the sake of the last. */
static void shape_batch(void)
{
	struct queue queues[2];

	make(queues, 2);
	PROCESS(gather(&queues[0], &queues[1]));
	PROCESS(sink(&queues[1], 1));
	PROCESS(source(&queues[0], 1));
	wait_for_all();
	unmake(queues, 2);
}

static void combine(struct queue *first, struct queue *second, struct queue *to)
{
	struct message message;

	do {
		take(first, &message);
		take(second, &message);
		give(to, is_end(&message) ? END : '.', &message);
	} while (!is_end(&message));
}

/* A message of each of two queues becomes one, for the sake of the second. */
static void shape_combine(void)
{
	struct queue queues[3];

	make(queues, 3);
	PROCESS(combine(&queues[0], &queues[1], &queues[2]));
	PROCESS(sink(&queues[2], 1));
	PROCESS(source(&queues[0], 1));
	PROCESS(source(&queues[1], 1));
	wait_for_all();
	unmake(queues, 3);
}

static int timer_every(long ns)
{
	struct itimerspec when = { { 0, ns }, { 0, ns } };
	int timer = timerfd_create(CLOCK_MONOTONIC, 0);

	if (timer < 0 || timerfd_settime(timer, 0, &when, NULL))
		fail("timerfd: %s", strerror(errno));
	return timer;
}

/* Passes on what one queue has, swallows the other's, and sends by a timer. */
static void loop(struct queue *passed, struct queue *swallowed,
		 struct queue *to)
{
	struct pollfd ready[3] = {
		{ .fd = passed->mqdes, .events = POLLIN },
		{ .fd = swallowed->mqdes, .events = POLLIN },
		{ .fd = timer_every(100000), .events = POLLIN },
	};
	struct message message;
	unsigned long long ticks;
	int ends = 2;

	while (ends) {
		if (poll(ready, 3, -1) < 0)
			fail("poll: %s", strerror(errno));
		if (ready[0].revents) {
			take(passed, &message);
			ends -= is_end(&message);
			if (!is_end(&message))
				give(to, '.', &message);
		} else if (ready[1].revents) {
			take(swallowed, &message);
			ends -= is_end(&message);
		}
		if (ready[2].revents &&
		    read(ready[2].fd, &ticks, sizeof(ticks)) > 0)
			give(to, 't', NULL);
	}
	give(to, END, &message);
}

static void shape_loop(void)
{
	struct queue queues[3];

	make(queues, 3);
	PROCESS(loop(&queues[0], &queues[1], &queues[2]));
	PROCESS(sink(&queues[2], 1));
	PROCESS(source(&queues[0], 1));
	PROCESS(source(&queues[1], 1));
	wait_for_all();
	unmake(queues, 3);
}

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct message message;
	bool is_full;
	struct queue *to;
} hand = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

static void *hand_out(void *unused)
{
	struct message message;

	(void)unused;
	truth_keep();
	do {
		pthread_mutex_lock(&hand.mutex);
		while (!hand.is_full)
			pthread_cond_wait(&hand.changed, &hand.mutex);
		message = hand.message;
		hand.is_full = false;
		pthread_cond_signal(&hand.changed);
		pthread_mutex_unlock(&hand.mutex);
		give(hand.to, is_end(&message) ? END : '.', &message);
	} while (!is_end(&message));
	truth_give();
	return NULL;
}

static void hand_over(struct queue *from, struct queue *to)
{
	struct message message;
	pthread_t other;

	hand.to = to;
	if (pthread_create(&other, NULL, hand_out, NULL))
		fail("no thread");
	do {
		take(from, &message);
		pthread_mutex_lock(&hand.mutex);
		while (hand.is_full)
			pthread_cond_wait(&hand.changed, &hand.mutex);
		hand.message = message;
		hand.is_full = true;
		pthread_cond_signal(&hand.changed);
		pthread_mutex_unlock(&hand.mutex);
	} while (!is_end(&message));
	pthread_join(other, NULL);
}

/* One thread takes, another gives. */
static void shape_handover(void)
{
	struct queue queues[2];

	make(queues, 2);
	PROCESS(hand_over(&queues[0], &queues[1]));
	PROCESS(sink(&queues[1], 1));
	PROCESS(source(&queues[0], 1));
	wait_for_all();
	unmake(queues, 2);
}

static void chatter(int socket, long count)
{
	char byte = 'c';

	while (count-- > 0)
		if (write(socket, &byte, 1) != 1)
			return;
}

static long slept(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage))
		fail("getrusage: %s", strerror(errno));
	return usage.ru_nvcsw;
}

/* A timer can be over before the thread sleeps, above all on a slow machine. */
static void nap(void)
{
	struct timespec time = { .tv_nsec = 1000 };
	long before = slept();

	do {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
	} while (slept() == before);
}

/* Takes messages, and sends only for what comes from elsewhere. */
static void mixed(struct queue *from, struct queue *to)
{
	int sockets[2];
	struct message message;
	pid_t writer;
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
		fail("socketpair: %s", strerror(errno));
	writer = start_process();
	if (writer == 0) {
		chatter(sockets[1], total);
		_exit(0);
	}
	for (;;) {
		take(from, &message);
		if (is_end(&message))
			break;
		nap();
		give(to, 'n', NULL);
		if (read(sockets[0], &byte, 1) != 1)
			fail("read: %s", strerror(errno));
		give(to, 's', NULL);
	}
	give(to, END, &message);
	close(sockets[0]);
	wait_for_process(writer);
}

/* A thread that also waits for a socket and a timer. */
static void shape_mixed(void)
{
	struct queue queues[2];

	make(queues, 2);
	PROCESS(mixed(&queues[0], &queues[1]));
	PROCESS(sink(&queues[1], 1));
	PROCESS(source(&queues[0], 1));
	wait_for_all();
	unmake(queues, 2);
}

/* Between two messages it sleeps or reads, in turn. */
static void doze(struct queue *from)
{
	int zeros = open("/dev/zero", O_RDONLY);
	struct message message;
	bool sleeps = false;
	char byte;

	for (;;) {
		take(from, &message);
		if (is_end(&message))
			break;
		sleeps = !sleeps;
		if (sleeps)
			nap();
		else if (read(zeros, &byte, 1) != 1)
			fail("/dev/zero: %s", strerror(errno));
	}
	close(zeros);
}

/* A thread that never goes from one message to the next without a pause. */
static void shape_doze(void)
{
	struct queue queues[1];

	make(queues, 1);
	PROCESS(doze(&queues[0]));
	PROCESS(source(&queues[0], 1));
	wait_for_all();
	unmake(queues, 1);
}

static const struct {
	const char *name;
	void (*run)(void);
} shapes[] = {
	{ "pipeline", shape_pipeline }, { "pool", shape_pool },
	{ "fanout", shape_fanout },	{ "fanin", shape_fanin },
	{ "request", shape_request },	{ "pingpong", shape_pingpong },
	{ "late", shape_late },		{ "batch", shape_batch },
	{ "combine", shape_combine },	{ "loop", shape_loop },
	{ "handover", shape_handover }, { "mixed", shape_mixed },
	{ "doze", shape_doze },
};

/* shape NAME [N]: N messages through one of the shapes above. */
int scenario_shape(int argc, char **argv)
{
	total = argument_count(argc, argv, 1, 500);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		if (argc < 1 || strcmp(argv[0], shapes[i].name) != 0)
			continue;
		shapes[i].run();
		return 0;
	}
	fail("usage: mqwork shape NAME [N]");
}
