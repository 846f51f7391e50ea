//! What is known of a process, from the kernel's events and from `/proc`.

use super::environment::Environment;
use super::proc::{Missing, ProcFacts};
use crate::clock::Anchors;
use crate::container::Container;
use crate::event::{Call, PathKind, PathSeen, ProcessKey, ProcessSeen, Timeout};
use crate::owner::Owner;
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
    pub(super) exe_name: String,
    /// Empty if unknown.
    pub(super) exe_path: String,
    pub(super) created: String,
    pub(super) uid: Option<u32>,
    pub(super) owner: Option<Owner>,
    /// Id in the innermost PID namespace, if that is not the initial one.
    pub(super) vpid: Option<u32>,
    pub(super) container: Container,
    /// A cgroup that is known to be this container's.
    pub(super) cgroup_id: Option<u64>,
    pub(super) own: Environment,
    pub(super) is_from_kernel: bool,
}

impl Facts {
    pub(super) fn of_kernel(seen: &ProcessSeen<'_>, parts: Arriving, anchors: &Anchors) -> Self {
        Self {
            key: seen.key,
            exe_name: if parts.exe_name.is_empty() {
                seen.comm.clone().into_owned()
            } else {
                parts.exe_name
            },
            exe_path: parts.exe_path,
            created: created(&seen.key, anchors),
            uid: Some(seen.uid),
            owner: Some(seen.owner),
            vpid: seen.pids.last().map(|level| level.pid),
            cgroup_id: (!parts.missing.container).then_some(seen.cgroup_id),
            container: parts.container,
            own: parts.environment,
            is_from_kernel: true,
        }
    }

    /// The facts of a process whose event was lost.
    pub(super) fn of_call(call: &Call<'_>, anchors: &Anchors) -> Self {
        Self {
            exe_name: call.comm.clone().into_owned(),
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
        if let Some(container) = found.container.filter(|container| !container.is_empty()) {
            self.container = container;
        }
        if let Some(environment) = found.environment {
            self.own = environment;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.exe_name.len() + self.exe_path.len() + self.created.len() + self.own.bytes()
    }
}

/// `process.creation.time`, ISO 8601 in UTC.
pub(super) fn created(key: &ProcessKey, anchors: &Anchors) -> String {
    let unix_ns = anchors.to_unix_ns(key.start_ns);
    let time = Timeout {
        sec: (unix_ns / 1_000_000_000).cast_signed(),
        nsec: (unix_ns % 1_000_000_000).cast_signed(),
    };
    Rfc3339::default()
        .format(time)
        .unwrap_or_default()
        .to_owned()
}
