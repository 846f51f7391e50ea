/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls whose record did not get into the ring. Their spans are lost, but they
 * still count in the metrics and for their owner.
 */
#ifndef MQSPAN_LOST_BPF_H
#define MQSPAN_LOST_BPF_H

/* Nanoseconds, the same as in agent/src/histogram/explicit.rs. */
static const __u64 bucket_bounds[DURATION_BUCKETS - 1] = {
	1000,	     1200,	  1400,	       1650,	     1950,
	2300,	     2750,	  3300,	       3900,	     4600,
	5500,	     6500,	  7700,	       9000,	     10000,
	12000,	     14000,	  16500,       19500,	     23000,
	27500,	     33000,	  39000,       46000,	     55000,
	65000,	     77000,	  90000,       100000,	     120000,
	140000,	     165000,	  195000,      230000,	     275000,
	330000,	     390000,	  460000,      550000,	     650000,
	770000,	     900000,	  1000000,     1200000,	     1400000,
	1650000,     1950000,	  2300000,     2750000,	     3300000,
	3900000,     4600000,	  5000000,     10000000,     25000000,
	50000000,    75000000,	  100000000,   250000000,    500000000,
	750000000,   1000000000,  2500000000,  5000000000,   7500000000,
	10000000000, 25000000000, 50000000000, 100000000000,
};

static const struct lost_calls no_lost_calls;

static __always_inline void duration_add(struct durations *durations, __u64 ns)
{
	__u32 bucket = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < DURATION_BUCKETS - 1; i++)
		/* Adds 1 if ns is above the bound, without a branch. */
		bucket += (bucket_bounds[i] - ns) >> 63;
	if (bucket >= DURATION_BUCKETS)
		return;
	/*
	 * Another thread's call that ends at the same time can overwrite the
	 * minimum or maximum; the counts and the sum are exact.
	 */
	if (!durations->sum_ns || ns < durations->min_ns)
		durations->min_ns = ns;
	if (ns > durations->max_ns)
		durations->max_ns = ns;
	__sync_fetch_and_add(&durations->buckets[bucket], 1);
	__sync_fetch_and_add(&durations->sum_ns, ns);
}

/* Hash of a name that leads to no queue, eight bytes at a time. */
static __always_inline __u64 name_hash(const struct call_event *call)
{
	__u64 hash = 0xcbf29ce484222325ULL; /* FNV-1a */

#pragma clang loop unroll(disable)
	for (int i = 0; i < QUEUE_NAME_SIZE / 8; i++) {
		__u64 word = ((const __u64 *)call->name)[i];
		__s32 left = (__s32)call->name_len - 8 * i;

		if (left <= 0)
			break;
		if (left < 8)
			word &= (1ULL << (8 * (left & 7))) - 1;
		hash = (hash ^ word) * 0x100000001b3ULL;
	}
	return hash;
}

/*
 * Counts a lost call for its owner, or for the zero key if the table is full.
 */
static __always_inline void owner_lost(const struct owner *owner, __u32 reason)
{
	struct lost_owner_key key = { .owner = *owner, .reason = reason };
	__u64 none = 0, *calls;
	__u32 zero = 0;
	void *table = bpf_map_lookup_elem(&lost_owners, &zero);

	if (!table)
		table = &lost_owners_a;
	calls = bpf_map_lookup_elem(table, &key);
	if (!calls) {
		bpf_map_update_elem(table, &key, &none, BPF_NOEXIST);
		calls = bpf_map_lookup_elem(table, &key);
	}
	if (!calls) {
		__builtin_memset(&key, 0, sizeof(key));
		calls = bpf_map_lookup_elem(table, &key);
	}
	if (calls)
		__sync_fetch_and_add(calls, 1);
	calls_were_lost = 1;
}

/*
 * Makes a record for the current thread if its owner may have one more. If not,
 * and is_counted is set, counts the call as lost.
 */
__noinline int thread_follow(__u32 is_counted)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct task_struct *task = current_task();
	struct thread_record *thread;
	struct owner owner;

	if (use_task_storage)
		thread_in_storage(task, BPF_LOCAL_STORAGE_GET_F_CREATE);
	else
		thread_insert_by_id(tid);
	owner_find();
	thread = thread_find(task);
	if (thread && thread_counts(thread))
		return 0;
	if (is_counted)
		COUNT(in_flight_full);
	if (!thread)
		return 0;
	owner = thread->owner;
	if (is_counted)
		owner_lost(&owner, LOST_IN_FLIGHT_FULL);
	thread_delete(task, tid);
	return 0;
}

/* The record of the current task, made if needed; NULL if there is no room. */
static __always_inline struct thread_record *
thread_find_or_make(struct task_struct *task, bool is_counted)
{
	struct thread_record *thread = thread_find(task);

	if (thread)
		return thread;
	thread_follow(is_counted);
	return thread_find(task);
}

/* Counts the current thread's call, whose record did not get into the ring. */
__noinline int call_lost(void)
{
	struct thread_record *thread = thread_find(current_task());
	struct lost_key key = {};
	struct lost_calls *lost;
	struct call_event *call;
	struct owner owner;
	__u32 zero = 0;
	void *table;

	COUNT(ring_full);
	ring_pressure = 1;
	if (!thread)
		return 0;
	owner = thread->owner;
	owner_lost(&owner, LOST_RING_FULL);
	call = &thread->call;
	key.ipc_ns = call->ipc_ns;
	key.op = call->op;
	/* Whether the agent would have dropped the call is not known here. */
	if (filter.agent_decides || (call->flags & CALL_UNDECIDED))
		return 0;
	if (call->flags & CALL_DIED)
		key.death_signal = call->death_signal;
	else if (call->ret == -ERESTARTSYS && !(call->flags & CALL_REENTERED))
		key.error = EINTR;
	else if (call->ret < 0)
		key.error = -call->ret;
	if (call->flags & CALL_QUEUE)
		key.queue = call->queue_ino;
	else if (call->flags & CALL_NAME)
		key.queue = name_hash(call);

	table = bpf_map_lookup_elem(&lost_calls, &zero);
	if (!table)
		table = &lost_calls_a;
	lost = bpf_map_lookup_elem(table, &key);
	if (!lost) {
		bpf_map_update_elem(table, &key, &no_lost_calls, BPF_NOEXIST);
		lost = bpf_map_lookup_elem(table, &key);
	}
	if (!lost) {
		/* The agent has inserted this entry beforehand. */
		__builtin_memset(&key, 0, sizeof(key));
		lost = bpf_map_lookup_elem(table, &key);
		if (!lost)
			return 0;
	} else if ((call->flags & CALL_NAME) && !lost->name_len) {
		__builtin_memcpy(lost->name, call->name, sizeof(lost->name));
		lost->name_len = call->name_len;
	}
	duration_add(&lost->duration, call->end_ns - call->start_ns);
	if (is_send(call->op) && !(call->flags & CALL_REENTERED))
		__sync_fetch_and_add(&lost->sent, 1);
	if (!is_receive(call->op) || call->ret < 0 || (call->flags & CALL_DIED))
		return 0;
	__sync_fetch_and_add(&lost->consumed, 1);
	if (call->flags & CALL_MESSAGE)
		duration_add(&lost->time_in_queue,
			     call->end_ns - call->message_created_ns);
	return 0;
}

#endif
