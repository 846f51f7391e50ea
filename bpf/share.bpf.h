/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shares the ring and the records of threads fairly. A tenant may have
 * SHARE_TENANT_FACTOR times what is still free, and each of its users
 * SHARE_USER_FACTOR times what the tenant may still have ("dynamic thresholds",
 * Choudhury and Hahne, 1998). A user alone gets three quarters. However many
 * there are, something stays free for those who have little. The ring enforces
 * shares only under pressure.
 */
#ifndef MQSPAN_SHARE_BPF_H
#define MQSPAN_SHARE_BPF_H

#define SHARE_TENANT_FACTOR 4
#define SHARE_USER_FACTOR 8
/* A user who has little may have at most this part of what is free: 1/2. */
#define SHARE_LITTLE 2

static __always_inline struct share *
share_find_or_make(const struct owner *owner)
{
	struct share *share = bpf_map_lookup_elem(&shares, owner);
	struct share empty = {};

	if (share)
		return share;
	bpf_map_update_elem(&shares, owner, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&shares, owner);
}

/*
 * May a user that has `user` get `more`? room is what the tenant may have,
 * tenant what it has.
 */
static __always_inline bool
is_within_share(__u64 free, __u64 room, __u64 tenant, __u64 user, __u64 more)
{
	return tenant < room && more <= free &&
	       user + more <= (room - tenant) * SHARE_USER_FACTOR;
}

/*
 * For a tenant that has more than it may, because others have reduced what is
 * free: its users who have little share some of what is left.
 */
static __always_inline bool is_little(__u64 free, __u64 of_all_such, __u64 user,
				      __u64 more)
{
	return (user + more) * SHARE_LITTLE + of_all_such <= free;
}

/* Takes off what the agent has consumed from the ring. */
static __always_inline void share_renew(struct share *share, __u64 consumed,
					__u64 produced)
{
	if (consumed < share->middle)
		return;
	share->older = consumed < share->last ? share->newer : 0;
	share->newer = 0;
	share->begin = share->middle;
	share->middle = produced;
}

/* Bytes in the ring. Of older only the part that is not consumed yet counts. */
static __always_inline __u64 share_bytes(const struct share *share,
					 __u64 consumed)
{
	__u64 span = share->middle - share->begin;
	__u64 left = share->middle - consumed;

	if (left < span)
		return share->older * left / span + share->newer;
	return (__u64)share->older + share->newer;
}

static __always_inline void share_add(struct share *share, __u64 produced,
				      __u32 bytes)
{
	__sync_fetch_and_add(&share->newer, bytes);
	share->last = produced + bytes;
}

/* May the current thread add so many bytes to the ring? If so, counts them. */
__noinline int ring_share_take(__u32 bytes)
{
	struct thread_record *thread = thread_find(current_task());
	__u64 consumed = bpf_ringbuf_query(&events, BPF_RB_CONS_POS);
	__u64 produced = bpf_ringbuf_query(&events, BPF_RB_PROD_POS);
	__u64 used = produced - consumed, free, room;
	struct share *tenant, *user, *little;
	struct owner key;

	if (used < pressure_bytes / 2) {
		ring_pressure = 0;
		return true;
	}
	if (!thread)
		return true;
	key = thread->owner;
	user = share_find_or_make(&key);
	key.user = WHOLE_TENANT;
	tenant = share_find_or_make(&key);
	if (!user || !tenant)
		return true;
	share_renew(user, consumed, produced);
	share_renew(tenant, consumed, produced);
	free = used < ring_bytes ? ring_bytes - used : 0;
	room = free * SHARE_TENANT_FACTOR;
	/*
	 * A lasting flood gains nothing from what lies in the ring, and
	 * everyone else waits for it.
	 */
	if (ring_overload)
		room = free /= 2;
	if (!is_within_share(free, room, share_bytes(tenant, consumed),
			     share_bytes(user, consumed), bytes)) {
		key.user = WITH_LITTLE;
		little = share_find_or_make(&key);
		if (!little)
			return false;
		share_renew(little, consumed, produced);
		if (!is_little(free, share_bytes(little, consumed),
			       share_bytes(user, consumed), bytes))
			return false;
		share_add(little, produced, bytes);
	}
	share_add(user, produced, bytes);
	share_add(tenant, produced, bytes);
	return true;
}

/* Checks how full the ring is; it is enough to do that now and then. */
static __always_inline __u64 ring_look(void)
{
	__u64 used = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);

	if (used >= pressure_bytes && !ring_pressure)
		ring_pressure = 1;
	return used;
}

/*
 * The count of an owner that was evicted and came back can fall below zero when
 * threads end that were counted before the eviction.
 */
static __always_inline __u64 share_threads(struct share *share)
{
	if (share->threads > max_threads)
		share->threads = 0;
	return share->threads;
}

/* May the owner of a new record have it? If so, counts it. */
static __always_inline bool thread_counts(struct thread_record *thread)
{
	struct owner key = thread->owner;
	struct share *user = share_find_or_make(&key), *tenant, *little;
	__u64 all = followed, free = max_threads - all;

	key.user = WHOLE_TENANT;
	tenant = share_find_or_make(&key);
	if (all >= max_threads)
		return false;
	thread->is_followed = FOLLOWED;
	if (user && tenant &&
	    !is_within_share(free, free * SHARE_TENANT_FACTOR,
			     share_threads(tenant), share_threads(user), 1)) {
		key.user = WITH_LITTLE;
		little = share_find_or_make(&key);
		if (!little || !is_little(free, share_threads(little),
					  share_threads(user), 1)) {
			thread->is_followed = 0;
			return false;
		}
		__sync_fetch_and_add(&little->threads, 1);
		thread->is_followed = FOLLOWED_WITH_LITTLE;
	}
	__sync_fetch_and_add(&followed, 1);
	if (user)
		__sync_fetch_and_add(&user->threads, 1);
	if (tenant)
		__sync_fetch_and_add(&tenant->threads, 1);
	return true;
}

static __always_inline void share_give_back_thread(const struct owner *owner)
{
	struct share *share = bpf_map_lookup_elem(&shares, owner);

	if (share && share->threads)
		__sync_fetch_and_add(&share->threads, -1);
}

/* The record ends with its thread: takes it out of the counts. */
static __always_inline void thread_unfollow(struct thread_record *thread)
{
	struct owner owner = thread->owner;

	if (!thread->is_followed)
		return;
	__sync_fetch_and_add(&followed, -1);
	share_give_back_thread(&owner);
	owner.user = WHOLE_TENANT;
	share_give_back_thread(&owner);
	if (thread->is_followed == FOLLOWED_WITH_LITTLE) {
		owner.user = WITH_LITTLE;
		share_give_back_thread(&owner);
	}
	thread->is_followed = 0;
}

#endif
