// SPDX-License-Identifier: Apache-2.0
/* Processes whose executable is not where it seems to be, or not what it seems to be. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define DEPTH 40
#define STEP "a-directory-with-a-name-of-forty-letters"

static char *const environment[] = { "OTEL_SERVICE_NAME=odd", NULL };

/*
 * Changes to the deepest of nested directories, which it makes on the way. The
 * path has more than 1,600 bytes.
 */
static void go_down(void)
{
	for (int i = 0; i < DEPTH; i++)
		if ((mkdir(STEP, 0755) && errno != EEXIST) || chdir(STEP))
			fail("directory %d: %s", i, strerror(errno));
}

static void go_up_and_remove(void)
{
	for (int i = 0; i < DEPTH; i++)
		if (chdir("..") || rmdir(STEP))
			fail("removing directory %d: %s", i, strerror(errno));
}

static void write_script(const char *path, const char *interpreter)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	if (fd < 0 || dprintf(fd, "#!%s once\n", interpreter) < 0)
		fail("%s: %s", path, strerror(errno));
	close(fd);
}

static void execute_deleted(void)
{
	int fd;

	copy_self("gone");
	fd = open("gone", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || unlink("gone"))
		fail("gone: %s", strerror(errno));
	execute_once_at(fd, environment);
	close(fd);
}

static void execute_memory(void)
{
	int fd = copy_self_to_memory("libc.so.6");

	execute_once_at(fd, environment);
	close(fd);
}

/* Maps files that claim to be ELF, with headers that point anywhere. */
static void map_garbage(uint64_t *state)
{
	char garbage[4096] = "\177ELF\2\1\1";
	int fd =
		open("libc.so.6", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	if (fd < 0)
		fail("libc.so.6: %s", strerror(errno));
	for (size_t i = 16; i < sizeof(garbage); i++)
		garbage[i] = (char)next_random(state);
	if (write(fd, garbage, sizeof(garbage)) != sizeof(garbage))
		fail("libc.so.6: %s", strerror(errno));
	for (int i = 0; i < 64; i++)
		mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_READ | PROT_EXEC,
		     MAP_PRIVATE, fd, 0);
	close(fd);
	unlink("libc.so.6");
}

static void call_among_garbage(uint64_t *state)
{
	pid_t child;

	next_random(state);
	child = start();
	if (child == 0) {
		map_garbage(state);
		refused_call();
		_exit(0);
	}
	reap(child);
}

static void odd(long worker)
{
	uint64_t state = 2463534242ULL + (uint64_t)worker;
	char directory[PATH_MAX / 2];

	snprintf(directory, sizeof(directory), "%s/hostile.XXXXXX",
		 options.directory);
	if (!mkdtemp(directory) || chdir(directory))
		fail("%s: %s", directory, strerror(errno));
	go_down();
	copy_self("hostile");
	write_script("script", "./hostile");
	write_script("script-of-script", "./script");
	while (!time_is_up()) {
		execute_once("./hostile", environment);
		execute_once("./script", environment);
		execute_once("./script-of-script", environment);
		execute_deleted();
		execute_memory();
		call_among_garbage(&state);
	}
	unlink("hostile");
	unlink("script");
	unlink("script-of-script");
	go_up_and_remove();
	rmdir(directory);
}

int attack_elf_odd(void)
{
	return run_workers(odd);
}
