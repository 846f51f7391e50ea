// SPDX-License-Identifier: Apache-2.0
/* The process context of OTEP 4719, "Publication Protocol". */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "context.h"
#include "mqwork.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

#define SIZE 4096

/* Appends to a protobuf message: a field of bytes that are less than 128. */
static uint8_t *field(uint8_t *at, int number, const void *bytes, size_t size)
{
	*at++ = (uint8_t)(number << 3 | 2);
	*at++ = (uint8_t)size;
	memcpy(at, bytes, size);
	return at + size;
}

/* A KeyValue with a string. */
static uint8_t *pair(uint8_t *at, int number, const char *key,
		     const char *value)
{
	uint8_t any[128], both[256], *end;
	size_t any_size = (size_t)(field(any, 1, value, strlen(value)) - any);

	end = field(both, 1, key, strlen(key));
	end = field(end, 2, any, any_size);
	return field(at, number, both, (size_t)(end - both));
}

struct published *context_publish(const char *service, const char *schema)
{
	uint8_t resource[512], *end = resource, *at;
	struct published *header;
	struct timespec now;
	int fd = (int)memfd_create("OTEL_CTX", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, SIZE))
		fail("ftruncate");
	header = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		      fd >= 0 ? MAP_PRIVATE : MAP_PRIVATE | MAP_ANONYMOUS, fd,
		      0);
	if (header == MAP_FAILED)
		fail("mmap");
	if (fd >= 0)
		close(fd);
	madvise(header, SIZE, MADV_DONTFORK);
	end = pair(end, 1, "service.name", service);
	end = pair(end, 1, "service.instance.id", "instance-of-the-sdk");
	end = pair(end, 1, "deployment.environment.name", "test");
	end = pair(end, 1, "process.pid", "not for it to say");
	at = (uint8_t *)(header + 1);
	header->payload = at;
	/* Its length does not fit the one byte of field(). */
	*at++ = 1 << 3 | 2;
	*at++ = (uint8_t)((end - resource) & 0x7f) | 0x80;
	*at++ = (uint8_t)((end - resource) >> 7);
	memcpy(at, resource, (size_t)(end - resource));
	at += end - resource;
	at = pair(at, 2, "threadlocal.schema_version", schema);
	header->payload_size = (uint32_t)(at - (uint8_t *)header->payload);
	memcpy(header->signature, "OTEL_CTX", 8);
	header->version = 2;
	clock_gettime(CLOCK_BOOTTIME, &now);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	header->published_at_ns =
		(uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, header, SIZE, "OTEL_CTX");
	return header;
}
