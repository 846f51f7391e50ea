// SPDX-License-Identifier: Apache-2.0
/* Environments that nobody should read whole: of many GiB, or with endless values. */
#include <errno.h>
#include <limits.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "environ.h"
#include "hostile.h"

#define AT_ONCE 4 /* children per worker */
#define PIECE_SIZE (16UL << 20)
#define PIECES 512 /* with its neighbours, below vm.max_map_count */
#define LARGEST (64ULL << 30)
#define VALUE_SIZE 100000
#define KEYS 8000

extern char __executable_start[], etext[], edata[];

void environ_move(void *start, size_t size)
{
	unsigned long heap = (unsigned long)sbrk(0);
	struct prctl_mm_map map = {
		.start_code = (unsigned long)__executable_start,
		.end_code = (unsigned long)etext,
		.start_data = (unsigned long)etext,
		.end_data = (unsigned long)edata,
		.start_brk = heap,
		.brk = heap,
		.start_stack = (unsigned long)__builtin_frame_address(0),
		.arg_start = (unsigned long)start,
		.arg_end = (unsigned long)start + 1,
		.env_start = (unsigned long)start,
		.env_end = (unsigned long)start + size,
		.exe_fd = (__u32)-1,
	};

	if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0))
		lacking("this kernel does not let a process move its "
			"environment: %s",
			strerror(errno));
}

static void *reserve(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Zeros, in which a reader finds one empty string after another. */
static void environ_of_zeros(void)
{
	size_t size = sizeof(void *) == 8 ? (size_t)LARGEST : (size_t)1 << 30;
	void *memory = reserve(size);

	if (!memory)
		fail("mmap of %zu bytes: %s", size, strerror(errno));
	environ_move(memory, size);
}

/* The same letters again and again: one string of 8 GiB in 16 MiB of memory. */
static void environ_of_letters(int letters)
{
	size_t pieces = sizeof(void *) == 8 ? PIECES : 32;
	char *memory = reserve(pieces * PIECE_SIZE);

	if (!memory)
		fail("mmap: %s", strerror(errno));
	for (size_t i = 0; i < pieces; i++)
		if (mmap(memory + i * PIECE_SIZE, PIECE_SIZE, PROT_READ,
			 MAP_SHARED | MAP_FIXED, letters, 0) == MAP_FAILED)
			fail("mmap of a piece: %s", strerror(errno));
	environ_move(memory, pieces * PIECE_SIZE);
}

static int make_letters(void)
{
	static const char name[] = "OTEL_SERVICE_NAME=";
	int fd = memfd_create("letters", MFD_CLOEXEC);
	char *memory;

	if (fd < 0 || ftruncate(fd, PIECE_SIZE))
		fail("memfd: %s", strerror(errno));
	memory = mmap(NULL, PIECE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		      0);
	if (memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	memset(memory, 'h', PIECE_SIZE);
	memcpy(memory, name, strlen(name));
	munmap(memory, PIECE_SIZE);
	return fd;
}

/* Lives as long as a reader of many GiB may take. */
static void be_looked_at(void)
{
	for (int i = 0; i < 100 && !time_is_up(); i++) {
		refused_call();
		sleep_ms(10);
	}
}

static void huge(long worker)
{
	int letters = make_letters();
	pid_t children[AT_ONCE] = { 0 };

	for (long turn = worker; !time_is_up(); turn++) {
		pid_t *child = &children[turn % AT_ONCE];

		if (*child)
			reap(*child);
		*child = start();
		if (*child == 0) {
			if (turn % 2)
				environ_of_letters(letters);
			else
				environ_of_zeros();
			be_looked_at();
			_exit(0);
		}
	}
	for (int i = 0; i < AT_ONCE; i++)
		if (children[i])
			reap(children[i]);
}

int attack_environ_huge(void)
{
	return run_workers(huge);
}

/* Fills in characters of one to four bytes, begun anywhere, or invalid bytes. */
static void fill(char *value, size_t size, unsigned long turn)
{
	static const char *const patterns[] = {
		"h",	    "\xc3\xa9",	    "\xe2\x82\xac", "\xf0\x9f\x90\x87",
		"\x80\xff", "\xed\xa0\x80", "%C3%A9",	    "\x1b[2J\n",
		"\xf0\x9f", "a\xc0\xaf",
	};
	const char *pattern = patterns[turn % 10];
	size_t length = strlen(pattern), shift = turn / 10 % 4;

	memset(value, '_', shift);
	for (size_t i = shift; i < size; i++)
		value[i] = pattern[(i - shift) % length];
	value[size] = '\0';
}

static void fill_keys(char *value, size_t size, unsigned long turn)
{
	size_t used = 0;

	for (unsigned int i = 0; i < KEYS && used + 32 < size; i++)
		used += (size_t)snprintf(value + used, size - used,
					 "%sk.%lu.%u=%%e2%%82%%ac",
					 i ? "," : "", turn % 7, i);
}

static void values(long worker)
{
	static const char *const names[] = {
		"OTEL_SERVICE_NAME=",
		"OTEL_RESOURCE_ATTRIBUTES=service.name=",
		"OTEL_RESOURCE_ATTRIBUTES=service.namespace=h,service.version=",
		"OTEL_RESOURCE_ATTRIBUTES=",
	};
	char *name = malloc(2 * VALUE_SIZE), *keys = malloc(2 * VALUE_SIZE);
	char *environment[] = { keys, name, NULL };

	if (!name || !keys)
		fail("no memory");
	for (unsigned long turn = (unsigned long)worker; !time_is_up();
	     turn++) {
		unsigned long kind = turn % 4;
		size_t length = strlen(names[kind]);

		strcpy(name, names[kind]);
		if (kind == 3)
			fill_keys(name + length, VALUE_SIZE, turn);
		else
			fill(name + length, VALUE_SIZE, turn);
		/* Another variable with the same name, or one without a name. */
		strcpy(keys, turn % 3 ? "OTEL_SERVICE_NAME=" : "==,=%,");
		fill(keys + strlen(keys), turn % 300, turn / 3);
		execute_once(self_path, environment);
	}
	free(name);
	free(keys);
}

int attack_environ_values(void)
{
	return run_workers(values);
}
