// SPDX-License-Identifier: Apache-2.0
/*
 * warehouse: a 32-bit program that orders starts. glibc's mq_timedreceive() is
 * the system call mq_timedreceive_time32 here.
 */
#include <errno.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>

#include "demo.h"

int main(void)
{
	mqd_t orders = mq_open(ORDERS, O_RDONLY),
	      acks = mq_open(ACKS, O_WRONLY);
	unsigned int priority = 0;
	char order[MESSAGE_SIZE], ack[MESSAGE_SIZE + 8];
	struct timespec by;
	ssize_t size;
	int ack_size;

	if (orders < 0 || acks < 0) {
		perror("warehouse: mq_open");
		return 1;
	}
	for (;;) {
		by = from_now_ms(700);
		size = mq_timedreceive(orders, order, sizeof(order), &priority,
				       &by);
		if (size < 0 && errno == ETIMEDOUT)
			continue;
		if (size < 0)
			return 1;
		if (priority == CLOSING)
			return 0;
		pause_ms(priority == EXPRESS ? 20 : 80);
		ack_size = snprintf(ack, sizeof(ack), "done %.*s", (int)size,
				    order);
		mq_send(acks, ack, (size_t)ack_size, priority);
	}
}
