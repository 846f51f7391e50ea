// SPDX-License-Identifier: Apache-2.0
/* execve() ends every other thread of its process, whatever it is waiting for. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"
#include "victim.h"

/* Executes a program; the kernel gives this thread the id of the process. */
static void *execute(void *argument)
{
	struct victim *victim = argument;
	char program[PATH_MAX];
	ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);

	if (size < 0)
		fail("/proc/self/exe: %s", strerror(errno));
	program[size] = '\0';
	while (sem_wait(&victim->begins))
		;
	await_blocked(getpid(), victim->call.tid);
	execl(program, program, "--truth", truth_path, "--prefix",
	      option_prefix, "executed", (char *)NULL);
	fail("%s: %s", program, strerror(errno));
}

/* One thread of a process waits, another calls execve(). */
static void execute_beside(struct victim *victim, bool leader_waits)
{
	pid_t child = start_process();
	pthread_t thread;

	if (child == 0) {
		if (pthread_create(&thread, NULL,
				   leader_waits ? execute : victim_waits,
				   victim))
			fail("no thread");
		if (leader_waits)
			victim_waits(victim);
		else
			execute(victim);
	}
	wait_for_process(child);
	victim_print(victim, "SIGKILL");
}

int scenario_exec(int argc, char **argv)
{
	struct victim *victim;
	struct queue queue;

	(void)argc, (void)argv;
	queue_create(&queue, ".exec", O_RDWR);
	victim = victim_new(&queue);
	execute_beside(victim, false);
	execute_beside(victim, true);
	call_getsetattr(&queue, NULL);
	queue_destroy(&queue);
	return 0;
}

/* The program after execve(). It uses its own queue, so that its calls can be told apart. */
int scenario_executed(int argc, char **argv)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'x' };
	struct queue queue;

	(void)argc, (void)argv;
	queue_create(&queue, ".executed", O_RDWR);
	if (call_send(&queue, body, 14, 3, NULL) ||
	    call_receive(&queue, body, sizeof(body), NULL) < 0)
		fail("a call after execve() failed");
	queue_destroy(&queue);
	return 0;
}
