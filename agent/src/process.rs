//! Enrich: who a caller is, as the resource of its spans.
//!
//! The kernel's process event gives what must not be missed; `/proc` adds what
//! it still can. Nothing here waits for anything but `/proc`.

mod environment;
mod proc;

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use self::environment::Environment;
use self::proc::ProcFacts;
use crate::clock::Anchors;
use crate::container::Container;
use crate::encode::{self, EncodedResource};
use crate::event::{Call, ProcessKey, ProcessSeen, Timeout};
use crate::hash::KeyHasher;
use crate::host::Host;
use crate::kubernetes::{Found, Pods};
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
    /// Of the cgroup of whose processes all that is true, `kernfs_node.id`.
    pub cgroup_id: Option<u64>,
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
    known: HashMap<ProcessKey, Known, BuildHasherDefault<KeyHasher>>,
    host: Host,
    extra: Vec<(String, Value)>,
    lookups: Lookups,
    pods: Option<Pods>,
    /// Counts look-ups, so that the oldest can be told.
    turn: u64,
}

struct Known {
    /// Of the last look-up.
    turn: u64,
    process: Arc<Process>,
    /// In a container whose pod may still come.
    waiting: Option<Box<Waiting>>,
}

struct Waiting {
    facts: Facts,
    /// Of the pods, when they were last asked.
    generation: u64,
}

impl Processes {
    /// `extra` goes into every resource.
    pub fn new(host: Host, extra: Vec<(String, Value)>, lookups: Lookups) -> Self {
        Self {
            known: HashMap::default(),
            host,
            extra,
            lookups,
            pods: None,
            turn: 0,
        }
    }

    /// Takes the names of pods and workloads from `pods`.
    #[must_use]
    pub fn with_pods(mut self, pods: Option<Pods>) -> Self {
        self.pods = pods;
        self
    }

    /// The pods, for those who take the place of these.
    pub fn take_pods(&mut self) -> Option<Pods> {
        self.pods.take()
    }

    /// Takes in what has become known of pods. Never waits.
    pub fn tick(&mut self) {
        if let Some(pods) = &mut self.pods {
            pods.update();
        }
    }

    /// Takes what the kernel reports of a process: once for each of its
    /// threads that makes a call, of which the first is enough. Gives the
    /// process if it is new.
    pub fn seen(&mut self, process: &ProcessSeen<'_>, anchors: &Anchors) -> Option<Arc<Process>> {
        if self.known.contains_key(&process.key) {
            return None;
        }
        let reported = Reported {
            key: process.key,
            exe_name: process.exe_name.clone().into_owned(),
            comm: process.comm.clone().into_owned(),
            uid: Some(process.uid),
            container: Container::of_path(&format!("{}/{}", process.cgroup_parent, process.cgroup)),
            cgroup: Some((process.cgroup_id, process.cgroup.clone().into_owned())),
        };
        Some(self.remember(reported, anchors))
    }

    /// All that are known.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.known.values().map(|known| &*known.process)
    }

    /// The process of a call. One whose event was lost is looked up now; one
    /// whose pod was not known is looked up again when pods have changed.
    pub fn of_call(&mut self, call: &Call<'_>, anchors: &Anchors) -> Arc<Process> {
        self.turn += 1;
        if let Some(known) = self.known.get_mut(&call.process) {
            known.turn = self.turn;
            let generation = self.pods.as_ref().map(Pods::generation);
            let asks = known
                .waiting
                .as_ref()
                .is_some_and(|waiting| Some(waiting.generation) != generation);
            let process = Arc::clone(&known.process);
            return if asks {
                self.ask_again(process)
            } else {
                process
            };
        }
        let reported = Reported {
            key: call.process,
            exe_name: String::new(),
            comm: call.comm.clone().into_owned(),
            uid: None,
            container: Container::default(),
            cgroup: None,
        };
        self.remember(reported, anchors)
    }

    fn remember(&mut self, reported: Reported, anchors: &Anchors) -> Arc<Process> {
        if self.known.len() >= MAX_PROCESSES {
            self.forget_half();
        }
        let facts = Facts::collect(reported, self.lookups.proc, anchors);
        let found = self.find(&facts);
        let process = Arc::new(self.describe(&facts, found));
        let generation = self.pods.as_ref().map(Pods::generation);
        let waits = !facts.container.is_empty() && !found.is_some_and(|found| found.is_whole());
        let known = Known {
            turn: self.turn,
            process: Arc::clone(&process),
            waiting: generation
                .filter(|_| waits)
                .map(|generation| Box::new(Waiting { facts, generation })),
        };
        self.known.insert(process.key, known);
        process
    }

    /// Looks a waiting process up in pods that have changed.
    fn ask_again(&mut self, process: Arc<Process>) -> Arc<Process> {
        let known = self.known.get_mut(&process.key);
        let Some(mut waiting) = known.and_then(|known| known.waiting.take()) else {
            return process;
        };
        let found = self.find(&waiting.facts);
        let is_whole = found.is_some_and(|found| found.is_whole());
        let process = found
            .map(|_| self.describe(&waiting.facts, found))
            // The same object again keeps its spans together.
            .filter(|new| new.resource != process.resource)
            .map_or(process, Arc::new);
        waiting.generation = self.pods.as_ref().map_or(0, Pods::generation);
        if let Some(known) = self.known.get_mut(&process.key) {
            known.process = Arc::clone(&process);
            known.waiting = (!is_whole).then_some(waiting);
        }
        process
    }

    /// Forgets the half not seen for longest: one sort for many processes.
    fn forget_half(&mut self) {
        let mut turns: Vec<u64> = self.known.values().map(|known| known.turn).collect();
        let middle = turns.len() / 2;
        let (_, median, _) = turns.select_nth_unstable(middle);
        let median = *median;
        self.known.retain(|_, known| known.turn > median);
    }

    fn find(&self, facts: &Facts) -> Option<Found<'_>> {
        self.pods.as_ref()?.find(&facts.container)
    }

    fn describe(&self, facts: &Facts, found: Option<Found<'_>>) -> Process {
        let mut resource = Resource::default();
        self.describe_service(&mut resource, facts, found);
        resource.set("process.pid", Value::Int(facts.key.pid.into()));
        resource.set_text("process.executable.name", facts.exe_name.clone());
        resource.set_text("process.executable.path", facts.exe_path.clone());
        resource.set_text("process.creation.time", facts.created.clone());
        resource.set_text(
            "process.owner",
            facts
                .uid
                .map(|uid| self.host.user_name(uid))
                .unwrap_or_default(),
        );
        let container = &facts.container;
        if self.lookups.container {
            resource.set_text("container.id", container.id.clone().unwrap_or_default());
            resource.set_text("k8s.pod.uid", container.pod_uid.clone().unwrap_or_default());
        }
        if let Some(pods) = &self.pods {
            pods.describe_node(&mut resource);
        }
        if let Some(found) = found {
            found.describe(&mut resource);
        }
        self.host.describe(&mut resource);
        if let Some(found) = found {
            found.describe_rest(&mut resource);
        }
        for (key, value) in &self.extra {
            resource.set(key.clone(), value.clone());
        }
        Process {
            encoded: Arc::new(encode::resource(&resource)),
            resource,
            name: facts.exe_name.clone(),
            uid: facts.uid,
            container_id: container.id.clone(),
            cgroup_id: facts.cgroup_id,
            key: facts.key,
        }
    }

    /// `service.*`: the process's own word, then the pod's, then what follows
    /// from executable and host.
    fn describe_service(&self, resource: &mut Resource, facts: &Facts, found: Option<Found<'_>>) {
        let own = facts.own.clone();
        let of_pod = found.map(|found| found.service()).unwrap_or_default();
        let name = own.service_name.or(of_pod.name);
        let instance_id = own.service_instance_id.or(of_pod.instance_id);
        for (key, value) in [
            (
                "service.name",
                name.or_else(|| Some(facts.exe_name.clone())),
            ),
            (
                "service.namespace",
                own.service_namespace.or(of_pod.namespace),
            ),
            ("service.version", own.service_version.or(of_pod.version)),
            (
                "service.instance.id",
                instance_id.or_else(|| Some(self.host.instance_id(&facts.key))),
            ),
        ] {
            resource.set_text(key, value.unwrap_or_default());
        }
    }
}

/// What is known of a process before `/proc` is asked.
struct Reported {
    key: ProcessKey,
    exe_name: String,
    comm: String,
    uid: Option<u32>,
    container: Container,
    /// Id and name.
    cgroup: Option<(u64, String)>,
}

/// What is known of a process, whether it still runs or not.
struct Facts {
    key: ProcessKey,
    exe_name: String,
    exe_path: String,
    created: String,
    uid: Option<u32>,
    container: Container,
    /// Of a cgroup that is known to be this container's.
    cgroup_id: Option<u64>,
    own: Environment,
}

impl Facts {
    fn collect(reported: Reported, from_proc: bool, anchors: &Anchors) -> Self {
        let proc = if from_proc {
            ProcFacts::read(&reported.key, &reported.exe_name)
        } else {
            ProcFacts::default()
        };
        // What /proc says is whole; what the kernel sent is cut at 63 bytes.
        let exe_name = [
            proc.exe_name().unwrap_or_default().to_owned(),
            reported.exe_name,
            reported.comm,
        ]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default();
        Self {
            key: reported.key,
            exe_name,
            created: created(&reported.key, anchors),
            uid: reported.uid.or(proc.uid),
            cgroup_id: reported
                .cgroup
                // A container that the cgroup itself names needs no /proc.
                .filter(|(_, name)| reported.container.id.is_some() || proc.is_in(name))
                .map(|(id, _)| id),
            container: if proc.container.is_empty() {
                reported.container
            } else {
                proc.container
            },
            exe_path: proc.exe_path,
            own: proc.environment,
        }
    }
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

#[cfg(test)]
mod tests;
