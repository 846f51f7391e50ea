// SPDX-License-Identifier: Apache-2.0
#include "raw.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mqwork.h"

#if defined(__LP64__)
#define NR_MQ_TIMEDSEND SYS_mq_timedsend
#define NR_MQ_TIMEDRECEIVE SYS_mq_timedreceive
#elif defined(__i386__)
#define NR_MQ_TIMEDSEND 279
#define NR_MQ_TIMEDRECEIVE 280
#else
#define NR_MQ_TIMEDSEND 276
#define NR_MQ_TIMEDRECEIVE 277
#endif

static void call_with_value(struct call *call,
			    const struct raw_transfer *transfer)
{
	if (!transfer->timeout_value)
		return;
	call->timed = true;
	call->timeout_sec = transfer->timeout_value->tv_sec;
	call->timeout_nsec = transfer->timeout_value->tv_nsec;
}

static long do_send(struct queue *queue, const struct raw_transfer *transfer,
		    const char *op, long number)
{
	struct call call;

	call_begin(&call, op);
	call_end(&call, syscall(number, queue->mqdes, transfer->body,
				transfer->body_size, transfer->priority,
				transfer->timeout));
	call.transfers = true;
	call.msg_len = transfer->body_size;
	call.priority_known = true;
	call.priority = (unsigned int)transfer->priority;
	call_with_value(&call, transfer);
	if (call.ret == 0)
		queue_pushed(queue, call.priority, false, 0);
	call_on_queue(&call, queue);
	call.nonblocking = queue->known ? queue->nonblocking : -1;
	truth_print(&call);
	return call.ret;
}

static long do_receive(struct queue *queue, const struct raw_transfer *transfer,
		       const char *op, long number)
{
	int next = queue_next(queue);
	struct call call;

	call_begin(&call, op);
	call_end(&call, syscall(number, queue->mqdes, transfer->body,
				transfer->body_size, transfer->priority,
				transfer->timeout));
	call.transfers = true;
	call.msg_len = transfer->body_size;
	call.priority_asked = transfer->priority != 0;
	call_with_value(&call, transfer);
	if (call.ret >= 0 && next >= 0) {
		call.priority_known = true;
		call.priority = queue->messages[next].priority;
	} else if (call.ret >= 0 && transfer->priority) {
		call.priority_known = true;
		call.priority = *(unsigned int *)transfer->priority;
	}
	if ((call.ret >= 0 || transfer->message_lost) && next >= 0) {
		call.message_known = queue->messages[next].message_known;
		call.message = queue->messages[next].message;
	}
	if (call.ret >= 0 || transfer->message_lost)
		queue_popped(queue);
	call_on_queue(&call, queue);
	call.nonblocking = queue->known ? queue->nonblocking : -1;
	truth_print(&call);
	return call.ret;
}

long raw_send(struct queue *queue, const struct raw_transfer *transfer)
{
	return do_send(queue, transfer, OP_SEND, NR_MQ_TIMEDSEND);
}

long raw_receive(struct queue *queue, const struct raw_transfer *transfer)
{
	return do_receive(queue, transfer, OP_RECEIVE, NR_MQ_TIMEDRECEIVE);
}

#if defined(NR_MQ_TIMEDSEND_TIME64)
long raw_send_time64(struct queue *queue, const struct raw_transfer *transfer)
{
	return do_send(queue, transfer, OP_SEND_TIME64, NR_MQ_TIMEDSEND_TIME64);
}

long raw_receive_time64(struct queue *queue,
			const struct raw_transfer *transfer)
{
	return do_receive(queue, transfer, OP_RECEIVE_TIME64,
			  NR_MQ_TIMEDRECEIVE_TIME64);
}
#endif

void *page_not_present(const void *bytes, size_t size)
{
	char path[] = "/tmp/mqwork.XXXXXX";
	int fd = mkstemp(path);
	void *page;

	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		fail("%s: %s", path, strerror(errno));
	unlink(path);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	if (page == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return page;
}

long raw_open(struct queue *queue, const void *name, const char *known,
	      int oflag)
{
	struct mq_attr attr = {
		.mq_maxmsg = QUEUE_MAX_MESSAGES,
		.mq_msgsize = QUEUE_MESSAGE_SIZE,
	};
	struct call call;

	memset(queue, 0, sizeof(*queue));
	call_begin(&call, "mq_open");
	call_end(&call, syscall(SYS_mq_open, name, oflag, 0600, &attr));
	call.opens = true;
	call.oflag = oflag;
	call.mode = 0600;
	queue->mqdes = (int)call.ret;
	if (known)
		snprintf(queue->name, sizeof(queue->name), "/%s", known);
	if (call.ret >= 0) {
		queue->known = true;
		queue->max_messages = attr.mq_maxmsg;
		queue->max_message_size = attr.mq_msgsize;
		call_on_queue(&call, queue);
		call.depth = -1;
	} else if (known) {
		call.queue = queue->name;
	}
	truth_print(&call);
	return call.ret;
}

long raw_unlink(const void *name, const char *known)
{
	char with_slash[QUEUE_NAME_SIZE];
	struct call call;

	call_begin(&call, "mq_unlink");
	call_end(&call, syscall(SYS_mq_unlink, name));
	if (known) {
		snprintf(with_slash, sizeof(with_slash), "/%s", known);
		call.queue = with_slash;
	}
	truth_print(&call);
	return call.ret;
}
