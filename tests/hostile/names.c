// SPDX-License-Identifier: Apache-2.0
/* Names of any bytes, for queues, threads and executables. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "hostile.h"

/* An IPC namespace has room for 256 queues, and others need some of them. */
#define HELD 64
#define NAMES_PER_EXECUTION 200

/*
 * Makes a name of up to `size` bytes without a slash, never the same twice,
 * with bytes that may confuse a terminal, a line of JSON, a label or a UTF-8
 * decoder.
 */
static void make_name(char *name, size_t size, uint64_t *state)
{
	static const char *const kinds[] = {
		"\n\x1b[2J\x1b]0;h\a",
		"\"} 1\n# HELP ",
		"\\\"{},=\r\n\t",
		"\xed\xa0\x80\xc0\xaf\xf8",
		"\xe2\x80\xae\xe2\x80\x8b",
		"\xff\xfe\x80\x81",
		"%s%n$(h)`h`;'",
	};
	uint64_t number = next_random(state);
	const char *kind = kinds[number % 7];
	size_t length = strlen(kind), n;

	if (number % 11 == 0) {
		for (n = 0; n < size; n++) {
			name[n] = (char)next_random(state);
			if (name[n] == '/' || name[n] == '\0')
				name[n] = '\x7f';
		}
	} else {
		n = (size_t)snprintf(name, size + 1, "%016llx",
				     (unsigned long long)number);
		for (; n < size && number % 3; n++)
			name[n] = kind[n % length];
	}
	name[n] = '\0';
}

static void use_queue(const char *name)
{
	char body[8] = { 'h' };
	long queue = open_queue(name, O_RDWR | O_NONBLOCK, 1, sizeof(body));

	if (queue < 0)
		return;
	unlink_queue(name);
	send_message((int)queue, body, sizeof(body));
	receive_message((int)queue, body, sizeof(body));
	count_calls(2);
	close((int)queue);
}

/* Holds as many queues as a user may have; they go away with this process. */
static void hold_queues(uint64_t *state)
{
	char name[NAME_MAX + 1];

	for (int i = 0; i < HELD; i++) {
		make_name(name, NAME_MAX, state);
		if (open_queue(name, O_RDWR, 1, 8) < 0)
			return;
		unlink_queue(name);
	}
}

static void execute_file(const char *directory, char *path, uint64_t *state)
{
	static char *const environment[] = { NULL };
	char name[NAME_MAX + 1], renamed[PATH_MAX];

	make_name(name, NAME_MAX - 1, state);
	snprintf(renamed, sizeof(renamed), "%s/%s", directory, name);
	if (rename(path, renamed))
		fail("rename: %s", strerror(errno));
	strcpy(path, renamed);
	execute_once(path, environment);
}

static void execute_memory(uint64_t *state)
{
	static char *const environment[] = { NULL };
	char name[NAME_MAX + 1];
	int fd;

	make_name(name, 249, state); /* NAME_MAX minus "memfd:" */
	fd = copy_self_to_memory(name);
	execute_once_at(fd, environment);
	close(fd);
}

static void names(long worker)
{
	uint64_t state = 88172645463325252ULL + (uint64_t)worker;
	char directory[PATH_MAX / 2], path[PATH_MAX];

	snprintf(directory, sizeof(directory), "%s/hostile.XXXXXX",
		 options.directory);
	if (!mkdtemp(directory))
		fail("%s: %s", directory, strerror(errno));
	snprintf(path, sizeof(path), "%s/hostile", directory);
	copy_self(path);
	hold_queues(&state);
	while (!time_is_up()) {
		char name[NAME_MAX + 1];

		for (int i = 0; i < NAMES_PER_EXECUTION; i++) {
			make_name(name, 15, &state);
			prctl(PR_SET_NAME, name);
			make_name(name, i % 2 ? NAME_MAX : 20, &state);
			use_queue(name);
		}
		execute_file(directory, path, &state);
		execute_memory(&state);
	}
	unlink(path);
	rmdir(directory);
}

int attack_names(void)
{
	return run_workers(names);
}
