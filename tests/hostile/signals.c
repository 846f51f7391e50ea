// SPDX-License-Identifier: Apache-2.0
/* Calls that end in every way except by themselves. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define THREADS 4
#define SIGNALS 100
#define STOPS 10

static sigjmp_buf out_of_handler;
static pthread_t first_thread;
static volatile sig_atomic_t may_jump;

static void handle(int signal)
{
	(void)signal;
	if (may_jump && pthread_equal(pthread_self(), first_thread))
		siglongjmp(out_of_handler, 1);
}

static void *receive_again_and_again(void *queue)
{
	char body[64];

	for (;;) {
		count_calls(1);
		receive_message(*(int *)queue, body, sizeof(body));
	}
	return NULL;
}

/* Is interrupted until it is killed. On every second turn a handler may jump out of the call. */
static _Noreturn void be_interrupted(int queue, unsigned long turn)
{
	struct sigaction action = {
		.sa_handler = handle,
		.sa_flags = turn % 2 ? SA_RESTART : 0,
	};
	pthread_attr_t attr;

	first_thread = pthread_self();
	sigaction(SIGUSR1, &action, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN);
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;

		if (pthread_create(&thread, &attr, receive_again_and_again,
				   &queue))
			fail("no thread");
	}
	sigsetjmp(out_of_handler, 1);
	may_jump = turn % 4 > 1;
	receive_again_and_again(&queue);
	_exit(1);
}

static void interrupt(pid_t child)
{
	for (int i = 0; i < SIGNALS && !time_is_up(); i++) {
		kill(child, SIGUSR1);
		sched_yield();
	}
	for (int i = 0; i < STOPS && !time_is_up(); i++) {
		kill(child, SIGSTOP);
		kill(child, SIGUSR1);
		kill(child, SIGCONT);
		sleep_ms(1);
	}
}

static void storm(long worker)
{
	char name[64];
	long queue;

	snprintf(name, sizeof(name), "hostile-%d-%ld", getppid(), worker);
	queue = open_queue(name, O_RDWR, 1, 64);
	if (queue < 0)
		fail("mq_open %s: %s", name, strerror(errno));
	unlink_queue(name);
	for (unsigned long turn = 0; !time_is_up(); turn++) {
		pid_t child = start();

		if (child == 0)
			be_interrupted((int)queue, turn);
		/* The handler is in place once the child sleeps in its call. */
		sleep_ms(5);
		interrupt(child);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

int attack_signals(void)
{
	return run_workers(storm);
}
