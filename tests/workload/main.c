// SPDX-License-Identifier: Apache-2.0
/*
 * mqwork [--truth FILE] [--prefix NAME] SCENARIO [ARGS]: runs a scenario on
 * POSIX message queues with real system calls, and writes what happened, one
 * JSON line per call.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

const char *option_prefix = "/mqwork";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} scenarios[] = {
	{ "basic", scenario_basic },
	{ "waits", scenario_waits },
	{ "paced", scenario_paced },
	{ "pingpong", scenario_pingpong },
	{ "exchange", scenario_exchange },
	{ "shape", scenario_shape },
	{ "consume", scenario_consume },
	{ "flood", scenario_flood },
	{ "getppid", scenario_getppid },
	{ "blocked", scenario_blocked },
	{ "filled", scenario_filled },
	{ "left", scenario_left },
	{ "interrupted", scenario_interrupted },
	{ "jumped", scenario_jumped },
	{ "refused", scenario_refused },
	{ "arriving", scenario_arriving },
	{ "killed", scenario_killed },
	{ "exec", scenario_exec },
	{ "executed", scenario_executed },
	{ "odd", scenario_odd },
	{ "closed", scenario_closed },
	{ "tocttou", scenario_tocttou },
#ifndef __LP64__
	{ "time64", scenario_time64 },
#endif
};

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("mqwork: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

void say_and_wait(const char *word, long bytes)
{
	char byte;

	if (printf("%s\n", word) < 0 || fflush(stdout))
		fail("standard output: %s", strerror(errno));
	while (bytes-- > 0 && read(STDIN_FILENO, &byte, 1) > 0)
		;
}

long argument_count(int argc, char **argv, int index, long fallback)
{
	char *end;
	long count;

	if (index >= argc)
		return fallback;
	count = strtol(argv[index], &end, 10);
	if (*end || end == argv[index] || count < 1)
		fail("not a count: %s", argv[index]);
	return count;
}

void await_blocked(pid_t pid, pid_t tid)
{
	int64_t give_up_ns = realtime_ns() + 30LL * 1000000000;
	char path[64], text[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	while (realtime_ns() < give_up_ns) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fail("%s: %s", path, strerror(errno));
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = '\0';
		/* The number of the system call, or "running". */
		if (n > 0 && text[0] >= '0' && text[0] <= '9')
			return;
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	fail("thread %d did not block", tid);
}

pid_t start_process(void)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork: %s", strerror(errno));
	return child;
}

void wait_for_process(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) < 0 || status != 0)
		fail("a child failed");
}

static void raise_limit(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_MSGQUEUE, &limit) == 0)
		return;
	if (getrlimit(RLIMIT_MSGQUEUE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_MSGQUEUE, &limit);
	}
}

int main(int argc, char **argv)
{
	int i = 1;

	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		if (strcmp(argv[i], "--truth") == 0)
			truth_open(argv[i + 1]);
		else if (strcmp(argv[i], "--prefix") == 0)
			option_prefix = argv[i + 1];
		else
			fail("unknown option %s", argv[i]);
	}
	if (i >= argc) {
		fputs("usage: mqwork [--truth FILE] [--prefix /NAME] SCENARIO "
		      "[ARGS]\n",
		      stderr);
		return 2;
	}
	raise_limit();
	for (size_t s = 0; s < sizeof(scenarios) / sizeof(scenarios[0]); s++)
		if (strcmp(argv[i], scenarios[s].name) == 0)
			return scenarios[s].run(argc - i - 1, argv + i + 1);
	fail("unknown scenario %s", argv[i]);
}
