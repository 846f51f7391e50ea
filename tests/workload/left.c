// SPDX-License-Identifier: Apache-2.0
/* A queue that outlives the program. */
#include "call.h"
#include "mqwork.h"

/* left: fills a queue and leaves it behind. */
int scenario_left(int argc, char **argv)
{
	char body[QUEUE_MESSAGE_SIZE] = { 'l' };
	struct queue queue;

	(void)argc;
	(void)argv;
	queue_create(&queue, ".left", O_RDWR);
	for (long i = 0; i < QUEUE_MAX_MESSAGES; i++)
		if (call_send(&queue, body, 10, 1, NULL))
			fail("send %ld failed", i);
	queue_close(&queue);
	return 0;
}
