/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOSTILE_ENVIRON_H
#define HOSTILE_ENVIRON_H

#include <stddef.h>

/* Makes /proc/self/environ show this memory, mapped or not. */
void environ_move(void *start, size_t size);

#endif
