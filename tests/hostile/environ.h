/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOSTILE_ENVIRON_H
#define HOSTILE_ENVIRON_H

#include <stddef.h>

/* Makes this memory what /proc/self/environ shows, mapped or not. */
void environ_move(void *start, size_t size);

#endif
