//! What is known of a process, from the kernel's events and from `/proc`.

use super::environment::Environment;
use super::proc::{Missing, ProcFacts};
use super::published::{Look, Published};
use crate::clock::Anchors;
use crate::container::Container;
use crate::event::{Call, PathKind, PathSeen, ProcessKey, ProcessSeen, Timeout};
use crate::host::INITIAL_USER_NAMESPACE;
use crate::owner::{Owner, Tenant};
use crate::rfc3339::Rfc3339;

/// The parts of a process that arrive before its own event.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) exe_name: String,
    pub(super) exe_path: String,
    pub(super) container: Container,
    /// Name of the container or pod that its owner stands for.
    pub(super) tenant: Option<String>,
    pub(super) environment: Environment,
    pub(super) missing: Missing,
}

impl Default for Arriving {
    fn default() -> Self {
        Self {
            exe_name: String::new(),
            exe_path: String::new(),
            container: Container::default(),
            tenant: None,
            environment: Environment::default(),
            missing: Missing {
                exe: true,
                container: true,
                environment: true,
            },
        }
    }
}

impl Arriving {
    pub(super) fn add_path(&mut self, seen: &PathSeen<'_>) {
        match seen.kind {
            PathKind::Exe => {
                self.exe_name = seen.name().into_owned();
                if seen.is_whole {
                    self.exe_path = seen.path();
                }
                self.missing.exe = !seen.is_whole;
            }
            PathKind::Cgroup => {
                self.container = Container::of_path(&seen.path());
                self.missing.container = !seen.is_whole && self.container.is_empty();
                self.tenant = seen.tenant.as_deref().map(|name| {
                    let container = Container::of_path(name);
                    let id = container.id.or(container.pod_uid);
                    id.unwrap_or_else(|| name.to_owned())
                });
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) key: ProcessKey,
    /// Empty if unknown.
    pub(super) exe_name: String,
    /// Empty if unknown.
    pub(super) exe_path: String,
    /// Name of a thread, which a program chooses.
    pub(super) comm: String,
    pub(super) created: String,
    pub(super) uid: Option<u32>,
    pub(super) owner: Option<Owner>,
    /// Whether it is in the initial user namespace.
    pub(super) has_initial_users: bool,
    /// Id in the innermost PID namespace, if that is not the initial one.
    pub(super) vpid: Option<u32>,
    pub(super) container: Container,
    /// Whether it is known that there is no other container than this.
    pub(super) is_container_known: bool,
    /// A cgroup that is known to be this container's.
    pub(super) cgroup_id: Option<u64>,
    pub(super) own: Environment,
    /// What it publishes, which is stronger than its environment.
    pub(super) published: Published,
    pub(super) look: Look,
    pub(super) is_from_kernel: bool,
}

impl Facts {
    pub(super) fn of_kernel(seen: &ProcessSeen<'_>, parts: Arriving, anchors: &Anchors) -> Self {
        Self {
            key: seen.key,
            exe_name: parts.exe_name,
            exe_path: parts.exe_path,
            comm: seen.comm.clone().into_owned(),
            created: created(&seen.key, anchors),
            uid: Some(seen.uid),
            owner: Some(seen.owner),
            has_initial_users: seen.user_namespace == INITIAL_USER_NAMESPACE,
            vpid: seen
                .pids
                .get(1..)
                .and_then(<[_]>::last)
                .map(|level| level.pid),
            cgroup_id: (!parts.missing.container).then_some(seen.cgroup_id),
            container: parts.container,
            is_container_known: !parts.missing.container,
            own: parts.environment,
            is_from_kernel: true,
            ..Self::default()
        }
    }

    /// The facts of a process whose event was lost.
    pub(super) fn of_call(call: &Call<'_>, anchors: &Anchors) -> Self {
        Self {
            comm: call.comm.clone().into_owned(),
            created: created(&call.process, anchors),
            ..Self::unknown(call.process)
        }
    }

    pub(super) fn unknown(key: ProcessKey) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, found: ProcFacts) {
        if let Some(path) = found.exe_path {
            if let Some(name) = path.rsplit('/').next().filter(|name| !name.is_empty()) {
                self.exe_name = name.to_owned();
            }
            self.exe_path = path;
        }
        if let Some(container) = found.container {
            self.is_container_known = true;
            if !container.is_empty() {
                self.container = container;
            }
        }
        if let Some(environment) = found.environment.filter(|found| !found.is_empty()) {
            self.own = environment;
        }
    }

    /// Name of the executable, or of the thread if that is unknown.
    pub(super) fn name(&self) -> &str {
        if self.exe_name.is_empty() {
            &self.comm
        } else {
            &self.exe_name
        }
    }

    /// Whether it is a process of the host itself, so that its user is one of
    /// the host's: in no container and no namespace that stands for one.
    pub(super) fn is_of_host(&self) -> bool {
        self.is_container_known
            && self.container.is_empty()
            && self.has_initial_users
            && self.owner.is_some_and(|owner| owner.tenant == Tenant::Host)
    }

    pub(super) fn bytes(&self) -> usize {
        let container = [&self.container.id, &self.container.pod_uid];
        let container: usize = container.into_iter().flatten().map(String::len).sum();
        let texts = [&self.exe_name, &self.exe_path, &self.comm, &self.created];
        texts.map(String::len).iter().sum::<usize>()
            + container
            + self.own.bytes()
            + self.published.bytes()
    }
}

/// `process.creation.time`, ISO 8601 in UTC. Milliseconds, so that a later
/// reading of the clocks gives the same: with the id it identifies the process.
pub(super) fn created(key: &ProcessKey, anchors: &Anchors) -> String {
    let unix_ns = anchors.to_unix_ns(key.start_ns);
    let time = Timeout {
        sec: (unix_ns / 1_000_000_000).cast_signed(),
        nsec: (unix_ns % 1_000_000_000).cast_signed(),
    };
    let mut text = Rfc3339::default();
    let millis = text.format(time).and_then(|text| text.get(..23));
    millis.map(|text| format!("{text}Z")).unwrap_or_default()
}
