// SPDX-License-Identifier: Apache-2.0
/* The calls of 32-bit ABIs that take 64-bit times, with times beyond 2038. */
#include "raw.h"

#ifdef NR_MQ_TIMEDSEND_TIME64
#include <errno.h>

#include "mqwork.h"

static void expect(long ret, long expected, const char *what)
{
	if (ret != expected)
		fail("%s returned %ld, not %ld", what, ret, expected);
}

int scenario_time64(int argc, char **argv)
{
	static const struct timespec64 past = { 1, 2 },
				       beyond = { 4102444800, 123456789 },
				       negative = { -1, 0 },
				       nsec_too_big = { 4102444800,
							1000000000 };
	char body[QUEUE_MESSAGE_SIZE] = { '6' };
	unsigned int priority;
	struct raw_transfer send = { body, 28, 3, NULL, NULL, false };
	struct raw_transfer receive = {
		body, sizeof(body), (uintptr_t)&priority, NULL, NULL, false
	};
	struct queue queue;

	(void)argc, (void)argv;
	queue_create(&queue, ".time64", O_RDWR);
	expect(raw_send_time64(&queue, &send), 0, "send without a timeout");
	expect(raw_receive_time64(&queue, &receive), 28,
	       "receive without a timeout");

	receive.timeout = receive.timeout_value = &past;
	expect(raw_receive_time64(&queue, &receive), -ETIMEDOUT,
	       "receive in the past");
	receive.timeout = receive.timeout_value = &negative;
	expect(raw_receive_time64(&queue, &receive), -EINVAL,
	       "receive, negative");
	receive.timeout = receive.timeout_value = &nsec_too_big;
	expect(raw_receive_time64(&queue, &receive), -EINVAL,
	       "receive, bad nsec");

	send.timeout = send.timeout_value = &beyond;
	receive.timeout = receive.timeout_value = &beyond;
	expect(raw_send_time64(&queue, &send), 0, "send, 2100");
	expect(raw_receive_time64(&queue, &receive), 28, "receive, 2100");

	send.timeout = send.timeout_value = NULL;
	receive.timeout = receive.timeout_value = NULL;
	expect(raw_send(&queue, &send), 0, "time32 send");
	expect(raw_receive(&queue, &receive), 28, "time32 receive");
	queue_destroy(&queue);
	return 0;
}
#endif
