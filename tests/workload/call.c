// SPDX-License-Identifier: Apache-2.0
#include "call.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mqwork.h"

_Thread_local uint64_t send_cause;
_Thread_local const char *thread_traceparent;

int64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

pid_t thread_id(void)
{
	return (pid_t)syscall(SYS_gettid);
}

void call_begin(struct call *call, const char *op)
{
	*call = (struct call){
		.op = op,
		.abi = ABI_NAME,
		.pid = getpid(),
		.tid = thread_id(),
		.nonblocking = -1,
		.depth = -1,
		.notify_signal = -1,
		.traceparent = thread_traceparent,
	};
	prctl(PR_GET_NAME, call->comm);
	call->start_ns = realtime_ns();
}

void call_end(struct call *call, long libc_ret)
{
	int error = errno;

	call->end_ns = realtime_ns();
	call->ret = libc_ret == -1 ? -error : libc_ret;
	if (call->ret == -EINTR)
		call->ret = -KERNEL_ERESTARTSYS;
}

void call_on_queue(struct call *call, const struct queue *queue)
{
	call->has_mqdes = true;
	call->mqdes = queue->mqdes;
	if (!queue->known)
		return;
	call->queue = queue->name;
	call->has_limits = true;
	call->max_messages = queue->max_messages;
	call->max_message_size = queue->max_message_size;
	call->depth = queue->depth;
	call->unlinked = queue->unlinked;
}

void call_with_timeout(struct call *call, const struct timespec *timeout)
{
	if (!timeout)
		return;
	call->timed = true;
	call->timeout_sec = timeout->tv_sec;
	call->timeout_nsec = timeout->tv_nsec;
}

long call_open(struct queue *queue, const char *name, int oflag, mode_t mode,
	       const struct mq_attr *attr)
{
	struct mq_attr now;
	struct call call;
	mqd_t mqdes;

	memset(queue, 0, sizeof(*queue));
	strncpy(queue->name, name, sizeof(queue->name) - 1);
	call_begin(&call, "mq_open");
	if (oflag & O_CREAT)
		mqdes = mq_open(name, oflag, mode, attr);
	else
		mqdes = mq_open(name, oflag);
	call_end(&call, mqdes);
	call.opens = true;
	call.oflag = oflag;
	call.mode = oflag & O_CREAT ? mode : 0;
	call.queue = name;
	queue->mqdes = mqdes;
	if (mqdes >= 0) {
		queue->known = true;
		queue->nonblocking = oflag & O_NONBLOCK;
		/* A new queue has the limits that were asked for; an existing one is asked. */
		if (attr && oflag & O_EXCL) {
			queue->max_messages = attr->mq_maxmsg;
			queue->max_message_size = attr->mq_msgsize;
		} else {
			struct call get;

			call_begin(&get, "mq_getsetattr");
			call_end(&get, mq_getattr(mqdes, &now));
			queue->max_messages = now.mq_maxmsg;
			queue->max_message_size = now.mq_msgsize;
			queue->depth = now.mq_curmsgs;
			call_on_queue(&call, queue);
			call_on_queue(&get, queue);
			/* Others may use the queue between the kernel's answer and the return. */
			get.depth = -1;
			call.depth = -1;
			truth_print(&call);
			truth_print(&get);
			return call.ret;
		}
		call_on_queue(&call, queue);
		call.depth = -1;
	}
	truth_print(&call);
	return call.ret;
}

long call_unlink(const char *name)
{
	struct call call;

	call_begin(&call, "mq_unlink");
	call_end(&call, mq_unlink(name));
	call.queue = name;
	truth_print(&call);
	return call.ret;
}

/* Every body that has room for it starts with a unique number. */
static uint64_t stamp_message(void *body)
{
	static atomic_uint_fast32_t count;
	uint64_t message = (uint64_t)getpid() << 24 | ++count;

	memcpy(body, &message, sizeof(message));
	return message;
}

long call_send(struct queue *queue, const void *body, size_t body_size,
	       unsigned int priority, const struct timespec *timeout)
{
	unsigned char stamped[QUEUE_MESSAGE_SIZE];
	uint64_t message = 0;
	bool message_known =
		body_size >= sizeof(message) && body_size <= sizeof(stamped);
	struct call call;

	if (message_known) {
		memcpy(stamped, body, body_size);
		message = stamp_message(stamped);
		body = stamped;
	}
	call_begin(&call, OP_SEND);
	call_end(&call,
		 timeout ? mq_timedsend(queue->mqdes, body, body_size, priority,
					timeout) :
			   mq_send(queue->mqdes, body, body_size, priority));
	call.transfers = true;
	call.cause = send_cause;
	call.msg_len = body_size;
	call.priority_known = true;
	call.priority = priority;
	call_with_timeout(&call, timeout);
	if (call.ret == 0) {
		queue_pushed(queue, priority, message_known, message);
		call.message_known = message_known;
		call.message = message;
	}
	call_on_queue(&call, queue);
	call.nonblocking = queue->known ? queue->nonblocking : -1;
	truth_print(&call);
	return call.ret;
}

long call_receive(struct queue *queue, void *buffer, size_t buffer_size,
		  const struct timespec *timeout)
{
	unsigned int priority = 0;
	struct call call;
	int next;

	call_begin(&call, OP_RECEIVE);
	call_end(&call,
		 timeout ? mq_timedreceive(queue->mqdes, buffer, buffer_size,
					   &priority, timeout) :
			   mq_receive(queue->mqdes, buffer, buffer_size,
				      &priority));
	call.transfers = true;
	call.msg_len = buffer_size;
	call.priority_asked = true;
	call_with_timeout(&call, timeout);
	if (call.ret >= 0) {
		next = queue_next(queue);
		if (next >= 0 && queue->messages[next].priority != priority)
			fail("received priority %u, not %u", priority,
			     queue->messages[next].priority);
		call.priority_known = true;
		call.priority = priority;
		if (call.ret >= (long)sizeof(call.message)) {
			call.message_known = true;
			memcpy(&call.message, buffer, sizeof(call.message));
		}
		queue_popped(queue);
	}
	call_on_queue(&call, queue);
	call.nonblocking = queue->known ? queue->nonblocking : -1;
	truth_print(&call);
	return call.ret;
}

long call_getsetattr(struct queue *queue, const struct mq_attr *newattr)
{
	struct mq_attr old = { 0 };
	struct call call;

	call_begin(&call, "mq_getsetattr");
	call_end(&call, newattr ? mq_setattr(queue->mqdes, newattr, &old) :
				  mq_getattr(queue->mqdes, &old));
	if (call.ret == 0 && queue->known && queue->depth >= 0 &&
	    old.mq_curmsgs != queue->depth)
		fail("%ld messages are queued, not %ld", old.mq_curmsgs,
		     queue->depth);
	if (call.ret == 0 && newattr)
		queue->nonblocking = newattr->mq_flags & O_NONBLOCK;
	call_on_queue(&call, queue);
	truth_print(&call);
	return call.ret;
}

static long notify(struct queue *queue, const struct sigevent *event,
		   const char *name)
{
	struct call call;

	call_begin(&call, "mq_notify");
	call_end(&call, mq_notify(queue->mqdes, event));
	call.notify = name;
	if (event && event->sigev_notify == SIGEV_SIGNAL)
		call.notify_signal = event->sigev_signo;
	call_on_queue(&call, queue);
	call.depth = -1;
	truth_print(&call);
	return call.ret;
}

long call_notify(struct queue *queue, int kind, int signal)
{
	struct sigevent event = { .sigev_notify = kind, .sigev_signo = signal };

	return notify(queue, &event,
		      kind == SIGEV_SIGNAL ? "SIGEV_SIGNAL" : "SIGEV_NONE");
}

long call_notify_none(struct queue *queue)
{
	return notify(queue, NULL, "none");
}
