//! Shares the queue fairly, like the ring in the kernel. `bpf/share.bpf.h`
//! gives the reason and the rule.

use std::collections::HashMap;

use crate::owner::{Owner, Tenant};

const TENANT_FACTOR: u64 = 4;
const USER_FACTOR: u64 = 8;
/// Users who have little get at most one part in this many of what is free.
const LITTLE: u64 = 4;
/// Under pressure from one part in this many of the capacity on, until use
/// falls below half of that.
const PRESSURE: u64 = 4;
/// Shares remembered under pressure; all are forgotten when there are more.
const MAX_OWNERS: usize = 4096;

/// Bytes of one owner. Positions count bytes since the start.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    begin: u64,
    /// Older bytes are between `begin` and here, newer ones behind.
    middle: u64,
    /// Position after the last byte.
    last: u64,
    older: u64,
    newer: u64,
}

impl Share {
    /// Removes what has left the queue.
    fn renew(&mut self, consumed: u64, produced: u64) {
        if consumed < self.middle {
            return;
        }
        self.older = if consumed < self.last { self.newer } else { 0 };
        self.newer = 0;
        (self.begin, self.middle) = (self.middle, produced);
    }

    /// Bytes in the queue. Older bytes count in proportion to their part that
    /// is still in it.
    fn bytes(&self, consumed: u64) -> u64 {
        let span = self.middle - self.begin;
        let left = self.middle - consumed;
        let older = if left < span {
            self.older * left / span
        } else {
            self.older
        };
        older + self.newer
    }

    fn add(&mut self, bytes: u64, produced: u64) {
        self.newer += bytes;
        self.last = produced + bytes;
    }
}

/// Which bytes of a tenant a share counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    User(u32),
    All,
    WithLittle,
}

/// Tracks who has how much of a queue while it is under pressure.
#[derive(Debug, Default)]
pub(super) struct QueueShares {
    /// The key is `None` for all spans whose owner is unknown.
    shares: HashMap<Option<(Tenant, Who)>, Share>,
    produced: u64,
    used: u64,
    capacity: u64,
    pressure: bool,
}

impl QueueShares {
    /// Sets how many bytes of the queue are used, and its capacity.
    pub(super) fn look(&mut self, used: u64, capacity: u64) {
        (self.used, self.capacity) = (used, capacity);
        let was = self.pressure;
        let limit = capacity / PRESSURE;
        self.pressure = used >= if was { limit / 2 } else { limit };
        if was && !self.pressure {
            self.shares.clear();
        }
    }

    /// Takes room for `bytes` if the owner may have it, and returns whether it
    /// may.
    #[inline]
    pub(super) fn take(&mut self, owner: Option<Owner>, bytes: u64) -> bool {
        if self.pressure && !self.take_share(owner, bytes) {
            return false;
        }
        self.produced += bytes;
        self.used += bytes;
        true
    }

    #[cold]
    fn take_share(&mut self, owner: Option<Owner>, bytes: u64) -> bool {
        if self.shares.len() >= MAX_OWNERS {
            self.shares.clear();
        }
        let free = self.capacity.saturating_sub(self.used);
        let key = |who| owner.map(|owner| (owner.tenant, who));
        let user = owner.and_then(|owner| key(Who::User(owner.user)));
        let all = key(Who::All);
        let (of_user, of_all) = (self.bytes(user), self.bytes(all));
        if !is_within_share(free, of_all, of_user, bytes) {
            let with_little = key(Who::WithLittle);
            // An unknown owner never counts as one who has little.
            if owner.is_none() || !is_little(free, self.bytes(with_little), of_user, bytes) {
                return false;
            }
            self.add(with_little, bytes);
        }
        self.add(user, bytes);
        if owner.is_some() {
            self.add(all, bytes);
        }
        true
    }

    fn bytes(&mut self, key: Option<(Tenant, Who)>) -> u64 {
        let (produced, consumed) = (self.produced, self.produced.saturating_sub(self.used));
        let share = self.shares.entry(key).or_default();
        share.renew(consumed, produced);
        share.bytes(consumed)
    }

    fn add(&mut self, key: Option<(Tenant, Who)>, bytes: u64) {
        let produced = self.produced;
        self.shares.entry(key).or_default().add(bytes, produced);
    }
}

/// Whether a user with `user` bytes, of a tenant with `tenant` bytes, may have
/// `more`.
fn is_within_share(free: u64, tenant: u64, user: u64, more: u64) -> bool {
    let room = (free * TENANT_FACTOR).saturating_sub(tenant);
    more <= free && user + more <= room * USER_FACTOR
}

/// For a tenant that has more than it may because others have reduced what is
/// free. Its users who have little share some of what is left.
fn is_little(free: u64, of_all_such: u64, user: u64, more: u64) -> bool {
    (user + more) * LITTLE + of_all_such <= free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(tenant: u64, user: u32) -> Option<Owner> {
        Some(Owner {
            tenant: Tenant::Container(tenant),
            user,
        })
    }

    /// A queue of 64 MiB that nobody empties, filled in turn.
    fn fill(owners: &[Option<Owner>]) -> (QueueShares, Vec<u64>) {
        let mut shares = QueueShares::default();
        let mut taken = vec![0; owners.len()];
        let capacity = 64 << 20;
        loop {
            let mut any = false;
            for (owner, taken) in owners.iter().zip(&mut taken) {
                shares.look(shares.used, capacity);
                if shares.take(*owner, 1000) {
                    *taken += 1000;
                    any = true;
                }
            }
            if !any {
                return (shares, taken);
            }
        }
    }

    #[test]
    fn one_alone_has_three_quarters() {
        let (_, taken) = fill(&[owner(1, 1)]);
        assert!(taken[0] > (64 << 20) / 4 * 3, "{taken:?}");
    }

    /// How much more this one may have, up to a bound.
    fn take(shares: &mut QueueShares, owner: Option<Owner>, bound: u64) -> u64 {
        let mut taken = 0;
        while taken < bound && shares.take(owner, 1000) {
            taken += 1000;
        }
        taken
    }

    #[test]
    fn however_many_flood_there_is_room_for_another() {
        for (owners, room) in [
            (
                (0..8).map(|user| owner(0, user)).collect::<Vec<_>>(),
                1 << 20,
            ),
            ((0..16).map(|user| owner(0, user)).collect(), 1 << 20),
            ((0..8).map(|tenant| owner(tenant, 0)).collect(), 200_000),
            ((0..1_000).map(|user| owner(0, user)).collect(), 20_000),
            ((0..3_000).map(|user| owner(0, user)).collect(), 5_000),
        ] {
            for another in [owner(77, 5), owner(0, 5_000)] {
                let (mut shares, _) = fill(&owners);
                let taken = take(&mut shares, another, room);
                assert!(taken >= room, "{} flood: {another:?} {taken}", owners.len());
            }
        }
    }

    #[test]
    fn a_tenant_that_comes_later_leaves_room_for_the_users_of_the_first() {
        let owners: Vec<_> = (0..15).map(|user| owner(0, user)).collect();
        let (mut shares, _) = fill(&owners);
        for user in 0..1_000 {
            take(&mut shares, owner(1, user), u64::MAX);
        }
        assert_eq!(take(&mut shares, owner(0, 5_000), 150_000), 150_000);
    }

    #[test]
    fn what_has_left_the_queue_counts_no_more() {
        let (mut shares, _) = fill(&[owner(1, 1), owner(2, 1)]);
        assert!(!shares.take(owner(1, 1), 1000));
        shares.look(shares.used / 4 * 3, shares.capacity);
        assert!(shares.take(owner(1, 1), 1000));
        shares.look(0, shares.capacity);
        assert!(shares.shares.is_empty());
    }
}
