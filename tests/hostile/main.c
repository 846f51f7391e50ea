// SPDX-License-Identifier: Apache-2.0
/*
 * hostile [--uid N] [--seconds N] [--workers N] [--count N] [--directory DIR]
 * [--cgroup DIR]... ATTACK: does what a program without privileges can do to
 * the agent. It starts as root, if an attack needs something prepared, then
 * gives up root and executes itself again, so that it owns its /proc.
 *
 * hostile [--uid N] pid-namespace|time-namespace|user-namespace PROGRAM [ARGS]:
 * no attack; runs the program in a new namespace of this kind.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

#define ADDRESS_SPACE (2UL << 30)

struct options options = {
	.uid = -1,
	.seconds = 1,
	.workers = 1,
	.directory = "/tmp",
	.fuse_fd = -1,
};

static int attack_once(void);

static const struct attack {
	const char *name;
	int (*run)(void);
	void (*prepare)(void);
	bool maps_much; /* much address space, little memory */
} attacks[] = {
	{ "environ-huge", attack_environ_huge, NULL, true },
	{ "environ-fuse", attack_environ_fuse, prepare_fuse, false },
	{ "environ-values", attack_environ_values, NULL, false },
	{ "flood-getsetattr", attack_flood_getsetattr, NULL, false },
	{ "flood-unlink", attack_flood_unlink, NULL, false },
	{ "flood-exchange", attack_flood_exchange, NULL, false },
	{ "flood-forks", attack_flood_forks, NULL, false },
	{ "flood-exec", attack_flood_exec, NULL, false },
	{ "flood-threads", attack_flood_threads, NULL, false },
	{ "threads-many", attack_threads_many, NULL, false },
	{ "threads-blocked", attack_threads_blocked, NULL, false },
	{ "messages-many", attack_messages_many, prepare_messages, false },
	{ "names", attack_names, NULL, false },
	{ "elf-odd", attack_elf_odd, NULL, false },
	{ "signals", attack_signals, NULL, false },
	{ "namespaces", attack_namespaces, NULL, false },
	{ "container", attack_container, prepare_container, false },
	{ "cgroups", attack_cgroups, NULL, false },
	{ "maps", attack_maps, NULL, false },
	{ "once", attack_once, NULL, false },
};

/* The program that other attacks execute: one call. */
static int attack_once(void)
{
	refused_call();
	return 0;
}

static const struct attack *find_attack(const char *name)
{
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
		if (strcmp(attacks[i].name, name) == 0)
			return &attacks[i];
	fail("unknown attack %s", name);
}

static long number(const char *text)
{
	char *end;
	long long value = strtoll(text, &end, 10);

	if (*end || end == text || value < 0 || value > INT32_MAX)
		fail("not a number: %s", text);
	return (long)value;
}

static void set_option(const char *name, const char *value)
{
	if (strcmp(name, "--uid") == 0)
		options.uid = number(value);
	else if (strcmp(name, "--seconds") == 0)
		options.seconds = number(value);
	else if (strcmp(name, "--workers") == 0)
		options.workers = number(value);
	else if (strcmp(name, "--count") == 0)
		options.count = number(value);
	else if (strcmp(name, "--directory") == 0)
		options.directory = value;
	else if (strcmp(name, "--deadline-ns") == 0)
		options.deadline_ns = strtoll(value, NULL, 10);
	else if (strcmp(name, "--fuse-fd") == 0)
		options.fuse_fd = (int)number(value);
	else if (strcmp(name, "--prepared") == 0)
		options.prepared = true;
	else if (strcmp(name, "--cgroup") == 0 &&
		 options.cgroup_count < MAX_CGROUPS)
		options.cgroups[options.cgroup_count++] = value;
	else
		fail("unknown option %s", name);
}

static void limit(int resource, unsigned long value)
{
	struct rlimit limit = { value, value };

	if (setrlimit(resource, &limit))
		fail("setrlimit: %s", strerror(errno));
}

void give_up_root(void)
{
	uid_t uid = (uid_t)options.uid;

	if (options.uid < 0)
		return;
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, uid))
		fail("becoming user %ld: %s", options.uid, strerror(errno));
}

/* Puts the options that hold after the preparation before those that were given. */
static _Noreturn void execute_prepared(int argc, char **argv)
{
	char deadline[32], fuse_fd[32];
	char **next = calloc((size_t)argc + 8, sizeof(*next));
	int n = 0;

	if (!next)
		fail("no memory");
	snprintf(deadline, sizeof(deadline), "%lld",
		 (long long)options.deadline_ns);
	next[n++] = argv[0];
	next[n++] = "--prepared";
	next[n++] = "1";
	next[n++] = "--deadline-ns";
	next[n++] = deadline;
	if (options.fuse_fd >= 0) {
		snprintf(fuse_fd, sizeof(fuse_fd), "%d", options.fuse_fd);
		next[n++] = "--fuse-fd";
		next[n++] = fuse_fd;
	}
	for (int i = 1; i < argc; i++)
		next[n++] = argv[i];
	execv(self_path, next);
	fail("%s: %s", self_path, strerror(errno));
}

static void prepare(const struct attack *attack)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	options.deadline_ns =
		(now.tv_sec + options.seconds) * 1000000000LL + now.tv_nsec;
	/* The machine is shared: an attack is on the agent, not on memory. */
	limit(RLIMIT_CORE, 0);
	if (!attack->maps_much)
		limit(RLIMIT_AS, ADDRESS_SPACE);
	if (attack->prepare)
		attack->prepare();
	give_up_root();
}

int main(int argc, char **argv)
{
	const struct attack *attack;
	ssize_t length;
	int i = 1;

	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2)
		set_option(argv[i], argv[i + 1]);
	if (i >= argc) {
		fputs("usage: hostile [--uid N] [--seconds N] [--workers N] "
		      "[--count N] ATTACK\n",
		      stderr);
		return 2;
	}
	if (strcmp(argv[i], "pid-namespace") == 0)
		return run_in_pid_namespace(argv + i + 1);
	if (strcmp(argv[i], "time-namespace") == 0)
		return run_in_time_namespace(argv + i + 1);
	if (strcmp(argv[i], "user-namespace") == 0)
		return run_in_user_namespace(argv + i + 1);
	attack = find_attack(argv[i]);
	/* This is executed by the thousand, so it does no more than its call. */
	if (attack->run == attack_once)
		return attack_once();
	length = readlink("/proc/self/exe", self_path, PATH_MAX - 1);
	if (length < 0)
		fail("/proc/self/exe: %s", strerror(errno));
	self_path[length] = '\0';
	if (!options.prepared) {
		prepare(attack);
		execute_prepared(argc, argv);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm((unsigned int)options.seconds + 60);
	return attack->run();
}
