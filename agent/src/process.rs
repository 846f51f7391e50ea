//! Enrich: who a caller is, as the resource of its spans.
//!
//! The kernel's process event gives what must not be missed; `/proc` adds what
//! it still can. Nothing here waits for anything but `/proc`.

mod environment;
mod proc;

use std::collections::HashMap;
use std::sync::Arc;

use self::proc::ProcFacts;
use crate::clock::Anchors;
use crate::container::Container;
use crate::encode::{self, EncodedResource};
use crate::event::{Call, ProcessKey, ProcessSeen, Timeout};
use crate::host::Host;
use crate::resource::{Resource, Value};
use crate::span::Rfc3339;

/// Processes remembered; beyond it the one not seen for longest is forgotten
/// and looked up again at its next call.
const MAX_PROCESSES: usize = 8192;

/// A process and its resource, also as bytes for the wire.
#[derive(Debug)]
pub struct Process {
    /// The attributes.
    pub resource: Resource,
    /// The same, encoded.
    pub encoded: Arc<EncodedResource>,
    /// `process.executable.name`, or the thread's name where it is not known.
    pub name: String,
    /// Real user id, where known.
    pub uid: Option<u32>,
    /// Of the container that it runs in.
    pub container_id: Option<String>,
    /// Which execution.
    pub key: ProcessKey,
}

/// What is looked up: the section `enrich`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookups {
    /// `/proc`: executable, owner, environment.
    pub proc: bool,
    /// The container, from the cgroup.
    pub container: bool,
}

/// The processes that called, by their execution.
pub struct Processes {
    known: HashMap<ProcessKey, (u64, Arc<Process>)>,
    host: Host,
    extra: Vec<(String, Value)>,
    lookups: Lookups,
    /// Counts look-ups, so that the oldest can be told.
    turn: u64,
}

impl Processes {
    /// `extra` goes into every resource.
    pub fn new(host: Host, extra: Vec<(String, Value)>, lookups: Lookups) -> Self {
        Self {
            known: HashMap::new(),
            host,
            extra,
            lookups,
            turn: 0,
        }
    }

    /// Takes what the kernel reports of a process: once for each of its
    /// threads that makes a call, of which the first is enough.
    pub fn seen(&mut self, process: &ProcessSeen<'_>, anchors: &Anchors) {
        if self.known.contains_key(&process.key) {
            return;
        }
        let facts = Facts {
            key: process.key,
            exe_name: process.exe_name.clone().into_owned(),
            comm: process.comm.clone().into_owned(),
            uid: Some(process.uid),
            container: Container::of_path(&format!("{}/{}", process.cgroup_parent, process.cgroup)),
        };
        self.remember(facts, anchors);
    }

    /// The process of a call. One whose event was lost is looked up now.
    pub fn of_call(&mut self, call: &Call<'_>, anchors: &Anchors) -> Arc<Process> {
        self.turn += 1;
        let turn = self.turn;
        if let Some((seen, process)) = self.known.get_mut(&call.process) {
            *seen = turn;
            return Arc::clone(process);
        }
        let facts = Facts {
            key: call.process,
            exe_name: String::new(),
            comm: call.comm.clone().into_owned(),
            uid: None,
            container: Container::default(),
        };
        self.remember(facts, anchors)
    }

    fn remember(&mut self, facts: Facts, anchors: &Anchors) -> Arc<Process> {
        if self.known.len() >= MAX_PROCESSES {
            self.forget_half();
        }
        let key = facts.key;
        let process = Arc::new(self.describe(facts, anchors));
        self.known.insert(key, (self.turn, Arc::clone(&process)));
        process
    }

    /// Forgets the half not seen for longest: one sort for many processes.
    fn forget_half(&mut self) {
        let mut turns: Vec<u64> = self.known.values().map(|(turn, _)| *turn).collect();
        let middle = turns.len() / 2;
        let (_, median, _) = turns.select_nth_unstable(middle);
        let median = *median;
        self.known.retain(|_, (turn, _)| *turn > median);
    }

    fn describe(&self, facts: Facts, anchors: &Anchors) -> Process {
        let proc = if self.lookups.proc {
            ProcFacts::read(&facts.key, &facts.exe_name)
        } else {
            ProcFacts::default()
        };
        // What /proc says is whole; what the kernel sent is cut at 63 bytes.
        let exe_name = [
            proc.exe_name().unwrap_or_default().to_owned(),
            facts.exe_name,
            facts.comm,
        ]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default();
        let uid = facts.uid.or(proc.uid);
        let container = if proc.container.is_empty() {
            facts.container
        } else {
            proc.container
        };
        let own = proc.environment;

        let mut resource = Resource::default();
        resource.set_text(
            "service.name",
            own.service_name.unwrap_or_else(|| exe_name.clone()),
        );
        resource.set_text(
            "service.namespace",
            own.service_namespace.unwrap_or_default(),
        );
        resource.set_text("service.version", own.service_version.unwrap_or_default());
        resource.set_text(
            "service.instance.id",
            own.service_instance_id
                .unwrap_or_else(|| self.host.instance_id(&facts.key)),
        );
        resource.set("process.pid", Value::Int(facts.key.pid.into()));
        resource.set_text("process.executable.name", exe_name.clone());
        resource.set_text("process.executable.path", proc.exe_path);
        resource.set_text("process.creation.time", created(&facts.key, anchors));
        resource.set_text(
            "process.owner",
            uid.map(|uid| self.host.user_name(uid)).unwrap_or_default(),
        );
        if self.lookups.container {
            resource.set_text("container.id", container.id.clone().unwrap_or_default());
            resource.set_text("k8s.pod.uid", container.pod_uid.unwrap_or_default());
        }
        self.host.describe(&mut resource);
        for (key, value) in &self.extra {
            resource.set(key.clone(), value.clone());
        }
        Process {
            encoded: Arc::new(encode::resource(&resource)),
            resource,
            name: exe_name,
            uid,
            container_id: container.id,
            key: facts.key,
        }
    }
}

/// What is known of a process before `/proc` is asked.
struct Facts {
    key: ProcessKey,
    exe_name: String,
    comm: String,
    uid: Option<u32>,
    container: Container,
}

/// `process.creation.time`, ISO 8601 in UTC.
fn created(key: &ProcessKey, anchors: &Anchors) -> String {
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
