// SPDX-License-Identifier: Apache-2.0
/*
 * Processes that cannot be looked at: whoever reads their environment waits for
 * a file system that never answers. Either the environment itself is on that
 * file system, or one thread waits for it while it holds the lock of the
 * process's memory, and a second thread wants to change the memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "environ.h"
#include "hostile.h"

#define VICTIMS 4
#define FILE_NODE 2
#define FILE_SIZE (64 * 4096)
#define LARGE_ENVIRONMENT (64 * 1024)

static _Atomic long *hanging; /* reads without an answer */
static _Atomic long *called; /* victims that have made a call */
static pid_t server;

/* Mounts in a mount namespace of this attack, so that the mount goes with it. */
void prepare_fuse(void)
{
	char text[128];

	options.fuse_fd = open("/dev/fuse", O_RDWR);
	if (options.fuse_fd < 0)
		lacking("no /dev/fuse: %s", strerror(errno));
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		fail("a mount namespace: %s", strerror(errno));
	/* As fusermount3 mounts for a user. */
	snprintf(text, sizeof(text),
		 "fd=%d,rootmode=40000,user_id=%ld,group_id=%ld,allow_other",
		 options.fuse_fd, options.uid, options.uid);
	if (mount("hostile", options.directory, "fuse", MS_NOSUID | MS_NODEV,
		  text))
		lacking("mount of fuse: %s", strerror(errno));
}

static void answer(uint64_t unique, int error, const void *body, size_t size)
{
	struct {
		struct fuse_out_header header;
		char body[256];
	} out = {
		.header = { (uint32_t)(sizeof(out.header) + size), error,
			    unique },
	};

	memcpy(out.body, body, size);
	/* The request may have been interrupted. */
	if (write(options.fuse_fd, &out, out.header.len) < 0 && errno != ENOENT)
		fail("answering: %s", strerror(errno));
}

static struct fuse_attr attributes_of(uint64_t node)
{
	struct fuse_attr attr = {
		.ino = node,
		.nlink = 1,
		.blksize = 4096,
		.mode = S_IFDIR | 0755,
	};

	if (node == FILE_NODE) {
		attr.mode = S_IFREG | 0644;
		attr.size = FILE_SIZE;
		attr.blocks = FILE_SIZE / 512;
	}
	return attr;
}

static void answer_init(const struct fuse_in_header *in)
{
	const struct fuse_init_in *init = (const void *)(in + 1);
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = init->minor < FUSE_KERNEL_MINOR_VERSION ?
				 init->minor :
				 FUSE_KERNEL_MINOR_VERSION,
		.max_write = 4096,
		.max_background = 64,
	};

	answer(in->unique, 0, &out, sizeof(out));
}

/* Serves one file, and leaves every read of it without an answer. */
static _Noreturn void serve(void)
{
	static char buffer[1 << 17];
	const struct fuse_in_header *in = (const void *)buffer;

	for (;;) {
		ssize_t size = read(options.fuse_fd, buffer, sizeof(buffer));

		if (size < 0 && errno == ENODEV)
			_exit(0);
		if (size < (ssize_t)sizeof(*in))
			continue;
		switch (in->opcode) {
		case FUSE_INIT:
			answer_init(in);
			break;
		case FUSE_LOOKUP: {
			struct fuse_entry_out out = {
				.nodeid = FILE_NODE,
				.entry_valid = 1000,
				.attr_valid = 1000,
				.attr = attributes_of(FILE_NODE),
			};

			answer(in->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_GETATTR: {
			struct fuse_attr_out out = {
				.attr_valid = 1000,
				.attr = attributes_of(in->nodeid),
			};

			answer(in->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_OPEN: {
			/* Otherwise the next one to open it would wait, too. */
			struct fuse_open_out out = {
				.fh = 1,
				.open_flags = FOPEN_KEEP_CACHE,
			};

			answer(in->unique, 0, &out, sizeof(out));
			break;
		}
		case FUSE_READ:
			++*hanging;
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			answer(in->unique, -ENOSYS, NULL, 0);
		}
	}
}

static void *read_hanging(void *page)
{
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char byte;

	if (memory < 0)
		fail("/proc/self/mem: %s", strerror(errno));
	/* The kernel takes the lock of the memory, then waits for the page. */
	if (pread(memory, &byte, 1, (off_t)(uintptr_t)page) < 0)
		return NULL;
	return page;
}

static _Atomic pid_t writer;
static _Atomic bool writer_may_go;

static void *map_something(void *argument)
{
	writer = (pid_t)syscall(SYS_gettid);
	while (!writer_may_go)
		sleep_ms(1);
	mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return argument;
}

static char state_of(pid_t thread)
{
	char path[64], text[128];
	const char *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '?';
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : '?';
}

/* Starts two threads: one holds the lock, the other one waits for it. */
static void lock_memory(char *page)
{
	long before = *hanging;
	pthread_t thread;

	/* A new thread's stack has to be mapped, too: make both before the lock is held. */
	if (pthread_create(&thread, NULL, map_something, NULL) ||
	    pthread_create(&thread, NULL, read_hanging, page))
		fail("no thread");
	while ((*hanging == before || !writer) && !time_is_up())
		sleep_ms(1);
	writer_may_go = true;
	while (state_of(writer) != 'D' && !time_is_up())
		sleep_ms(1);
}

/* More than the BPF programs send of an environment: the rest has to come from /proc. */
static void enlarge_environment(void)
{
	char *large = mmap(NULL, LARGE_ENVIRONMENT, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (large == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	memset(large, 'x', LARGE_ENVIRONMENT);
	environ_move(large, LARGE_ENVIRONMENT);
}

static _Noreturn void be_hanging(long number)
{
	char path[PATH_MAX], *page;
	int fd;

	/* The file system has only one file, under any name. */
	snprintf(path, sizeof(path), "%s/hanging", options.directory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("%s: %s", path, strerror(errno));
	/* Nothing of this program itself must have to be paged in later. */
	mlockall(MCL_CURRENT);
	page = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	page += number * 4096;
	/* Kernels from 4.18 on do not read an environment that is in a file. */
	if (number == 0) {
		/* There is one look-up per user at a time: those with hanging memory come first. */
		while (*called < VICTIMS - 1 && !time_is_up())
			sleep_ms(1);
		environ_move(page, 4096);
	} else {
		enlarge_environment();
		lock_memory(page);
	}
	refused_call();
	++*called;
	for (;;) {
		refused_call();
		sleep_ms(10);
	}
}

static void hang(long worker)
{
	pid_t victims[VICTIMS];

	(void)worker;
	for (long i = 0; i < VICTIMS; i++) {
		victims[i] = start();
		if (victims[i] == 0)
			be_hanging(i);
	}
	while (!time_is_up())
		sleep_ms(10);
	for (int i = 0; i < VICTIMS; i++)
		kill(victims[i], SIGKILL);
	/*
	 * The server has the last descriptor: the connection ends with it, and
	 * so does every wait.
	 */
	kill(server, SIGKILL);
	while (wait(NULL) > 0)
		;
	if (*hanging == 0)
		fail("nobody waited for the file system");
	fprintf(stderr, "hostile: %ld reads were left without an answer\n",
		*hanging);
}

int attack_environ_fuse(void)
{
	int code;

	hanging = shared_memory(sizeof(*hanging));
	called = shared_memory(sizeof(*called));
	server = start();
	if (server == 0)
		serve();
	close(options.fuse_fd);
	/* There is one server for one mount. */
	options.workers = 1;
	code = run_workers(hang);
	waitpid(server, NULL, 0);
	return code;
}
