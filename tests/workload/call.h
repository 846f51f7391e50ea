/* SPDX-License-Identifier: Apache-2.0 */
/* One system call as this program made it: what it asked, what the kernel answered, and when. */
#ifndef MQWORK_CALL_H
#define MQWORK_CALL_H

#include <mqueue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "queue.h"

/* What the kernel returns from a wait that a signal ended. User space never sees it. */
#define KERNEL_ERESTARTSYS 512

#if defined(__x86_64__)
#define ABI_NAME "x86_64"
#elif defined(__i386__)
#define ABI_NAME "i386"
#elif defined(__aarch64__)
#define ABI_NAME "aarch64"
#elif defined(__arm__)
#define ABI_NAME "arm"
#else
#error "this ABI has no name in the contract"
#endif

/* What glibc calls in this ABI as long as the timeout fits the ABI's own time_t. */
#if defined(__LP64__)
#define OP_SEND "mq_timedsend"
#define OP_RECEIVE "mq_timedreceive"
#else
#define OP_SEND "mq_timedsend_time32"
#define OP_RECEIVE "mq_timedreceive_time32"
#endif
#define OP_SEND_TIME64 "mq_timedsend_time64"
#define OP_RECEIVE_TIME64 "mq_timedreceive_time64"

struct call {
	const char *op; /* messaging.operation.name */
	const char *abi;
	pid_t pid, tid;
	char comm[16];

	/* Only for a send or a receive. */
	bool transfers;
	uint64_t msg_len;
	bool priority_known; /* the message's own, whether or not the caller asked for it */
	bool priority_asked; /* receive: the caller passed a pointer for it */
	unsigned int priority;
	bool timed;
	int64_t timeout_sec, timeout_nsec;
	bool message_known;
	uint64_t
		message; /* identity of the message: the first eight bytes of its body */

	uint64_t cause; /* a send: the message it is for the sake of, or 0 */

	/* The published span that the call is made for, as a traceparent, or NULL. */
	const char *traceparent;

	/* Only where the call takes or returns a descriptor. */
	bool has_mqdes;
	int mqdes;

	/* Only where the queue is known. */
	const char *queue;
	bool has_limits;
	long max_messages, max_message_size;
	int nonblocking; /* -1: not known */
	bool unlinked; /* by the return */
	long depth; /* messages queued at the return; -1: not deterministic */

	/* Only for mq_open and mq_notify. */
	bool opens;
	int oflag;
	unsigned int mode;
	const char *notify;
	int notify_signal; /* -1: none */

	long ret; /* the kernel's: a negative errno on failure */
	const char
		*error_name; /* of the signal of death, or NULL: that of ret */
	bool reentered; /* interrupted, and entered again by the kernel */
	bool restarted;
	int64_t start_ns, end_ns; /* CLOCK_REALTIME around the call */
};

/* The message for whose sake the thread's next send is made, or 0. */
extern _Thread_local uint64_t send_cause;

/* What the thread publishes now (tests/context), or NULL. */
extern _Thread_local const char *thread_traceparent;

int64_t realtime_ns(void);
pid_t thread_id(void);

/* Fills in the caller and notes the time: make the call right after this. */
void call_begin(struct call *call, const char *op);
/* Notes the time and the result: libc_ret is -1 on failure, with errno. */
void call_end(struct call *call, long libc_ret);
void call_on_queue(struct call *call, const struct queue *queue);
void call_with_timeout(struct call *call, const struct timespec *timeout);

/* The calls through glibc. Each prints its line of truth and returns what the kernel returned. */
long call_open(struct queue *queue, const char *name, int oflag, mode_t mode,
	       const struct mq_attr *attr);
long call_unlink(const char *name);
long call_send(struct queue *queue, const void *body, size_t body_size,
	       unsigned int priority, const struct timespec *timeout);
long call_receive(struct queue *queue, void *buffer, size_t buffer_size,
		  const struct timespec *timeout);
long call_getsetattr(struct queue *queue, const struct mq_attr *newattr);
long call_notify(struct queue *queue, int notify, int signal);
long call_notify_none(struct queue *queue);

#endif
