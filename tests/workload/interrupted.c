// SPDX-License-Identifier: Apache-2.0
/* Blocked receives that a signal interrupts, restarts or ends. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"
#include "victim.h"

/* When the handler last ran: the interrupted call is over, and its restart has not begun yet. */
static _Atomic int64_t handled_ns;
static sem_t handled;

static void handle(int signal)
{
	(void)signal;
	handled_ns = realtime_ns();
	sem_post(&handled);
}

struct waiter {
	pthread_t thread;
	struct queue queue;
	sem_t begins;
	pid_t tid;
	struct call last;
};

/* A receive, with one line of truth for each entry into the kernel. */
static void *wait_for_message(void *argument)
{
	struct waiter *waiter = argument;
	char body[QUEUE_MESSAGE_SIZE];
	struct call call, first;
	unsigned int priority;

	waiter->tid = thread_id();
	handled_ns = 0;
	call_begin(&call, OP_RECEIVE);
	sem_post(&waiter->begins);
	call_end(&call, mq_receive(waiter->queue.mqdes, body, sizeof(body),
				   &priority));
	call.transfers = true;
	call.msg_len = sizeof(body);
	call.priority_asked = true;
	call_on_queue(&call, &waiter->queue);
	call.nonblocking = waiter->queue.nonblocking;
	if (call.ret >= 0 && handled_ns) {
		first = call;
		first.ret = -KERNEL_ERESTARTSYS;
		first.reentered = true;
		first.end_ns = handled_ns;
		truth_print(&first);
		call.start_ns = handled_ns;
		call.restarted = true;
	}
	if (call.ret >= 0) {
		call.priority_known = true;
		call.priority = priority;
		call.message_known = true;
		memcpy(&call.message, body, sizeof(call.message));
	}
	truth_print(&call);
	return NULL;
}

static void start_waiter(struct waiter *waiter, const struct queue *queue)
{
	queue_share(&waiter->queue, queue);
	sem_init(&waiter->begins, 0, 0);
	if (pthread_create(&waiter->thread, NULL, wait_for_message, waiter))
		fail("no thread");
	sem_wait(&waiter->begins);
	await_blocked(getpid(), waiter->tid);
}

int scenario_interrupted(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = handle };
	char body[QUEUE_MESSAGE_SIZE] = { 'i' };
	struct waiter waiter;
	struct queue queue;

	(void)argc, (void)argv;
	sem_init(&handled, 0, 0);
	queue_create(&queue, ".interrupted", O_RDWR);
	queue.depth = -1;

	sigaction(SIGUSR1, &action, NULL);
	start_waiter(&waiter, &queue);
	pthread_kill(waiter.thread, SIGUSR1);
	pthread_join(waiter.thread, NULL);
	while (sem_wait(&handled) < 0)
		;

	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &action, NULL);
	start_waiter(&waiter, &queue);
	pthread_kill(waiter.thread, SIGUSR1);
	while (sem_wait(&handled) < 0)
		;
	await_blocked(getpid(), waiter.tid);
	if (call_send(&queue, body, 30, 6, NULL))
		fail("a send failed");
	pthread_join(waiter.thread, NULL);
	queue_destroy(&queue);
	return 0;
}

static void kill_blocked(struct victim *victim, int signal, const char *name)
{
	pid_t child = start_process();
	int status;

	if (child == 0)
		victim_waits(victim);
	sem_wait(&victim->begins);
	await_blocked(child, child);
	kill(child, signal);
	if (waitpid(child, &status, 0) < 0 || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != signal)
		fail("the child did not die of %s", name);
	victim_print(victim, name);
}

/* exit_group() ends the other threads as SIGKILL would. */
static void exit_beside_blocked(struct victim *victim)
{
	pthread_t thread;
	pid_t child = start_process();
	int status;

	if (child == 0) {
		if (pthread_create(&thread, NULL, victim_waits, victim))
			fail("no thread");
		while (sem_wait(&victim->begins))
			;
		await_blocked(getpid(), victim->call.tid);
		_exit(7);
	}
	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status) ||
	    WEXITSTATUS(status) != 7)
		fail("the child did not exit by itself");
	victim_print(victim, "SIGKILL");
}

static void cancel_blocked(struct victim *victim)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, victim_waits, victim))
		fail("no thread");
	sem_wait(&victim->begins);
	await_blocked(getpid(), victim->call.tid);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	/* glibc's handler of cancellations has SA_RESTART, and does not return. */
	victim->call.reentered = true;
	victim_print(victim, NULL);
}

int scenario_killed(int argc, char **argv)
{
	struct victim *victim;
	struct queue queue;

	(void)argc, (void)argv;
	queue_create(&queue, ".killed", O_RDWR);
	victim = victim_new(&queue);
	kill_blocked(victim, SIGKILL, "SIGKILL");
	kill_blocked(victim, SIGTERM, "SIGTERM");
	exit_beside_blocked(victim);
	cancel_blocked(victim);
	/* One more call, so that the last exit is not the end of everything. */
	call_getsetattr(&queue, NULL);
	queue_destroy(&queue);
	return 0;
}
