// SPDX-License-Identifier: Apache-2.0
/*
 * Root of a container, which takes every user id in turn and is in every
 * control group that it can make below its own. It has the default capabilities
 * of containers.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define FIRST_UID 1000000
#define CALLS_PER_USER 500
#define GROUPS 64

static bool join(const char *group)
{
	char path[PATH_MAX];
	bool joined;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	joined = write(fd, "0", 1) == 1;
	close(fd);
	return joined;
}

static void keep_default_capabilities(void)
{
	static const int kept[] = {
		CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,
		CAP_FSETID, CAP_KILL,	      CAP_SETGID,
		CAP_SETUID, CAP_SETPCAP,      CAP_SYS_CHROOT,
		CAP_MKNOD,  CAP_SETFCAP,      CAP_NET_BIND_SERVICE,
	};

	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++) {
		bool keep = false;

		for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			keep |= kept[i] == cap;
		if (!keep && prctl(PR_CAPBSET_DROP, cap))
			fail("capability %d: %s", cap, strerror(errno));
	}
}

/* The child continues as the container's first process. */
void prepare_container(void)
{
	pid_t child;
	int status;

	for (int i = 0; i < options.cgroup_count; i++)
		if (!join(options.cgroups[i]))
			fail("%s: %s", options.cgroups[i], strerror(errno));
	if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		fail("namespaces: %s", strerror(errno));
	child = fork();
	if (child < 0)
		fail("fork: %s", strerror(errno));
	if (child) {
		if (waitpid(child, &status, 0) < 0)
			fail("waitpid: %s", strerror(errno));
		exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mount("proc", "/proc", "proc", 0, NULL))
		fail("/proc: %s", strerror(errno));
	keep_default_capabilities();
}

static volatile sig_atomic_t first_process;

static void pass_on(int signal)
{
	kill(first_process, signal);
}

/* Runs the command as the first process of the namespaces made for children. */
static int run_inside(char **command, void (*prepare)(void))
{
	struct sigaction action = { .sa_handler = pass_on };
	pid_t child;
	int status;

	if (!command[0])
		fail("no program");
	child = fork();
	if (child < 0)
		fail("fork: %s", strerror(errno));
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (prepare)
			prepare();
		execv(command[0], command);
		fail("%s: %s", command[0], strerror(errno));
	}
	first_process = child;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void mount_proc(void)
{
	if (mount("proc", "/proc", "proc", 0, NULL))
		fail("/proc: %s", strerror(errno));
}

int run_in_pid_namespace(char **command)
{
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		fail("namespaces: %s", strerror(errno));
	return run_inside(command, mount_proc);
}

int run_in_time_namespace(char **command)
{
	static const char ahead[] = "boottime 1000000 500\nmonotonic 7 0\n";
	int offsets;

	if (unshare(CLONE_NEWTIME))
		fail("a namespace of clocks: %s", strerror(errno));
	offsets = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (offsets < 0 || write(offsets, ahead, sizeof(ahead) - 1) < 0)
		fail("/proc/self/timens_offsets: %s", strerror(errno));
	close(offsets);
	return run_inside(command, NULL);
}

/* Moves to a group below the container's, or back to the container's own. */
static void move(unsigned long turn)
{
	for (int i = 0; i < options.cgroup_count; i++) {
		char group[PATH_MAX];

		snprintf(group, sizeof(group), "%s/%064lx", options.cgroups[i],
			 turn % GROUPS);
		mkdir(group, 0755);
		join(turn % 3 ? group : options.cgroups[i]);
	}
}

static void leave(void)
{
	for (int i = 0; i < options.cgroup_count; i++) {
		join(options.cgroups[i]);
		for (unsigned long turn = 0; turn < GROUPS; turn++) {
			char group[PATH_MAX];

			snprintf(group, sizeof(group), "%s/%064lx",
				 options.cgroups[i], turn);
			rmdir(group);
		}
	}
}

static void be_everybody(long worker)
{
	for (unsigned long turn = 0; !time_is_up(); turn++) {
		uid_t uid = FIRST_UID +
			    (uid_t)(turn * (unsigned long)options.workers) +
			    (uid_t)worker;
		pid_t child;

		move(turn);
		child = start();
		if (child == 0) {
			if (setgroups(0, NULL) || setresgid(uid, uid, uid) ||
			    setresuid(uid, uid, uid))
				fail("user %u: %s", uid, strerror(errno));
			for (int i = 0; i < CALLS_PER_USER; i++)
				refused_call();
			_exit(0);
		}
		for (int i = 0; i < CALLS_PER_USER; i++)
			refused_call();
		reap(child);
	}
	leave();
}

int attack_container(void)
{
	return run_workers(be_everybody);
}

/* Makes group after group below the container's, each with a process that calls once. */
static void call_from_many_groups(long worker)
{
	(void)worker;
	for (long turn = 0; turn < options.count; turn++) {
		char groups[MAX_CGROUPS][PATH_MAX];
		pid_t child;

		for (int i = 0; i < options.cgroup_count; i++) {
			snprintf(groups[i], sizeof(groups[i]), "%s/%ld",
				 options.cgroups[i], turn);
			if (mkdir(groups[i], 0755))
				fail("%s: %s", groups[i], strerror(errno));
		}
		child = start();
		if (child == 0) {
			for (int i = 0; i < options.cgroup_count; i++)
				if (!join(groups[i]))
					fail("%s: %s", groups[i],
					     strerror(errno));
			refused_call();
			_exit(0);
		}
		reap(child);
		/* Groups that are still busy are removed with the container. */
		for (int i = 0; i < options.cgroup_count; i++)
			rmdir(groups[i]);
	}
}

int attack_cgroups(void)
{
	return run_workers(call_from_many_groups);
}
