//! Enrich: who a caller is, as the resource of its spans.
//!
//! The kernel's events say who it is. `/proc` adds what did not fit into them,
//! on threads that nothing waits for. Nothing here blocks.

mod environment;
mod facts;
mod lookups;
mod proc;
mod published;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Instant;

use opentelemetry_semantic_conventions::attribute as semconv;

use self::environment::Environment;
use self::facts::{Arriving, Facts};
pub use self::lookups::LookupLosses;
use self::lookups::ProcLookups;
use self::proc::Missing;
use self::published::{Contexts, Look, Published};
use crate::clock::Anchors;
use crate::config::{self, Enrich};
use crate::encode::{self, EncodedResource};
use crate::event::{Call, EnvironmentSeen, PathSeen, PidLevel, ProcessKey, ProcessSeen};
use crate::hash::KeyHasher;
use crate::host::Host;
use crate::kernel::ContextChange;
use crate::kubernetes::{FoundPod, Pods};
use crate::owner::{Owner, OwnerLosses};
use crate::resource::{AttributeValue, Resource};

/// Processes kept, by number and by memory. Beyond either limit the half not
/// seen for longest is dropped, and the kernel announces them again at their
/// next call.
const MAX_PROCESSES: usize = 8192;
const MAX_BYTES: usize = 16 << 20;

/// Processes of which only parts have arrived. The rest follows, unless it
/// found no room.
const MAX_ARRIVING: usize = 256;

/// A process and its resource, also encoded for the wire.
#[derive(Debug)]
pub struct Process {
    pub resource: Resource,
    pub encoded: Arc<EncodedResource>,
    /// `process.executable.name`, or the thread's name if that is unknown.
    pub name: String,
    /// Real user id, if known.
    pub uid: Option<u32>,
    /// The owner whose share of the room it uses, if known.
    pub owner: Option<Owner>,
    pub container_id: Option<String>,
    /// The cgroup whose processes all have these properties, by the kernel's
    /// `cgroup_key()`.
    pub cgroup_id: Option<u64>,
    pub key: ProcessKey,
}

/// The processes that made calls, by execution.
pub struct Processes {
    known: HashMap<ProcessKey, Known, BuildHasherDefault<KeyHasher>>,
    /// Sum of [`Known::bytes`].
    bytes: usize,
    arriving: HashMap<ProcessKey, Arriving>,
    lookups: ProcLookups,
    lookup_losses: LookupLosses,
    contexts: Contexts,
    owners: Arc<OwnerLosses>,
    /// Thread group ids of the processes dropped since they were last taken.
    forgotten: Vec<u32>,
    host: Host,
    extra: BTreeMap<String, AttributeValue>,
    enrich: Enrich,
    pods: Option<Pods>,
    /// Counts look-ups, to find the processes not seen for longest.
    turn: u64,
    /// Time at the end of the last round.
    now: Instant,
}

struct Known {
    /// The turn of the last look-up.
    turn: u64,
    process: Arc<Process>,
    facts: Facts,
    /// Set for a process in a container whose pod may still appear: the
    /// generation of the pods when they were last asked.
    waiting: Option<u64>,
}

impl Known {
    /// Approximate memory in bytes.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.facts.bytes() + self.process.bytes()
    }
}

impl Process {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.resource.bytes() + self.encoded.head().len() + self.name.len()
    }
}

impl Processes {
    /// Every process gets the attributes in `resource`.
    pub fn new(host: Host, resource: &config::Resource, enrich: &Enrich) -> Self {
        let lookup_losses = LookupLosses::default();
        Self {
            known: HashMap::default(),
            bytes: 0,
            arriving: HashMap::new(),
            lookups: ProcLookups::new(lookup_losses.clone()),
            contexts: Contexts::new(&lookup_losses),
            lookup_losses,
            owners: Arc::default(),
            forgotten: Vec::new(),
            host,
            extra: resource.attributes.clone(),
            enrich: enrich.clone(),
            pods: None,
            turn: 0,
            now: Instant::now(),
        }
    }

    /// Looks for what processes publish, if `is_on`.
    #[must_use]
    pub fn with_contexts(mut self, is_on: bool) -> Self {
        self.contexts.set_on(is_on);
        self
    }

    /// Looks for what processes publish from now on, or forgets it.
    pub fn set_contexts(&mut self, is_on: bool) {
        if is_on == self.contexts.is_on() {
            return;
        }
        self.contexts.set_on(is_on);
        self.bytes = 0;
        for (key, mut known) in std::mem::take(&mut self.known) {
            let pid = known.facts.look.pid();
            self.contexts.forget(key, &mut known.facts.look);
            known.facts.look = Look::at(pid, self.now);
            known.facts.published = Published::default();
            self.insert(known.facts, known.turn);
        }
    }

    /// What the kernel is to know of contexts since the last call.
    pub fn take_context_changes(&mut self) -> Vec<ContextChange> {
        self.contexts.take_changes()
    }

    /// Takes the names of pods and workloads from `pods`.
    #[must_use]
    pub fn with_pods(mut self, pods: Option<Pods>) -> Self {
        self.pods = pods;
        self
    }

    /// Reports the names of containers to `owners`.
    #[must_use]
    pub fn with_owners(mut self, owners: Arc<OwnerLosses>) -> Self {
        self.owners = owners;
        self
    }

    /// Look-ups in `/proc` that failed.
    pub fn lookup_losses(&self) -> LookupLosses {
        self.lookup_losses.clone()
    }

    /// Applies these settings to all processes from now on. `pods` is set if it
    /// changes too.
    pub fn reconfigure(
        &mut self,
        resource: &config::Resource,
        enrich: &Enrich,
        pods: Option<Option<Pods>>,
    ) {
        let tells_more = enrich.process && !self.enrich.process;
        self.extra.clone_from(&resource.attributes);
        self.enrich = enrich.clone();
        if let Some(pods) = pods {
            self.pods = pods;
        }
        if tells_more {
            // So far the kernel has not sent environments.
            self.forgotten.extend(self.known.keys().map(|key| key.pid));
        }
        let known = std::mem::take(&mut self.known);
        self.bytes = 0;
        for (_, known) in known {
            if !tells_more {
                self.insert(known.facts, known.turn);
            }
        }
    }

    /// Takes news of pods and results from `/proc`. Never waits.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        if let Some(pods) = &mut self.pods {
            pods.update();
        }
        for (key, found) in self.lookups.take(now) {
            if let Some(mut known) = self.remove(&key) {
                known.facts.add(found);
                self.insert(known.facts, known.turn);
            }
        }
        for (key, found) in self.contexts.take(now) {
            let Some(known) = self.known.get_mut(&key) else {
                continue;
            };
            let look = &mut known.facts.look;
            let published = self.contexts.found(key, look, found, now);
            if let Some(published) = published.filter(|found| *found != known.facts.published)
                && let Some(mut known) = self.remove(&key)
            {
                known.facts.published = published;
                self.insert(known.facts, known.turn);
            }
        }
    }

    /// Thread group ids of processes dropped since the last call, which the
    /// kernel must announce again.
    pub fn take_forgotten(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.forgotten)
    }

    /// Takes the kernel's report on a process. Returns the process if it is new.
    pub fn seen(&mut self, process: &ProcessSeen<'_>, anchors: &Anchors) -> Option<Arc<Process>> {
        let parts = self.arriving.remove(&process.key).unwrap_or_default();
        if let Some(known) = self.known.get(&process.key)
            && known.facts.is_from_kernel
        {
            return None;
        }
        if let Some(name) = &parts.tenant {
            self.owners.name_container(process.owner, name);
        }
        let missing = parts.missing;
        let mut facts = Facts::of_kernel(process, parts, anchors);
        let pid = self.pid_here(&process.pids);
        self.look_up(pid, &facts, missing);
        let earlier = self.remove(&process.key).map(|known| known.facts);
        facts.look = earlier.map_or_else(|| Look::at(pid, self.now), |earlier| earlier.look);
        if facts.look.is_due(self.now) {
            self.contexts
                .begin(facts.key, process.uid, &mut facts.look, self.now);
        }
        Some(self.remember(facts))
    }

    /// Takes a path, which comes before its process.
    pub fn path(&mut self, seen: &PathSeen<'_>) {
        self.arriving(seen.key).add_path(seen);
    }

    /// Takes an environment, which comes before its process.
    pub fn environment(&mut self, seen: &EnvironmentSeen<'_>) {
        let (environment, is_all) = Environment::parse(seen.environ, seen.is_whole);
        let parts = self.arriving(seen.key);
        parts.missing.environment = !is_all;
        parts.environment = environment;
    }

    fn arriving(&mut self, key: ProcessKey) -> &mut Arriving {
        if self.arriving.len() >= MAX_ARRIVING && !self.arriving.contains_key(&key) {
            self.arriving.clear();
        }
        self.arriving.entry(key).or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.known.values().map(|known| &*known.process)
    }

    /// The process of a call. If its event was lost, only what `/proc` says is
    /// known, after a while, until the kernel announces it again.
    pub fn of_call(&mut self, call: &Call<'_>, anchors: &Anchors) -> Arc<Process> {
        self.turn += 1;
        if let Some(known) = self.known.get_mut(&call.process) {
            known.turn = self.turn;
            if known.facts.look.is_due(self.now) {
                let uid = known.facts.uid.unwrap_or(u32::MAX);
                let look = &mut known.facts.look;
                self.contexts.begin(call.process, uid, look, self.now);
            }
            if known.waiting.is_some() && known.waiting != self.pods.as_ref().map(Pods::generation)
            {
                return self.ask_again(call.process);
            }
            return Arc::clone(&known.process);
        }
        let mut facts = Facts::of_call(call, anchors);
        let missing = Missing {
            exe: true,
            container: true,
            environment: true,
        };
        let pid = self
            .host
            .is_in_initial_pid_namespace()
            .then_some(call.process.pid);
        self.look_up(pid, &facts, missing);
        facts.look = Look::at(pid, self.now);
        self.remember(facts)
    }

    /// The id of a process in the agent's own PID namespace.
    fn pid_here(&self, pids: &[PidLevel]) -> Option<u32> {
        pids.iter()
            .find(|level| level.namespace == self.host.pid_namespace())
            .map(|level| level.pid)
    }

    fn look_up(&mut self, pid: Option<u32>, facts: &Facts, missing: Missing) {
        if let Some(pid) = pid
            && self.enrich.process
            && missing.anything()
        {
            let uid = facts.uid.unwrap_or(u32::MAX);
            self.lookups
                .begin(pid, facts.key, uid, missing, Instant::now());
        }
    }

    fn remember(&mut self, facts: Facts) -> Arc<Process> {
        if self.known.len() >= MAX_PROCESSES || self.bytes >= MAX_BYTES {
            self.forget_half();
        }
        self.insert(facts, self.turn)
    }

    /// Describes the process and keeps it.
    fn insert(&mut self, facts: Facts, turn: u64) -> Arc<Process> {
        let key = facts.key;
        let found = self.find(&facts);
        let process = Arc::new(self.describe(&facts, found));
        let waits = !facts.container.is_empty() && !found.is_some_and(|found| found.is_whole());
        let waiting = self.pods.as_ref().map(Pods::generation).filter(|_| waits);
        let known = Known {
            turn,
            process: Arc::clone(&process),
            facts,
            waiting,
        };
        self.bytes += known.bytes();
        self.known.insert(key, known);
        process
    }

    fn remove(&mut self, key: &ProcessKey) -> Option<Known> {
        let known = self.known.remove(key)?;
        self.bytes = self.bytes.saturating_sub(known.bytes());
        Some(known)
    }

    /// Looks a waiting process up again after pods have changed.
    fn ask_again(&mut self, key: ProcessKey) -> Arc<Process> {
        let Some(known) = self.remove(&key) else {
            return self.insert(Facts::unknown(key), self.turn);
        };
        let old = known.process;
        let new = self.insert(known.facts, known.turn);
        if new.resource != old.resource {
            return new;
        }
        // Keep the same object if nothing has changed, so that its spans stay together.
        if let Some(known) = self.known.get_mut(&key) {
            known.process = Arc::clone(&old);
        }
        old
    }

    /// Drops the half not seen for longest, so that one sort pays for many processes.
    fn forget_half(&mut self) {
        let mut turns: Vec<u64> = self.known.values().map(|known| known.turn).collect();
        let middle = turns.len() / 2;
        let (_, median, _) = turns.select_nth_unstable(middle);
        let median = *median;
        let Self {
            known,
            forgotten,
            bytes,
            contexts,
            ..
        } = self;
        known.retain(|key, known| {
            let stays = known.turn > median;
            if !stays {
                *bytes = bytes.saturating_sub(known.bytes());
                forgotten.push(key.pid);
                contexts.forget(*key, &mut known.facts.look);
            }
            stays
        });
    }

    fn find(&self, facts: &Facts) -> Option<FoundPod<'_>> {
        self.pods.as_ref()?.find(&facts.container)
    }

    fn describe(&self, facts: &Facts, found: Option<FoundPod<'_>>) -> Process {
        let mut resource = Resource::default();
        self.describe_service(&mut resource, facts, found);
        resource.set(
            semconv::PROCESS_PID,
            AttributeValue::Int(facts.key.pid.into()),
        );
        if let Some(vpid) = facts.vpid {
            resource.set(semconv::PROCESS_VPID, AttributeValue::Int(vpid.into()));
        }
        resource.set_text(semconv::PROCESS_EXECUTABLE_NAME, facts.exe_name.clone());
        if self.enrich.process {
            resource.set_text(semconv::PROCESS_EXECUTABLE_PATH, facts.exe_path.clone());
        }
        resource.set_text(semconv::PROCESS_CREATION_TIME, facts.created.clone());
        let uid = facts.uid.filter(|_| facts.is_of_host());
        let owner = uid.and_then(|uid| self.host.user_name(uid));
        resource.set_text(semconv::PROCESS_OWNER, owner.unwrap_or_default());
        let container = &facts.container;
        if self.enrich.container {
            resource.set_text(
                semconv::CONTAINER_ID,
                container.id.clone().unwrap_or_default(),
            );
            resource.set_text(
                semconv::K8S_POD_UID,
                container.pod_uid.clone().unwrap_or_default(),
            );
        }
        if let Some(pods) = &self.pods {
            pods.describe_node(&mut resource);
        }
        if let Some(found) = found {
            found.describe(&mut resource);
        }
        self.host.describe(&mut resource);
        if self.enrich.process {
            for (key, value) in facts.published.iter() {
                resource.set_new(key, || value.clone());
            }
            for (key, value) in facts.own.iter() {
                resource.set_new_text(key, value);
            }
        }
        if let Some(found) = found {
            found.describe_rest(&mut resource);
        }
        for (key, value) in &self.extra {
            resource.set(key.clone(), value.clone());
        }
        Process {
            encoded: Arc::new(encode::resource(&resource)),
            resource,
            name: facts.name().to_owned(),
            uid: facts.uid,
            owner: facts.owner,
            container_id: container.id.clone(),
            cgroup_id: facts.cgroup_id,
            key: facts.key,
        }
    }

    /// Sets `service.*`. Precedence, highest first: what the process publishes, its environment,
    /// its pod, its executable and host.
    fn describe_service(
        &self,
        resource: &mut Resource,
        facts: &Facts,
        found: Option<FoundPod<'_>>,
    ) {
        let own = |key| {
            let told = || facts.published.text(key).or_else(|| facts.own.get(key));
            let told = self.enrich.process.then(told).flatten();
            told.map(str::to_owned)
        };
        let of_pod = found.map(|found| found.service()).unwrap_or_default();
        for (key, of_pod, otherwise) in [
            (
                semconv::SERVICE_NAME,
                of_pod.name,
                Some(facts.name().to_owned()),
            ),
            (semconv::SERVICE_NAMESPACE, of_pod.namespace, None),
            (semconv::SERVICE_VERSION, of_pod.version, None),
            (
                semconv::SERVICE_INSTANCE_ID,
                of_pod.instance_id,
                Some(self.host.instance_id(&facts.key)),
            ),
        ] {
            let value = own(key).or(of_pod).or(otherwise);
            resource.set_text(key, value.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests;
