// SPDX-License-Identifier: Apache-2.0
/*
 * orders WAREHOUSE: a 64-bit shop. It starts the program WAREHOUSE, sends
 * orders to it and waits for the replies, and makes two mistakes on the way.
 * Ends after about ten seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

static mqd_t orders, acks;

static mqd_t create(const char *name)
{
	struct mq_attr attr = { .mq_maxmsg = 8, .mq_msgsize = MESSAGE_SIZE };
	mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);

	if (queue < 0) {
		fprintf(stderr, "orders: mq_open %s: %s\n", name,
			strerror(errno));
		exit(1);
	}
	return queue;
}

static void place(int number, enum priority priority)
{
	struct timespec by = from_now_ms(500);
	char order[MESSAGE_SIZE];
	int size = snprintf(order, sizeof(order), "order %d", number);

	mq_timedsend(orders, order, (size_t)size, priority, &by);
}

static void await_ack(long patience_ms)
{
	struct timespec by = from_now_ms(patience_ms);
	char ack[MESSAGE_SIZE];

	mq_timedreceive(acks, ack, sizeof(ack), NULL, &by);
}

static void place_too_much(void)
{
	char order[MESSAGE_SIZE * 2] = "one of everything";

	/* Fails with EMSGSIZE. */
	mq_send(orders, order, sizeof(order), STANDARD);
}

int main(int argc, char **argv)
{
	int status;
	pid_t child;

	if (argc != 2) {
		fputs("usage: orders WAREHOUSE\n", stderr);
		return 2;
	}
	/* As root: private queues, even if queues with these names exist. */
	unshare(CLONE_NEWIPC);
	orders = create(ORDERS);
	acks = create(ACKS);
	child = fork();
	if (child == 0) {
		execl(argv[1], argv[1], (char *)NULL);
		_exit(127);
	}

	for (int round = 0; round < 9; round++) {
		place(3 * round, STANDARD);
		place(3 * round + 1, STANDARD);
		place(3 * round + 2, EXPRESS);
		for (int i = 0; i < 3; i++)
			await_ack(1000);
		if (round == 2)
			place_too_much();
		if (round == 4)
			await_ack(200); /* nothing is due: ETIMEDOUT */
		pause_ms(900);
	}
	mq_send(orders, "closing", 7, CLOSING);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		status = 1;
	mq_close(orders);
	mq_close(acks);
	mq_unlink(ORDERS);
	mq_unlink(ACKS);
	return status == 0 ? 0 : 1;
}
