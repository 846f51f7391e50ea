// SPDX-License-Identifier: Apache-2.0
/*
 * Handlers that leave a receive by a jump. The next receive has the same
 * arguments but is not a restart.
 */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

static sigjmp_buf out;
static sem_t begins, handled;
static _Atomic int64_t handled_ns;
static pthread_t receiver;
static pid_t receiver_tid;

static void jump(int signal)
{
	(void)signal;
	handled_ns = realtime_ns();
	siglongjmp(out, 1);
}

static void come_back(int signal)
{
	(void)signal;
	handled_ns = realtime_ns();
	sem_post(&handled);
}

/* Another handler runs inside this one and returns: to this one, not to the call. */
static void jump_after_another(int signal)
{
	int64_t when_ns = realtime_ns();

	(void)signal;
	raise(SIGUSR2);
	handled_ns = when_ns;
	siglongjmp(out, 1);
}

static void *interrupt(void *argument)
{
	(void)argument;
	while (sem_wait(&begins))
		;
	await_blocked(getpid(), receiver_tid);
	pthread_kill(receiver, SIGUSR1);
	return NULL;
}

/* Sends once the restarted receive waits. */
static void *interrupt_and_send(void *argument)
{
	char body[] = "a message";
	struct queue *queue = argument;

	interrupt(NULL);
	while (sem_wait(&handled))
		;
	await_blocked(getpid(), receiver_tid);
	if (call_send(queue, body, sizeof(body), 2, NULL))
		fail("a send failed");
	return NULL;
}

/* All receives are made here, so that they have the same arguments. */
static long receive_here(struct queue *queue, struct call *call)
{
	static char body[QUEUE_MESSAGE_SIZE];
	static unsigned int priority;

	call_begin(call, OP_RECEIVE);
	sem_post(&begins);
	call_end(call, mq_receive(queue->mqdes, body, sizeof(body), &priority));
	call->transfers = true;
	call->msg_len = sizeof(body);
	call->priority_asked = true;
	call_on_queue(call, queue);
	call->nonblocking = queue->nonblocking;
	call->priority_known = call->ret >= 0;
	call->priority = priority;
	call->message_known = call->ret >= 0;
	memcpy(&call->message, body, sizeof(call->message));
	return call->ret;
}

/* Prints the line of a receive that a handler ended at handled_ns. */
static void print_interrupted(const struct call *begun, struct queue *queue)
{
	struct call call = *begun;

	call.ret = -KERNEL_ERESTARTSYS;
	call.reentered = true;
	call.end_ns = handled_ns;
	call.transfers = true;
	call.msg_len = QUEUE_MESSAGE_SIZE;
	call.priority_asked = true;
	call.priority_known = call.message_known = false;
	call_on_queue(&call, queue);
	call.nonblocking = queue->nonblocking;
	truth_print(&call);
}

static void handle_by(void (*handler)(int), int signal)
{
	struct sigaction action = { .sa_handler = handler,
				    .sa_flags = SA_RESTART };

	sigaction(signal, &action, NULL);
}

/* A receive that the handler jumps out of, then one that finds a message. */
static void leave_and_receive(struct queue *queue, void (*handler)(int))
{
	char body[] = "left behind";
	static struct call call;
	pthread_t thread;

	handle_by(handler, SIGUSR1);
	while (!sem_trywait(&begins))
		;
	if (pthread_create(&thread, NULL, interrupt, NULL))
		fail("no thread");
	if (!sigsetjmp(out, 1)) {
		receive_here(queue, &call);
		fail("the handler did not jump");
	}
	pthread_join(thread, NULL);
	print_interrupted(&call, queue);
	if (call_send(queue, body, sizeof(body), 2, NULL))
		fail("a send failed");
	if (receive_here(queue, &call) < 0)
		fail("a receive failed");
	truth_print(&call);
}

int scenario_jumped(int argc, char **argv)
{
	struct call call;
	struct queue queue;
	pthread_t thread;

	(void)argc, (void)argv;
	sem_init(&begins, 0, 0);
	sem_init(&handled, 0, 0);
	receiver = pthread_self();
	receiver_tid = thread_id();
	queue_create(&queue, ".jumped", O_RDWR);
	queue.depth = -1;
	handle_by(come_back, SIGUSR2);
	leave_and_receive(&queue, jump);
	leave_and_receive(&queue, jump_after_another);

	/* A receive of the same thread that is restarted. */
	handle_by(come_back, SIGUSR1);
	while (!sem_trywait(&begins) || !sem_trywait(&handled))
		;
	if (pthread_create(&thread, NULL, interrupt_and_send, &queue))
		fail("no thread");
	if (receive_here(&queue, &call) < 0)
		fail("a receive failed");
	pthread_join(thread, NULL);
	print_interrupted(&call, &queue);
	call.start_ns = handled_ns;
	call.restarted = true;
	truth_print(&call);
	queue_destroy(&queue);
	return 0;
}
