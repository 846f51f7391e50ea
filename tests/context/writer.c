// SPDX-License-Identifier: Apache-2.0
/* The thread-local variable of OTEP 4947, and the only code that writes it. */
#include "context.h"

__attribute__((
	visibility("default"))) __thread struct record *otel_thread_ctx_v1;

/* Others in the same module, so that it is not at the beginning. */
__thread char other_variable[40] = "not zero";

__attribute__((visibility("default"))) void
context_attach(struct record *record)
{
	otel_thread_ctx_v1 = record;
	/* The kernel reads it, which the compiler does not know. */
	__asm__ volatile("" ::: "memory");
	__asm__ volatile("" ::"r"(other_variable));
}
