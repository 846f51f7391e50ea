//! Shares the queue so that a flood costs those who make it. Tenants share by
//! max-min fairness: whoever asks for less than their part gets it all, and the
//! others get equal parts of what is left. So do the users of a tenant, except
//! that one who asks for up to [`MODEST`] equal parts still gets it all, at the
//! cost of those who ask for more.
//!
//! The parts are bytes in the queue. It leaves in the order in which it came, so
//! who has a tenth of it has a tenth of what the collector takes. The levels up
//! to which each may fill it are computed anew each time that some of it has
//! moved. They do not depend on how much is free at the moment, as the ring's
//! shares in `bpf/share.bpf.h` do: requests end in bursts, and each would belong
//! to whoever calls most.

use std::collections::HashMap;

use crate::owner::{Owner, Tenant};

/// Floods leave one part in this many of the queue free. Three quarters of that
/// are for users with little.
const SPARE: u64 = 8;
/// Floods keep to within one part in this many below their level, so a user
/// there does not count as one with little.
const NEARLY: u64 = 8;
/// A tenant may exceed its level by one part in this many for its modest users, and
/// has to stay as much below it for the others.
const SLACK: u64 = 32;
/// A tenant's users with little may take one part in this many of the capacity
/// from the spare room, before more has left the queue.
const LITTLE: u64 = 32;
/// A user may ask for this many equal parts without being taken for a flood.
const MODEST: u64 = 4;
/// What modest users leave for each flood: one part in this many of an equal one.
const FLOOD_PART: u64 = 4;
/// What a user asks for is averaged while one part in this many of the capacity
/// leaves the queue: the collector may pause for seconds.
const ASKED_OVER: u64 = 2;
/// Levels are set each time that one part in this many of the capacity came or
/// went.
const SET_LEVELS: u64 = 64;
/// Under pressure from one part in this many of the capacity on, until use
/// falls below half of that.
const PRESSURE: u64 = 4;
/// Tenants remembered under pressure. Those beyond it count as one.
const MAX_TENANTS: usize = 1024;
/// Users of one tenant with a share of their own: the root of a container can
/// take any user id. Those beyond it have one share together.
const MAX_USERS: usize = 1024;
/// Users of all tenants with a share of their own.
const MAX_ALL_USERS: usize = 8192;

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
    fn renew(&mut self, Positions { consumed, produced }: Positions) {
        if consumed < self.middle {
            return;
        }
        self.older = if consumed < self.last { self.newer } else { 0 };
        self.newer = 0;
        (self.begin, self.middle) = (self.middle, produced);
    }

    /// Bytes in the queue. Older bytes count in proportion to their part that
    /// is still in it.
    fn bytes(&mut self, at: Positions) -> u64 {
        self.renew(at);
        let span = self.middle - self.begin;
        let left = self.middle - at.consumed;
        let older = if left < span {
            self.older * left / span
        } else {
            self.older
        };
        older + self.newer
    }

    fn add(&mut self, bytes: u64, at: Positions) {
        self.newer += bytes;
        self.last = at.produced + bytes;
    }
}

/// Where the next byte leaves the queue, and where the next one enters it.
#[derive(Debug, Clone, Copy, Default)]
struct Positions {
    consumed: u64,
    produced: u64,
}

impl Positions {
    /// Bytes that came or went.
    fn moved(self) -> u64 {
        self.consumed + self.produced
    }
}

#[derive(Debug, Default)]
struct UserShare {
    share: Share,
    /// A refused user counts as wanting more than it has until a whole capacity
    /// has left the queue: this position.
    wants_until: u64,
    /// Bytes that it has asked for since the levels were set.
    asked: u64,
    /// Bytes that it would have in a full queue if it were never refused.
    demand: u64,
}

impl UserShare {
    /// Takes into account that `left` bytes have left a queue of `capacity` while it
    /// asked. As long as none do, what it asks for adds up.
    fn measure(&mut self, left: u64, capacity: u64) {
        if left == 0 {
            return;
        }
        let scaled = |bytes: u64, by: u64, of: u64| {
            u64::try_from(u128::from(bytes) * u128::from(by) / u128::from(of.max(1)))
                .unwrap_or(u64::MAX)
        };
        let now = scaled(self.asked, capacity, left);
        let memory = capacity / ASKED_OVER;
        let total = left + memory;
        self.demand = scaled(now, left, total).saturating_add(scaled(self.demand, memory, total));
        self.asked = 0;
    }

    fn demand(&self) -> u64 {
        self.demand.max(self.asked)
    }

    fn wants_more(&self, at: Positions) -> bool {
        at.consumed < self.wants_until
    }
}

#[derive(Debug, Default)]
struct TenantShares {
    all: Share,
    /// Bytes that users with little may take of what floods leave free.
    for_little: u64,
    users: HashMap<u32, UserShare>,
    other_users: UserShare,
    /// Bytes that each user may have who asks for no more.
    modest: u64,
    /// Bytes that each other user may have.
    level: u64,
}

impl TenantShares {
    /// The user's own share, or that of all who have none.
    fn user(&mut self, user: u32, is_room: bool) -> &mut UserShare {
        if is_room || self.users.contains_key(&user) {
            self.users.entry(user).or_default()
        } else {
            &mut self.other_users
        }
    }

    /// Whether a user wants more than it has.
    fn wants_more(&self, at: Positions) -> bool {
        let mut users = self.users.values().chain([&self.other_users]);
        users.any(|user| user.wants_more(at))
    }

    /// Sets the levels of the users so that they have `bytes` together.
    fn set_levels(&mut self, bytes: u64, demands: &mut Vec<u64>) {
        demands.clear();
        let users = self.users.values().chain([&self.other_users]);
        demands.extend(users.map(UserShare::demand).filter(|demand| *demand > 0));
        (self.modest, self.level) = levels(bytes, demands);
    }
}

/// The most that each may have who asks for no more, and what each other may have,
/// so that all together have `total`.
fn levels(total: u64, demands: &mut [u64]) -> (u64, u64) {
    demands.sort_unstable();
    let mut others = demands.len() as u64;
    let part = total / others.max(1);
    let (mut left, mut largest) = (total, 0);
    for demand in &*demands {
        let equal = left / others;
        let leaves = left.saturating_sub(*demand);
        let is_modest = *demand <= part * MODEST && leaves >= (others - 1) * (part / FLOOD_PART);
        if *demand > equal && (others == 1 || !is_modest) {
            return (equal.max(largest), equal);
        }
        left -= demand;
        others -= 1;
        largest = *demand;
    }
    // All have what they want. Anyone may want the rest, too.
    (left + largest, left + largest)
}

fn wanted(bytes: u64, wants_more: bool) -> u64 {
    if wants_more { u64::MAX } else { bytes }
}

/// The most that each may have so that all together have `total`.
fn fair_level(total: u64, wants: &mut [u64]) -> u64 {
    wants.sort_unstable();
    let mut left = total;
    let mut others = wants.len() as u64;
    for want in &*wants {
        if want.saturating_mul(others) > left {
            return left / others;
        }
        left -= want;
        others -= 1;
    }
    // All have what they want. Anyone may want the rest, too.
    left + wants.last().copied().unwrap_or(0)
}

/// Tracks who has how much of a queue while it is under pressure.
#[derive(Debug, Default)]
pub(super) struct QueueShares {
    /// The key is `None` for unknown owners, and for tenants beyond
    /// [`MAX_TENANTS`].
    tenants: HashMap<Option<Tenant>, TenantShares>,
    /// Users of all tenants that have a share of their own.
    users: usize,
    /// Bytes that each tenant may have.
    level: u64,
    levels_at: Positions,
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
        if self.pressure != was {
            self.tenants.clear();
            self.set_levels(self.positions());
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

    fn positions(&self) -> Positions {
        Positions {
            consumed: self.produced.saturating_sub(self.used),
            produced: self.produced,
        }
    }

    #[cold]
    fn take_share(&mut self, owner: Option<Owner>, bytes: u64) -> bool {
        let free = self.capacity.saturating_sub(self.used);
        let at = self.positions();
        if at.moved() >= self.levels_at.moved() + self.capacity / SET_LEVELS {
            self.set_levels(at);
        }
        let is_room = self.users < MAX_ALL_USERS;
        let key = owner.map(|owner| owner.tenant).filter(|tenant| {
            self.tenants.contains_key(&Some(*tenant)) || self.tenants.len() < MAX_TENANTS
        });
        let (level, capacity) = (self.level, self.capacity);
        let tenant = self.tenants.entry(key).or_insert_with(|| TenantShares {
            modest: level,
            level,
            for_little: (capacity / LITTLE).min(free / 4),
            ..TenantShares::default()
        });
        let (users, of_all) = (tenant.users.len(), tenant.all.bytes(at));
        let (modest, flood, for_little) = (tenant.modest, tenant.level, tenant.for_little);
        let id = owner.map_or(0, |owner| owner.user);
        let user = tenant.user(id, is_room && users < MAX_USERS);
        user.asked += bytes;
        let is_modest = user.demand() <= modest;
        let level = if is_modest { modest } else { flood };
        let new = user.share.bytes(at) + bytes;
        let spare = self.capacity / SPARE / 4 * 3;
        let for_all = if is_modest {
            self.level + self.level / SLACK
        } else {
            self.level - self.level / SLACK
        };
        let fits = new <= level && of_all + bytes <= for_all && bytes + spare <= free;
        let is_little = !fits && new <= level - level / NEARLY && bytes <= for_little.min(free);
        if fits || is_little {
            user.share.add(bytes, at);
            tenant.all.add(bytes, at);
        } else {
            user.wants_until = at.consumed + self.capacity;
        }
        if is_little {
            tenant.for_little -= bytes;
        }
        self.users += tenant.users.len() - users;
        fits || is_little
    }

    /// Sets all levels. Forgets who has nothing in the queue and wants
    /// nothing.
    fn set_levels(&mut self, at: Positions) {
        let (mut wants, mut tracked) = (Vec::new(), 0);
        let left = at.consumed.saturating_sub(self.levels_at.consumed);
        self.levels_at = at;
        self.users = 0;
        let capacity = self.capacity;
        self.tenants.retain(|_, tenant| {
            for user in tenant.users.values_mut().chain([&mut tenant.other_users]) {
                user.measure(left, capacity);
            }
            tenant
                .users
                .retain(|_, user| user.wants_more(at) || user.share.last > at.consumed);
            let bytes = tenant.all.bytes(at);
            let wants_more = tenant.wants_more(at);
            self.users += tenant.users.len();
            tracked += bytes;
            wants.push(wanted(bytes, wants_more));
            bytes > 0 || wants_more
        });
        let untracked = self.used.saturating_sub(tracked);
        let shared = self.capacity - self.capacity / SPARE;
        // What was there before, on disk for one, must not take all.
        let shared = shared.saturating_sub(untracked).max(self.capacity / SPARE);
        self.level = fair_level(shared, &mut wants);
        let for_little = left / self.tenants.len().max(1) as u64;
        for tenant in self.tenants.values_mut() {
            tenant.for_little = (tenant.for_little + for_little).min(self.capacity / LITTLE);
            tenant.set_levels(self.level, &mut wants);
        }
    }
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
            // Of more users than are remembered, those who come last have one share together.
            let of_same = (owners.len() < MAX_USERS).then_some(owner(0, 5_000));
            for another in of_same.into_iter().chain([owner(77, 5)]) {
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
        assert!(shares.tenants.is_empty());
    }

    /// Simulates a queue of 64 MiB that is emptied 1 MB at a time. After each, five users offer
    /// 1.5 MB each, ten offer 38 kB each, and in a container ever new users offer one span each.
    /// Returns how many spans of another user, who offers 30 kB, are refused, of how many.
    fn refused_in_bursts(new_users: u32) -> (u32, u32) {
        let mut shares = QueueShares::default();
        let (mut refused, mut all, mut next) = (0, 0, 0);
        for _ in 0..320 {
            shares.look(shares.used.saturating_sub(1 << 20), 64 << 20);
            for turn in 0..1500 {
                for user in 0..5 {
                    shares.take(owner(0, user), 1000);
                }
                if turn % 40 == 0 {
                    for user in 10..20 {
                        shares.take(owner(0, user), 1000);
                    }
                }
                if turn % 50 == 0 {
                    refused += u32::from(!shares.take(owner(0, 77), 1000));
                    all += 1;
                }
                for _ in 0..new_users {
                    next = (next + 1) % 65_536;
                    shares.take(owner(1, next), 1000);
                }
            }
        }
        (refused, all)
    }

    #[test]
    fn a_user_who_asks_for_little_loses_nothing_to_floods() {
        for new_users in [0, 1, 4] {
            let (refused, all) = refused_in_bursts(new_users);
            assert!(
                refused * 100 <= all,
                "{new_users} new users: {refused} of {all}"
            );
        }
    }

    /// Six users flood a queue that is emptied 1 MB at a time, and one asks for more than a seventh
    /// of that.
    #[test]
    fn floods_pay_for_one_who_asks_for_more_than_an_equal_part() {
        let mut shares = QueueShares::default();
        let (mut refused, mut all) = (0, 0);
        for round in 0..400 {
            shares.look(shares.used.saturating_sub(1 << 20), 64 << 20);
            for turn in 0..1500 {
                for user in 0..6 {
                    shares.take(owner(0, user), 1000);
                }
                if turn % 6 == 0 {
                    let is_refused = !shares.take(owner(0, 77), 1000);
                    // Before there is a queue, nobody is known.
                    if round >= 100 {
                        refused += u32::from(is_refused);
                        all += 1;
                    }
                }
            }
        }
        assert!(refused * 100 <= all, "{refused} of {all}");
    }

    #[test]
    fn the_levels_of_users_are_for_all_of_them() {
        for (demands, expected) in [
            (vec![], (100, 100)),
            (vec![10, 20], (90, 90)),
            (vec![1_000], (100, 100)),
            (vec![1_000, 2_000], (50, 50)),
            // 30 is more than a fourth of 100, and leaves more than a sixteenth to each flood.
            (vec![30, 1_000, 1_000, 1_000], (30, 23)),
            (vec![40, 45, 1_000, 1_000], (45, 7)),
            // More than four equal parts.
            (
                vec![
                    5, 45, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000,
                ],
                (10, 10),
            ),
        ] {
            assert_eq!(levels(100, &mut demands.clone()), expected, "{demands:?}");
        }
    }

    #[test]
    fn what_was_in_the_queue_before_leaves_room() {
        let mut shares = QueueShares::default();
        shares.look((64 << 20) / 16 * 15, 64 << 20);
        let room = 500_000;
        assert!(take(&mut shares, owner(1, 1), room) >= room);
    }

    #[test]
    fn no_more_tenants_and_users_are_remembered_than_may_be() {
        let users = (0..64).flat_map(|tenant| (0..2_000).map(move |user| owner(tenant, user)));
        let tenants = (0..2_000).map(|tenant| owner(tenant, 1));
        let (shares, _) = fill(&users.collect::<Vec<_>>());
        assert_eq!(shares.users, MAX_ALL_USERS);
        let (shares, _) = fill(&tenants.collect::<Vec<_>>());
        assert_eq!(shares.tenants.len(), MAX_TENANTS + 1);
    }
}
