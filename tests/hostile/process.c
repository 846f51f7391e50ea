// SPDX-License-Identifier: Apache-2.0
/* Processes, time, and calls. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

char self_path[PATH_MAX];

static _Atomic uint64_t *calls_made;

static void vcomplain(const char *format, va_list args)
{
	fputs("hostile: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vcomplain(format, args);
	va_end(args);
	exit(1);
}

void lacking(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vcomplain(format, args);
	va_end(args);
	exit(EXIT_LACKING);
}

bool time_is_up(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec >= options.deadline_ns;
}

void sleep_ms(long ms)
{
	struct timespec span = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&span, NULL);
}

pid_t try_start(void)
{
	pid_t parent = getpid();
	pid_t child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent died before prctl(). In a new PID namespace the child sees 0. */
	if (getppid() != parent && getppid() != 0)
		_exit(0);
	alarm((unsigned int)options.seconds + 60);
	return 0;
}

pid_t start(void)
{
	pid_t child = try_start();

	if (child < 0)
		fail("fork: %s", strerror(errno));
	return child;
}

void reap(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid: %s", strerror(errno));
	if (!WIFEXITED(status))
		fail("a child was ended by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		exit(WEXITSTATUS(status));
}

int run_workers(void (*work)(long worker))
{
	pid_t *children = calloc((size_t)options.workers, sizeof(*children));

	if (!children)
		fail("no memory");
	calls_made = shared_memory(sizeof(*calls_made));
	for (long i = 0; i < options.workers; i++) {
		children[i] = start();
		if (children[i] == 0) {
			work(i);
			exit(0);
		}
	}
	for (long i = 0; i < options.workers; i++)
		reap(children[i]);
	printf("{\"calls\":%llu}\n", (unsigned long long)*calls_made);
	free(children);
	return 0;
}

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return memory;
}

void count_calls(uint64_t calls)
{
	/* A program that was executed for one call has no counter to report to. */
	if (calls_made)
		*calls_made += calls;
}

void refused_call(void)
{
	count_calls(1);
	syscall(SYS_mq_unlink, "hostile-no-such");
}

long open_queue(const char *name, int oflag, long max_messages, long size)
{
	struct mq_attr attr = { .mq_maxmsg = max_messages, .mq_msgsize = size };

	count_calls(1);
	/* By number: glibc would want a slash, and the name can be any bytes. */
	return syscall(SYS_mq_open, name, oflag | O_CREAT, 0600, &attr);
}

#if defined(__i386__)
#define NR_MQ_TIMEDSEND 279
#define NR_MQ_TIMEDRECEIVE 280
#elif defined(__arm__)
#define NR_MQ_TIMEDSEND 276
#define NR_MQ_TIMEDRECEIVE 277
#else
#define NR_MQ_TIMEDSEND SYS_mq_timedsend
#define NR_MQ_TIMEDRECEIVE SYS_mq_timedreceive
#endif

long send_message(int queue, const void *body, size_t size)
{
	return syscall(NR_MQ_TIMEDSEND, queue, body, size, 1, NULL);
}

long receive_message(int queue, void *body, size_t size)
{
	struct timespec monotonic, until;

	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	clock_gettime(CLOCK_REALTIME, &until);
	/* Whole seconds, and one more, so that it is after the deadline. */
	until.tv_sec +=
		(time_t)(options.deadline_ns / 1000000000 - monotonic.tv_sec);
	until.tv_sec += 1;
	return syscall(NR_MQ_TIMEDRECEIVE, queue, body, size, NULL, &until);
}

void unlink_queue(const char *name)
{
	count_calls(1);
	syscall(SYS_mq_unlink, name);
}

static char *const once[] = { "hostile", "once", NULL };

static void wait_for_once(pid_t child)
{
	int status;

	if (child < 0)
		return;
	if (waitpid(child, &status, 0) < 0)
		fail("waitpid: %s", strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail("a program that was to make one call ended with %#x",
		     status);
	count_calls(1);
}

void execute_once(const char *path, char *const environment[])
{
	pid_t child = try_start();

	if (child == 0) {
		execve(path, once, environment);
		fail("%s: %s", path, strerror(errno));
	}
	wait_for_once(child);
}

void execute_once_at(int fd, char *const environment[])
{
	pid_t child = try_start();

	if (child == 0) {
		fexecve(fd, once, environment);
		fail("fexecve: %s", strerror(errno));
	}
	wait_for_once(child);
}

static void copy_self_into(int fd)
{
	int self = open(self_path, O_RDONLY | O_CLOEXEC);
	ssize_t copied;

	if (self < 0)
		fail("%s: %s", self_path, strerror(errno));
	do
		copied = sendfile(fd, self, NULL, 1 << 20);
	while (copied > 0);
	if (copied < 0)
		fail("copying %s: %s", self_path, strerror(errno));
	close(self);
}

void copy_self(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	if (fd < 0)
		fail("%s: %s", path, strerror(errno));
	copy_self_into(fd);
	close(fd);
}

int copy_self_to_memory(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	char path[64];
	int readable;

	if (fd < 0)
		fail("memfd_create: %s", strerror(errno));
	copy_self_into(fd);
	/* A file that is open for writing cannot be executed. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	readable = open(path, O_RDONLY | O_CLOEXEC);
	if (readable < 0)
		fail("%s: %s", path, strerror(errno));
	close(fd);
	return readable;
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written;

	if (fd < 0)
		return false;
	written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return written;
}

bool enter_namespaces(int flags)
{
	unsigned int uid = geteuid(), gid = getegid();
	char map[64];

	if (unshare(CLONE_NEWUSER | flags))
		return false;
	write_text("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	if (!write_text("/proc/self/uid_map", map))
		return false;
	snprintf(map, sizeof(map), "0 %u 1", gid);
	return write_text("/proc/self/gid_map", map);
}

uint64_t next_random(uint64_t *state)
{
	/* xorshift64 */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}
