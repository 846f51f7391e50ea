// SPDX-License-Identifier: Apache-2.0
/* Roots of nested user namespaces, and IPC namespaces by the hundred. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define DEEPEST 24 /* the kernel allows 32 */
#define QUEUES_PER_ROUND 50
#define FIRST_MAPPED "200000"

static void use_a_queue(void)
{
	char body[8] = { 'h' };
	long queue = open_queue("orders", O_RDWR | O_NONBLOCK, 2, sizeof(body));

	if (queue < 0)
		return;
	for (int i = 0; i < 2; i++)
		send_message((int)queue, body, sizeof(body));
	receive_message((int)queue, body, sizeof(body));
	count_calls(3);
	close((int)queue);
}

/* Uses the same name in one IPC namespace after another, and leaves a message in each queue. */
static void many_ipc_namespaces(void)
{
	for (int i = 0; i < QUEUES_PER_ROUND && !time_is_up(); i++) {
		if (unshare(CLONE_NEWIPC))
			return;
		use_a_queue();
	}
}

static void flood_inside(void)
{
	while (!time_is_up()) {
		pid_t child = try_start();

		if (child == 0) {
			many_ipc_namespaces();
			_exit(0);
		}
		for (int i = 0; i < 1000; i++)
			refused_call();
		if (child > 0)
			reap(child);
	}
}

static void go_deeper(int depth)
{
	pid_t child;

	if (!enter_namespaces(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS)) {
		if (depth == 0)
			lacking("this kernel gives users no namespaces: %s",
				strerror(errno));
		flood_inside();
		return;
	}
	/* The child is the first process of the new PID namespace. */
	child = start();
	if (child == 0) {
		refused_call();
		if (depth < DEEPEST)
			go_deeper(depth + 1);
		else
			flood_inside();
		_exit(0);
	}
	reap(child);
}

static void work(long worker)
{
	(void)worker;
	go_deeper(0);
}

int attack_namespaces(void)
{
	return run_workers(work);
}

/*
 * As the host's root, for a namespace that somebody else made: its users are
 * not the user who made it.
 */
static void map_users(pid_t child)
{
	static const char *const kinds[] = { "uid_map", "gid_map" };
	char path[64];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", child, kinds[i]);
		if (!write_text(path, "0 " FIRST_MAPPED " 1000"))
			fail("%s: %s", path, strerror(errno));
	}
}

int run_in_user_namespace(char **command)
{
	int made[2], mapped[2], status;
	pid_t child;
	char byte;

	if (!command[0])
		fail("no program");
	if (pipe(made) || pipe(mapped))
		fail("pipe: %s", strerror(errno));
	child = start();
	if (child == 0) {
		close(mapped[1]);
		give_up_root();
		if (unshare(CLONE_NEWUSER))
			lacking("this kernel gives users no namespaces: %s",
				strerror(errno));
		if (write(made[1], "", 1) != 1 ||
		    read(mapped[0], &byte, 1) != 1)
			fail("the other side has ended");
		if (setresgid(0, 0, 0) || setresuid(0, 0, 0))
			fail("root of the namespace: %s", strerror(errno));
		execv(command[0], command);
		fail("%s: %s", command[0], strerror(errno));
	}
	close(made[1]);
	if (read(made[0], &byte, 1) == 1) {
		map_users(child);
		if (write(mapped[1], "", 1) != 1)
			fail("the other side has ended");
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
