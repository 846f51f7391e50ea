// SPDX-License-Identifier: GPL-2.0-only
/*
 * All programs of mqspan, one object. The files follow one call:
 *
 *   maps      what the programs keep, and who inserts and deletes it
 *   thread    the records of threads
 *   cgroup    the cgroup that identifies a container
 *   owner     the tenant and the user that a call belongs to
 *   share     fair shares of the ring and of the records of threads
 *   filter    which calls are wanted
 *   queue     from a descriptor to the queue behind it
 *   process   identity of the calling process
 *   lost      metrics of calls whose record is lost
 *   context   the span of an application that a call is made for
 *   chain     what a send comes of
 *   message   identity of messages
 *   call      entry and return of one call: the body of all backends
 *   lifecycle signals, forks and exits: the ends that have no return
 *   backend_* the same body at three kinds of hooks; one is attached
 *   blocked   calls that were already blocked when the agent attached
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "events.h"
#include "maps.bpf.h"
#include "abi.bpf.h"
#include "compat.bpf.h"
#include "thread.bpf.h"
#include "cgroup.bpf.h"
#include "owner.bpf.h"
#include "share.bpf.h"
#include "filter.bpf.h"
#include "queue.bpf.h"
#include "process.bpf.h"
#include "lost.bpf.h"
#include "context.bpf.h"
#include "chain.bpf.h"
#include "message.bpf.h"
#include "call.bpf.h"
#include "lifecycle.bpf.h"
#include "entry_functions.bpf.h"
#include "backend_fentry.bpf.h"
#include "backend_kprobe.bpf.h"
#include "backend_tracepoint.bpf.h"
#include "blocked.bpf.h"

char LICENSE[] SEC("license") = "GPL";
