//! Owners of calls: with whom a caller shares the available room.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hash::KeyHasher;
use crate::loss::Loss;
use crate::skel::types::{owner, tenant_kind};

/// Limit on the owners whose losses are counted separately, and on the names of
/// containers remembered. Losses beyond it are counted together.
const MAX_OWNERS: usize = 256;

/// Limit on the users of one container among them, as its root can take any
/// user id. Losses beyond it are counted for the container as a whole.
const MAX_USERS: usize = 8;

/// Something that only the host's root can create, and whose users share its
/// room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tenant {
    /// Everything outside containers.
    Host,
    /// The container or pod of this cgroup, `kernfs_node.id`.
    Container(u64),
    /// The PID namespace with this inode number.
    PidNamespace(u64),
    /// The user namespace with this inode number.
    UserNamespace(u64),
}

/// A user of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub tenant: Tenant,
    /// User id in the initial user namespace: that of the process, or of
    /// whoever created the user namespace that it is in.
    pub user: u32,
}

impl Owner {
    /// Stands for all users that are not counted separately. No user has this
    /// id.
    pub const ANY_USER: u32 = u32::MAX;

    /// From `struct owner` of `events.h`.
    pub(crate) fn from_raw(raw: &owner) -> Self {
        let tenant = match tenant_kind(raw.kind) {
            tenant_kind::TENANT_CONTAINER => Tenant::Container(raw.tenant),
            tenant_kind::TENANT_PID_NS => Tenant::PidNamespace(raw.tenant),
            tenant_kind::TENANT_USER_NS => Tenant::UserNamespace(raw.tenant),
            _ => Tenant::Host,
        };
        Self {
            tenant,
            user: raw.user,
        }
    }
}

/// Calls lost by one owner for one reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostByOwner {
    /// `None` for all owners that are not counted separately.
    pub owner: Option<Owner>,
    /// Name of the container, if the owner is in a known one.
    pub container: Option<Arc<str>>,
    /// Always a reason that is about room.
    pub reason: Loss,
    pub calls: u64,
}

/// Losses by owner, from any thread. The lock is rarely contended: it is taken
/// only when something is lost and when metrics are read.
#[derive(Debug, Default)]
pub struct OwnerLosses(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    calls: HashMap<(Option<Owner>, Loss), u64>,
    containers: HashMap<u64, Arc<str>, BuildHasherDefault<KeyHasher>>,
}

impl Inner {
    fn users_of(&self, tenant: Tenant, reason: Loss) -> usize {
        let same = |key: &&(Option<Owner>, Loss)| {
            key.1 == reason && key.0.is_some_and(|owner| owner.tenant == tenant)
        };
        self.calls.keys().filter(same).count()
    }
}

impl OwnerLosses {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts losses. `None` stands for all owners that are not counted
    /// separately.
    pub fn add(&self, owner: Option<Owner>, reason: Loss, calls: u64) {
        let mut inner = self.lock();
        let known = inner.calls.contains_key(&(owner, reason));
        let owner = owner.map(|owner| {
            let users = inner.users_of(owner.tenant, reason);
            if known || owner.tenant == Tenant::Host || users < MAX_USERS {
                owner
            } else {
                Owner {
                    user: Owner::ANY_USER,
                    ..owner
                }
            }
        });
        let known = inner.calls.contains_key(&(owner, reason));
        let owner = owner.filter(|_| known || inner.calls.len() < MAX_OWNERS);
        *inner.calls.entry((owner, reason)).or_default() += calls;
    }

    /// Remembers the name of a tenant's container.
    pub fn name_container(&self, owner: Owner, name: &str) {
        let Tenant::Container(cgroup_id) = owner.tenant else {
            return;
        };
        let mut inner = self.lock();
        if inner.containers.contains_key(&cgroup_id) {
            return;
        }
        if inner.containers.len() >= MAX_OWNERS {
            inner.containers.clear();
        }
        inner.containers.insert(cgroup_id, name.into());
    }

    /// All losses, sorted.
    pub fn snapshot(&self) -> Vec<LostByOwner> {
        let inner = self.lock();
        let mut all: Vec<_> = inner
            .calls
            .iter()
            .map(|(&(owner, reason), &calls)| LostByOwner {
                owner,
                container: owner.and_then(|owner| match owner.tenant {
                    Tenant::Container(id) => inner.containers.get(&id).cloned(),
                    _ => None,
                }),
                reason,
                calls,
            })
            .collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(user: u32) -> Owner {
        Owner {
            tenant: Tenant::Host,
            user,
        }
    }

    #[test]
    fn owners_beyond_the_limit_are_counted_together() {
        let losses = OwnerLosses::default();
        for id in 0..1_000 {
            losses.add(Some(user(id)), Loss::RingFull, 2);
        }
        losses.add(Some(user(3)), Loss::RingFull, 5);
        let all = losses.snapshot();
        assert_eq!(all.len(), MAX_OWNERS + 1);
        assert_eq!(all.iter().map(|lost| lost.calls).sum::<u64>(), 2_005);
        let of = |owner| all.iter().find(|lost| lost.owner == owner).unwrap().calls;
        assert_eq!(of(Some(user(3))), 7);
        assert_eq!(of(None), 2 * (1_000 - MAX_OWNERS as u64));
    }

    #[test]
    fn root_of_a_container_does_not_crowd_others_out() {
        let losses = OwnerLosses::default();
        let tenant = Tenant::Container(77);
        for user in 0..1_000 {
            losses.add(Some(Owner { tenant, user }), Loss::RingFull, 1);
        }
        losses.add(Some(user(3)), Loss::RingFull, 5);
        let all = losses.snapshot();
        assert_eq!(all.len(), MAX_USERS + 2);
        let any = Owner {
            tenant,
            user: Owner::ANY_USER,
        };
        let of = |owner| all.iter().find(|lost| lost.owner == owner).unwrap().calls;
        assert_eq!(of(Some(any)), 1_000 - MAX_USERS as u64);
        assert_eq!(of(Some(user(3))), 5);
    }

    #[test]
    fn containers_have_their_names() {
        let losses = OwnerLosses::default();
        let owner = Owner {
            tenant: Tenant::Container(77),
            user: 0,
        };
        losses.add(Some(owner), Loss::QueueFull, 1);
        assert_eq!(losses.snapshot()[0].container, None);
        losses.name_container(owner, "abc");
        losses.name_container(user(1), "none");
        assert_eq!(losses.snapshot()[0].container.as_deref(), Some("abc"));
    }
}
