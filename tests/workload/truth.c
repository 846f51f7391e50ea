// SPDX-License-Identifier: Apache-2.0
/* The ground truth: one JSON object per line. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "mqwork.h"

#define LINE_SIZE 4096 /* PIPE_BUF: a write up to this size is atomic */

const char *truth_path = "/dev/stdout";
static int truth_fd = STDOUT_FILENO;

struct line {
	char text[LINE_SIZE];
	size_t used;
};

void truth_open(const char *path)
{
	truth_path = path;
	truth_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (truth_fd < 0)
		fail("%s: %s", path, strerror(errno));
}

static void __attribute__((format(printf, 2, 3)))
append(struct line *line, const char *format, ...)
{
	va_list args;
	int written;

	va_start(args, format);
	written = vsnprintf(line->text + line->used,
			    sizeof(line->text) - line->used, format, args);
	va_end(args);
	if (written < 0 || (size_t)written >= sizeof(line->text) - line->used)
		fail("a line of truth is longer than %d bytes", LINE_SIZE);
	line->used += (size_t)written;
}

/* Bytes above 0x7f go out as the code points of the same number: names need not be UTF-8. */
static void append_string(struct line *line, const char *key, const char *value)
{
	append(line, ",\"%s\":", key);
	if (!value) {
		append(line, "null");
		return;
	}
	append(line, "\"");
	for (const unsigned char *c = (const unsigned char *)value; *c; c++) {
		if (*c < 0x20 || *c > 0x7e || *c == '"' || *c == '\\')
			append(line, "\\u%04x", *c);
		else
			append(line, "%c", *c);
	}
	append(line, "\"");
}

static void append_number(struct line *line, const char *key, bool known,
			  int64_t value)
{
	if (known)
		append(line, ",\"%s\":%" PRId64, key, value);
	else
		append(line, ",\"%s\":null", key);
}

static void append_bool(struct line *line, const char *key, int value)
{
	append(line, ",\"%s\":%s", key,
	       value < 0 ? "null" :
	       value	 ? "true" :
			   "false");
}

static const char *error_name(const struct call *call)
{
	if (call->error_name)
		return call->error_name;
	if (call->ret >= 0 || call->reentered)
		return NULL;
	return call->ret == -KERNEL_ERESTARTSYS ?
		       "EINTR" :
		       strerrorname_np((int)-call->ret);
}

static void write_all(const char *text, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(truth_fd, text + done, size - done);

		if (n < 0 && errno != EINTR)
			fail("writing the truth: %s", strerror(errno));
		if (n > 0)
			done += (size_t)n;
	}
}

static _Thread_local struct {
	char *text;
	size_t used, size;
} kept;

void truth_keep(void)
{
	kept.size = 1 << 20;
	kept.text = malloc(kept.size);
	kept.used = 0;
}

void truth_give(void)
{
	write_all(kept.text, kept.used);
	free(kept.text);
	kept.text = NULL;
}

static void keep(const struct line *line)
{
	if (kept.size - kept.used < line->used) {
		kept.size *= 2;
		kept.text = realloc(kept.text, kept.size);
	}
	if (!kept.text)
		fail("no memory for the truth");
	memcpy(kept.text + kept.used, line->text, line->used);
	kept.used += line->used;
}

void truth_print(const struct call *call)
{
	struct line line = { .used = 0 };

	append(&line, "{\"op\":\"%s\",\"abi\":\"%s\"", call->op, call->abi);
	append_number(&line, "pid", true, call->pid);
	append_number(&line, "tid", true, call->tid);
	append_string(&line, "comm", call->comm);
	append_number(&line, "mqdes", call->has_mqdes, call->mqdes);
	append_number(&line, "msg_len", call->transfers,
		      (int64_t)call->msg_len);
	append_number(&line, "priority", call->priority_known, call->priority);
	append_bool(&line, "priority_asked", call->priority_asked);
	append_number(&line, "message", call->message_known,
		      (int64_t)call->message);
	append_number(&line, "cause", call->cause, (int64_t)call->cause);
	if (call->traceparent)
		append_string(&line, "traceparent", call->traceparent);
	if (call->timed)
		append(&line,
		       ",\"timeout\":{\"sec\":%" PRId64 ",\"nsec\":%" PRId64
		       "}",
		       call->timeout_sec, call->timeout_nsec);
	else
		append(&line, ",\"timeout\":null");
	append_number(&line, "ret", true, call->ret);
	append_string(&line, "errno_name", error_name(call));
	append_bool(&line, "restarted", call->restarted);
	append_string(&line, "queue", call->queue);
	append_number(&line, "max_messages", call->has_limits,
		      call->max_messages);
	append_number(&line, "max_message_size", call->has_limits,
		      call->max_message_size);
	append_bool(&line, "nonblocking", call->nonblocking);
	append_bool(&line, "unlinked", call->unlinked);
	append_number(&line, "depth", call->depth >= 0, call->depth);
	append_number(&line, "oflag", call->opens, call->oflag);
	append_number(&line, "mode", call->opens, call->mode);
	append_string(&line, "notify", call->notify);
	append_number(&line, "notify_signal", call->notify_signal >= 0,
		      call->notify_signal);
	append(&line,
	       ",\"realtime_start_ns\":%" PRId64 ",\"realtime_end_ns\":%" PRId64
	       "}\n",
	       call->start_ns, call->end_ns);

	if (kept.text)
		keep(&line);
	else
		write_all(line.text, line.used);
}
