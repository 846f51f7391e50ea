//! The queue is shared fairly, as the ring in the kernel is
//! (`bpf/share.bpf.h`, which says why and by which rule): an owner may have so
//! many times what is still free, less what its tenant has already.

use std::collections::HashMap;

use crate::owner::{Owner, Tenant};

const FACTOR: u64 = 8;
/// Parts of the whole that a user may have in any case, and that must be free
/// then; and how much of what is free the tenant may have then.
const SMALL: u64 = 16;
const RESERVE: u64 = 128;
const TENANT_FACTOR: u64 = 32;
/// From this part of the whole on.
const PRESSURE: u64 = 4;
/// Owners remembered while there is pressure.
const MAX_OWNERS: usize = 4096;

/// Bytes of one owner. Positions are bytes since the start.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    /// What is older is before it, what is newer behind.
    mark: u64,
    /// Behind the last byte.
    last: u64,
    older: u64,
    newer: u64,
}

impl Share {
    /// Takes off what has left the queue.
    fn renew(&mut self, consumed: u64, produced: u64) {
        if consumed >= self.last {
            (self.older, self.newer, self.mark) = (0, 0, produced);
        } else if consumed >= self.mark {
            (self.older, self.newer, self.mark) = (self.newer, 0, produced);
        }
    }

    fn bytes(&self) -> u64 {
        self.older + self.newer
    }

    fn add(&mut self, bytes: u64, produced: u64) {
        self.newer += bytes;
        self.last = produced + bytes;
    }
}

/// Who has how much of a queue, while it is under pressure.
#[derive(Debug, Default)]
pub(super) struct QueueShares {
    /// Of a tenant as a whole without a user; of whom nobody knows whose they
    /// are without either.
    shares: HashMap<Option<(Tenant, Option<u32>)>, Share>,
    produced: u64,
    used: u64,
    capacity: u64,
    pressure: bool,
}

impl QueueShares {
    /// What is in the queue now, of how much.
    pub(super) fn look(&mut self, used: u64, capacity: u64) {
        (self.used, self.capacity) = (used, capacity);
        let was = self.pressure;
        let limit = capacity / PRESSURE;
        self.pressure = used >= if was { limit / 2 } else { limit };
        if was && !self.pressure {
            self.shares.clear();
        }
    }

    /// May the owner put so many bytes into the queue? Then it has them.
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
        let (produced, consumed) = (self.produced, self.produced.saturating_sub(self.used));
        let keys = [
            owner.map(|owner| (owner.tenant, Some(owner.user))),
            owner.map(|owner| (owner.tenant, None)),
        ];
        let [user, tenant] = keys.map(|key| {
            let share = self.shares.entry(key).or_default();
            share.renew(consumed, produced);
            share.bytes()
        });
        let free = self.capacity.saturating_sub(self.used);
        if !is_within_share(self.capacity, free, tenant, user, bytes) {
            return false;
        }
        for key in keys.into_iter().take(if owner.is_some() { 2 } else { 1 }) {
            self.shares.entry(key).or_default().add(bytes, produced);
        }
        true
    }
}

/// May a user who has that much, of a tenant who has that much, have more?
fn is_within_share(all: u64, free: u64, tenant: u64, user: u64, more: u64) -> bool {
    if more > free {
        return false;
    }
    if (user + more) * SMALL <= all && free * RESERVE >= all && tenant < free * TENANT_FACTOR {
        return true;
    }
    let room = (free * FACTOR).saturating_sub(tenant);
    user + more <= room * FACTOR
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
    fn one_alone_has_nearly_all() {
        let (_, taken) = fill(&[owner(1, 1)]);
        assert!(taken[0] > (64 << 20) / 10 * 8, "{taken:?}");
    }

    #[test]
    fn however_many_flood_there_is_room_for_another() {
        for owners in [
            (0..8).map(|user| owner(0, user)).collect::<Vec<_>>(),
            (0..8).map(|tenant| owner(tenant, 0)).collect(),
            (0..1_000).map(|user| owner(0, user)).collect(),
            (0..3_000).map(|user| owner(1, user)).collect(),
        ] {
            let (mut shares, _) = fill(&owners);
            let mut taken = 0;
            while taken < 100_000 && shares.take(owner(77, 5), 1000) {
                taken += 1000;
            }
            assert_eq!(taken, 100_000, "{} flood", owners.len());
        }
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
