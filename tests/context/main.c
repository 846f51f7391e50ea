// SPDX-License-Identifier: Apache-2.0
/*
 * ctx [--truth FILE] [--prefix NAME] [--library FILE] [--fault NAME] [--later]
 * SCENARIO [COUNT]: a program whose threads publish the span that they work
 * for. It makes a call for such a span, prints "ready", and again with each
 * line of standard input, so that one can see when the agent has found out.
 * At the end of the input it goes on with the scenario.
 *
 *   spans      many calls for one span after the other, and for none
 *   threads    the same in several threads at once
 *   pass       a child without spans of its own passes messages on
 *   exec       executes itself: the next program publishes no process context
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "context.h"
#include "mqwork.h"

#define SAMPLED 1
#define THREADS 4

const char *option_prefix = "/ctx";
static const char *option_library, *option_fault = "", *option_truth;
static bool option_later;
static attach_function *attach;

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("ctx: ", stderr);
	vfprintf(stderr, format, args);
	fprintf(stderr, " (%s)\n", strerror(errno));
	va_end(args);
	exit(1);
}

/* What the thread publishes, and the same as a traceparent. */
static _Thread_local struct record record;
static _Thread_local char traceparent[64];

/* Ids that nobody else has. */
static void ids_fill(struct record *to)
{
	static uint64_t count;
	uint64_t number = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) |
			  (uint64_t)getpid() << 32;

	memset(to, 0, sizeof(*to));
	memcpy(to->trace_id, &number, 8);
	memcpy(to->trace_id + 8, "\xaa\xbb\xcc\xdd\xee\xff\x01\x02", 8);
	memcpy(to->span_id, &number, 8);
	to->span_id[7] = 0x55;
}

/* The next calls are made for a new span. */
static void work_begin(uint8_t flags)
{
	char *at = traceparent;

	attach(NULL);
	ids_fill(&record);
	record.flags = flags;
	record.valid = 1;
	at += sprintf(at, "00-");
	for (int i = 0; i < 16; i++)
		at += sprintf(at, "%02x", record.trace_id[i]);
	*at++ = '-';
	for (int i = 0; i < 8; i++)
		at += sprintf(at, "%02x", record.span_id[i]);
	sprintf(at, "-%02x", flags);
	thread_traceparent = traceparent;
	attach(&record);
}

/* The next calls are nobody's work. */
static void work_end(void)
{
	thread_traceparent = NULL;
	attach(NULL);
}

/* Nor are these: each record is wrong in one way. */
static void work_wrong(int way)
{
	work_begin(SAMPLED);
	thread_traceparent = NULL;
	switch (way) {
	case 0:
		record.valid = 0;
		break;
	case 1:
		record.valid = 2;
		break;
	case 2:
		memset(record.trace_id, 0, sizeof(record.trace_id));
		break;
	case 3:
		memset(record.span_id, 0, sizeof(record.span_id));
		break;
	case 4:
		attach((struct record *)8);
		break;
	case 5: /* a kernel address, or one at the end */
		attach((struct record *)((uintptr_t)-1 << 12));
		break;
	case 6:
		attach((struct record *)-1);
		break;
	}
}
#define WRONG_WAYS 7

static void pair_of_calls(struct queue *queue)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'c' };

	call_send(queue, body, sizeof(body), 1, NULL);
	call_receive(queue, body, sizeof(body), NULL);
}

static void spans(struct queue *queue, long count)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'c' };
	struct queue other;
	char name[QUEUE_NAME_SIZE];

	for (long i = 0; i < count; i++) {
		/* One span sends, another one receives. */
		work_begin(SAMPLED);
		call_send(queue, body, sizeof(body), 1, NULL);
		work_begin(SAMPLED | 2);
		call_receive(queue, body, sizeof(body), NULL);
		/* Nobody receives what a span has sent, and the other way round. */
		work_begin(SAMPLED);
		call_send(queue, body, sizeof(body), 1, NULL);
		work_end();
		call_receive(queue, body, sizeof(body), NULL);
		call_send(queue, body, sizeof(body), 1, NULL);
		work_begin(SAMPLED);
		call_receive(queue, body, sizeof(body), NULL);
		call_getsetattr(queue, NULL);
		work_end();
		call_send(queue, body, sizeof(body), 1, NULL);
		call_receive(queue, body, sizeof(body), NULL);
		work_begin(0);
		pair_of_calls(queue);
		call_getsetattr(queue, NULL);
		work_wrong((int)(i % WRONG_WAYS));
		pair_of_calls(queue);
		work_end();
	}
	queue_name(name, ".span");
	work_begin(SAMPLED);
	call_open(&other, name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
	call_unlink(name);
	work_end();
	mq_close(other.mqdes);
}

struct work {
	pthread_t thread;
	int number;
	long count;
};

static void *work(void *argument)
{
	struct work *work = argument;
	struct queue queue;
	char suffix[16];

	snprintf(suffix, sizeof(suffix), ".%d", work->number);
	/* Its variable has not been touched yet. */
	queue_create(&queue, suffix, O_RDWR);
	for (long i = 0; i < work->count; i++) {
		work_begin(SAMPLED);
		pair_of_calls(&queue);
		work_end();
		pair_of_calls(&queue);
	}
	queue_destroy(&queue);
	return NULL;
}

static void threads(long count)
{
	struct work works[THREADS];

	for (int i = 0; i < THREADS; i++) {
		works[i] = (struct work){ .number = i, .count = count };
		if (pthread_create(&works[i].thread, NULL, work, &works[i]))
			fail("pthread_create");
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(works[i].thread, NULL);
}

/* Sends for a span; a child passes on to a second one what it gets. */
static void pass(long count)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'c' };
	struct queue first, second;
	pid_t child;

	queue_create(&first, ".first", O_RDWR);
	queue_create(&second, ".second", O_RDWR);
	first.depth = -1;
	second.depth = -1;
	work_end();
	child = start_process();
	if (!child) {
		for (long i = 0; i < count; i++) {
			call_receive(&first, body, sizeof(body), NULL);
			call_send(&second, body, sizeof(body), 1, NULL);
		}
		exit(0);
	}
	for (long i = 0; i < count; i++) {
		if (i % 2)
			work_begin(SAMPLED);
		call_send(&first, body, sizeof(body), 1, NULL);
		work_end();
		call_receive(&second, body, sizeof(body), NULL);
	}
	wait_for_process(child);
	queue_destroy(&first);
	queue_destroy(&second);
}

/* Another thread changes a record all the time. */
static struct record shared;

static void *flip(void *unused)
{
	(void)unused;
	for (;;) {
		__atomic_store_n(&shared.valid, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&shared.valid, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void torn(struct queue *queue, long count)
{
	pthread_t thread;

	ids_fill(&shared);
	shared.flags = SAMPLED;
	pthread_create(&thread, NULL, flip, NULL);
	attach(&shared);
	for (long i = 0; i < count; i++)
		pair_of_calls(queue);
	attach(NULL);
}

static void fault(struct published *published)
{
	if (!strcmp(option_fault, "huge"))
		published->payload_size = UINT32_MAX;
	else if (!strcmp(option_fault, "cut"))
		published->payload_size -= 5;
	else if (!strcmp(option_fault, "nowhere"))
		published->payload = (void *)4096;
	else if (!strcmp(option_fault, "version"))
		published->version = 3;
	else if (!strcmp(option_fault, "changing"))
		published->published_at_ns = 0;
	else if (!strcmp(option_fault, "garbage"))
		memset(published->payload, 0xff, published->payload_size);
}

static void start(void)
{
	const char *schema =
		strcmp(option_fault, "schema") ? "tls_v1" : "go_pprof_v1";

#ifdef LINKED
	attach = context_attach;
#else
	void *library;

	if (!option_library)
		fail("this one takes --library");
	library = dlopen(option_library, RTLD_NOW);
	if (library)
		attach = (attach_function *)dlsym(library, "context_attach");
	if (!library || !attach)
		fail("%s", dlerror());
#endif
	fault(context_publish("sdk-service", schema));
}

static void ready(struct queue *queue)
{
	char byte;

	do {
		work_begin(SAMPLED);
		call_getsetattr(queue, NULL);
		work_end();
		if (printf("ready\n") < 0 || fflush(stdout))
			fail("standard output");
	} while (read(STDIN_FILENO, &byte, 1) > 0);
}

static void execute(char **argv, const char *scenario)
{
	char *next[] = { argv[0],
			 "--truth",
			 (char *)option_truth,
			 "--prefix",
			 (char *)option_prefix,
			 (char *)scenario,
			 NULL };

	execv("/proc/self/exe", next);
	fail("execv");
}

/* The variable is set, but nothing says that it is one of OTEP 4947. */
__attribute__((unused)) static void executed(struct queue *queue, long count)
{
	for (long i = 0; i < count; i++) {
		work_begin(SAMPLED);
		thread_traceparent = NULL;
		pair_of_calls(queue);
		work_end();
	}
}

int main(int argc, char **argv)
{
	const char *scenario;
	struct queue queue;
	long count;
	int i = 1;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		if (strcmp(argv[i], "--later") == 0) {
			option_later = true;
			i--;
		} else if (strcmp(argv[i], "--truth") == 0) {
			option_truth = argv[i + 1];
			truth_open(option_truth);
		} else if (strcmp(argv[i], "--prefix") == 0) {
			option_prefix = argv[i + 1];
		} else if (strcmp(argv[i], "--library") == 0) {
			option_library = argv[i + 1];
		} else if (strcmp(argv[i], "--fault") == 0) {
			option_fault = argv[i + 1];
		} else {
			fail("unknown option %s", argv[i]);
		}
	}
	if (i >= argc)
		fail("no scenario");
	scenario = argv[i];
	count = argument_count(argc, argv, i + 1, 20);
	if (strcmp(scenario, "executed") == 0) {
		queue_create(&queue, ".executed", O_RDWR);
#ifdef LINKED
		attach = context_attach;
		executed(&queue, count);
#endif
		queue_destroy(&queue);
		return 0;
	}
	queue_create(&queue, ".q", O_RDWR);
	if (option_later) {
		char byte;

		call_getsetattr(&queue, NULL);
		if (printf("ready\n") < 0 || fflush(stdout))
			fail("standard output");
		if (read(STDIN_FILENO, &byte, 1) < 1)
			fail("standard input");
	}
	start();
	ready(&queue);
	if (strcmp(scenario, "spans") == 0)
		spans(&queue, count);
	else if (strcmp(scenario, "threads") == 0)
		threads(count);
	else if (strcmp(scenario, "pass") == 0)
		pass(count);
	else if (strcmp(scenario, "torn") == 0)
		torn(&queue, count);
	else if (strcmp(scenario, "exec") == 0) {
		spans(&queue, count);
		queue_destroy(&queue);
		execute(argv, "executed");
	} else
		fail("unknown scenario %s", scenario);
	queue_destroy(&queue);
	return 0;
}

long argument_count(int argc, char **argv, int index, long fallback)
{
	return index < argc ? atol(argv[index]) : fallback;
}

pid_t start_process(void)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	return child;
}

void wait_for_process(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) < 0 || status != 0)
		fail("a child failed");
}
