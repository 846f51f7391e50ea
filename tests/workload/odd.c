// SPDX-License-Identifier: Apache-2.0
/* Arguments that a careful program never passes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"
#include "raw.h"

static void expect(long ret, long expected, const char *what)
{
	if (ret != expected)
		fail("%s returned %ld, not %ld", what, ret, expected);
}

/* An address that is not mapped. */
static void *unmapped(void)
{
	void *page =
		mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	munmap(page, 4096);
	return page;
}

static void bad_pointers(struct queue *queue)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'o' };
	unsigned int priority;
	struct raw_transfer null_body = { .body_size = 16, .priority = 5 };
	struct raw_transfer bad_body = { .body = unmapped(),
					 .body_size = 16,
					 .priority = 5 };
	struct raw_transfer bad_timeout = {
		body, 16, 5, unmapped(), NULL, false
	};
	struct raw_transfer no_room = {
		NULL, sizeof(body), (uintptr_t)&priority, NULL, NULL, true
	};
	struct raw_transfer bad_priority = {
		body, sizeof(body), (uintptr_t)unmapped(), NULL, NULL, true
	};
	struct raw_transfer no_priority = { .body = body,
					    .body_size = sizeof(body) };
	struct raw_transfer late = {
		body,	    sizeof(body), (uintptr_t)&priority,
		unmapped(), NULL,	  false
	};

	expect(raw_send(queue, &null_body), -EFAULT, "send, NULL body");
	expect(raw_send(queue, &bad_body), -EFAULT, "send, unmapped body");
	expect(raw_send(queue, &bad_timeout), -EFAULT,
	       "send, unmapped timeout");
	expect(raw_receive(queue, &late), -EFAULT, "receive, unmapped timeout");
	/* The kernel takes the message off the queue before it finds that it cannot store it. */
	expect(call_send(queue, body, 17, 9, NULL), 0, "send");
	expect(raw_receive(queue, &no_room), -EFAULT, "receive, NULL body");
	expect(call_send(queue, body, 18, 9, NULL), 0, "send");
	expect(raw_receive(queue, &bad_priority), -EFAULT,
	       "receive, unmapped priority");
	expect(call_send(queue, body, 19, 9, NULL), 0, "send");
	expect(raw_receive(queue, &no_priority), 19, "receive, NULL priority");
	expect(call_getsetattr(queue, NULL), 0, "getattr");
}

static void odd_lengths(struct queue *queue)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'l' };
	unsigned int priority;
	struct raw_transfer huge_send = { .body = body,
					  .body_size = 0xffffffff,
					  .priority = 1 };
	struct raw_transfer huge_receive = {
		body, 0xffffffff, (uintptr_t)&priority, NULL, NULL, false
	};
	struct raw_transfer nothing = { .body = NULL,
					.body_size = 0,
					.priority = 2 };

	expect(raw_send(queue, &nothing), 0, "send of nothing from NULL");
	expect(call_receive(queue, body, sizeof(body), NULL), 0,
	       "receive of nothing");
	expect(raw_send(queue, &huge_send), -EMSGSIZE,
	       "send, length 0xffffffff");
#ifdef __LP64__
	expect(call_send(queue, body, 23, 1, NULL), 0, "send");
	expect(raw_receive(queue, &huge_receive), 23,
	       "receive, length 0xffffffff");
#else
	/* Four gigabytes do not fit the address space: access_ok() fails. */
	(void)huge_receive;
#endif
}

static void missing_pages(struct queue *queue)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'm' };
	unsigned int priority;
	struct timespec past = { .tv_sec = 1234567, .tv_nsec = 891011 };
	struct timespec64 value = { past.tv_sec, past.tv_nsec },
			  zero = { 0, 0 };
	int fd = open("/dev/zero", O_RDONLY);
	void *zeros = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	struct raw_transfer file = { body,
				     sizeof(body),
				     (uintptr_t)&priority,
				     page_not_present(&past, sizeof(past)),
				     &value,
				     false };
	struct raw_transfer fresh = { body,  sizeof(body), (uintptr_t)&priority,
				      zeros, &zero,	   false };

	if (zeros == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	close(fd);
	expect(raw_receive(queue, &file), -ETIMEDOUT,
	       "receive, timeout in a file");
	expect(raw_receive(queue, &fresh), -ETIMEDOUT,
	       "receive, timeout in a fresh page");
}

static void names(void)
{
	char name[QUEUE_NAME_SIZE], body[QUEUE_MESSAGE_SIZE] = { 'n' };
	struct queue queue;

	/* Names of NAME_MAX and of NAME_MAX + 1 bytes, without the slash. */
	queue_name(name, ".");
	memset(name + strlen(name), 'x', sizeof(name) - strlen(name));
	name[1 + 255] = '\0';
	if (raw_open(&queue, name + 1, name + 1, O_RDWR | O_CREAT | O_EXCL) < 0)
		fail("a name of 255 bytes does not open");
	expect(call_send(&queue, body, 24, 1, NULL), 0, "send");
	expect(call_receive(&queue, body, sizeof(body), NULL), 24, "receive");
	queue_close(&queue);
	expect(raw_unlink(name + 1, name + 1), 0, "unlink");

	queue_name(name, ".\xc3\x28\xff\xfe\"\\\t-\xc3\xa9");
	if (raw_open(&queue, name + 1, name + 1, O_RDWR | O_CREAT | O_EXCL) < 0)
		fail("a name that is not UTF-8 does not open");
	expect(call_send(&queue, body, 25, 1, NULL), 0, "send");
	queue_close(&queue);
	expect(raw_unlink(name + 1, name + 1), 0, "unlink");

	queue_name(name, ".page");
	if (raw_open(&queue, page_not_present(name + 1, strlen(name)), name + 1,
		     O_RDWR | O_CREAT | O_EXCL) < 0)
		fail("a name in a file does not open");
	queue_close(&queue);
	expect(raw_unlink(page_not_present(name + 1, strlen(name)), name + 1),
	       0, "unlink");

	expect(raw_open(&queue, unmapped(), NULL, O_RDWR | O_CREAT), -EFAULT,
	       "open, no name");
	expect(raw_unlink(NULL, NULL), -EFAULT, "unlink, no name");
}

static void structures(struct queue *queue)
{
	struct call call;

	call_begin(&call, "mq_getsetattr");
	call_end(&call,
		 syscall(SYS_mq_getsetattr, queue->mqdes, NULL, unmapped()));
	expect(call.ret, -EFAULT, "getattr, unmapped");
	call_on_queue(&call, queue);
	truth_print(&call);

	call_begin(&call, "mq_getsetattr");
	call_end(&call, syscall(SYS_mq_getsetattr, queue->mqdes, NULL, NULL));
	expect(call.ret, 0, "getsetattr of nothing");
	call_on_queue(&call, queue);
	truth_print(&call);

	call_begin(&call, "mq_notify");
	call_end(&call, syscall(SYS_mq_notify, queue->mqdes, unmapped()));
	expect(call.ret, -EFAULT, "notify, unmapped");
	call_on_queue(&call, queue);
	call.depth = -1;
	truth_print(&call);
}

#ifdef __x86_64__
/* A 64-bit process may enter the kernel like a 32-bit one if its pointers fit. */
static long int80(long number, long a, long b, long c, long d, long e)
{
	long ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory", "r8", "r9", "r10", "r11");
	/* Sign-extends the kernel's 32-bit result. */
	return (int)ret;
}

static void thirty_two_bit_entry(struct queue *queue)
{
	struct low {
		char body[QUEUE_MESSAGE_SIZE];
		unsigned int priority;
		int32_t timeout[2];
	} *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct call call;
	long ret;

	if (low == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	low->timeout[0] = 77;
	low->timeout[1] = 88;
	call_begin(&call, "mq_timedreceive_time32");
	ret = int80(280, queue->mqdes, (long)low->body, sizeof(low->body),
		    (long)&low->priority, (long)low->timeout);
	call_end(&call, 0);
	call.abi = "i386";
	call.ret = ret;
	expect(ret, -ETIMEDOUT, "receive through int 0x80");
	call.transfers = true;
	call.msg_len = sizeof(low->body);
	call.priority_asked = true;
	call_with_timeout(&call,
			  &(struct timespec){ .tv_sec = 77, .tv_nsec = 88 });
	call_on_queue(&call, queue);
	call.nonblocking = queue->nonblocking;
	truth_print(&call);

	call_begin(&call, "mq_timedsend_time32");
	ret = int80(279, queue->mqdes, (long)low->body, 26, 8, 0);
	call_end(&call, 0);
	call.abi = "i386";
	call.ret = ret;
	expect(ret, 0, "send through int 0x80");
	queue_pushed(queue, 8, false, 0);
	call.transfers = true;
	call.msg_len = 26;
	call.priority_known = true;
	call.priority = 8;
	call_on_queue(&call, queue);
	call.nonblocking = queue->nonblocking;
	truth_print(&call);
	expect(call_receive(queue, low->body, sizeof(low->body), NULL), 26,
	       "receive");
}
#endif

int scenario_odd(int argc, char **argv)
{
	struct queue queue;

	(void)argc, (void)argv;
	queue_create(&queue, ".odd", O_RDWR);
	bad_pointers(&queue);
	odd_lengths(&queue);
	missing_pages(&queue);
	names();
	structures(&queue);
#ifdef __x86_64__
	thirty_two_bit_entry(&queue);
#endif
	queue_destroy(&queue);
	return 0;
}
