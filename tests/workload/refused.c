// SPDX-License-Identifier: Apache-2.0
/* Calls that the kernel refuses before they begin. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

/* From here on seccomp answers each mq_unlink of this process with EPERM. */
static void refuse_unlink(void)
{
	struct sock_filter instructions[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mq_unlink, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(instructions) / sizeof(instructions[0]),
		.filter = instructions,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		fail("seccomp refuses a filter");
}

/*
 * refused N: N calls that seccomp refuses, between two that it lets pass. The
 * refused ones have no line of truth.
 */
int scenario_refused(int argc, char **argv)
{
	long count = argument_count(argc, argv, 0, 1000);
	struct queue queue;
	pid_t child;

	queue_create(&queue, ".refused", O_RDWR);
	child = start_process();
	if (child == 0) {
		refuse_unlink();
		call_getsetattr(&queue, NULL);
		for (long i = 0; i < count; i++)
			if (syscall(SYS_mq_unlink, "x") != -1 || errno != EPERM)
				fail("mq_unlink %ld was not refused", i);
		call_getsetattr(&queue, NULL);
		_exit(0);
	}
	wait_for_process(child);
	queue_destroy(&queue);
	return 0;
}
