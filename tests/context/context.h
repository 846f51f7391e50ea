/* SPDX-License-Identifier: Apache-2.0 */
/* What a program with an OpenTelemetry SDK publishes: OTEP 4719 and 4947. */
#ifndef CONTEXT_H
#define CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

/* Thread-Local Context Record, without attributes. */
struct record {
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t valid;
	uint8_t flags;
	uint16_t attributes_size;
} __attribute__((packed, aligned(2)));

/* Sets the thread's variable: writer.c, in the executable or in a library. */
typedef void attach_function(struct record *record);
attach_function context_attach;

/* The header of a process context, and what can be wrong with it. */
struct published {
	char signature[8];
	uint32_t version;
	uint32_t payload_size;
	uint64_t published_at_ns;
	void *payload;
};

/* Publishes the resource of this process, and that its threads publish spans. */
struct published *context_publish(const char *service, const char *schema);

#endif
