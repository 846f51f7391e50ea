//! The part of a filter that names decide, which the kernel leaves to the
//! agent. What it drops is counted as filtered, like what the kernel drops.

use crate::config::{Filter, Globs, Selector};
use crate::event::Call;
use crate::process::Process;

/// Decides by names, users and namespaces.
#[derive(Debug, Clone, Default)]
pub struct NameFilter {
    include: Rules,
    exclude: Rules,
}

#[derive(Debug, Clone, Default)]
struct Rules {
    comms: Globs,
    queues: Globs,
    namespaces: Vec<u32>,
    uids: Vec<u32>,
    containers: Globs,
}

impl NameFilter {
    /// The rules of `filter` that the kernel does not apply.
    pub fn new(filter: &Filter) -> Self {
        Self {
            include: Rules::new(&filter.include),
            exclude: Rules::new(&filter.exclude),
        }
    }

    /// Lets everything pass.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Is this call of this process wanted?
    pub fn wants(&self, call: &Call<'_>, process: &Process) -> bool {
        self.include.all(call, process) && !self.exclude.any(call, process)
    }
}

impl Rules {
    fn new(selector: &Selector) -> Self {
        Self {
            comms: selector.comms.clone(),
            queues: selector.queues.clone(),
            namespaces: selector.namespaces.clone(),
            uids: selector.uids.clone(),
            containers: selector.containers.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        self.comms.is_empty()
            && self.queues.is_empty()
            && self.namespaces.is_empty()
            && self.uids.is_empty()
            && self.containers.is_empty()
    }

    /// Every list that is not empty matches.
    fn all(&self, call: &Call<'_>, process: &Process) -> bool {
        (self.comms.is_empty() || self.comms.matches(&call.comm))
            && (self.queues.is_empty() || self.matches_queue(call))
            && (self.namespaces.is_empty() || self.namespaces.contains(&call.ipc_namespace))
            && (self.uids.is_empty() || self.matches_user(process))
            && (self.containers.is_empty() || self.matches_container(process))
    }

    /// Some list matches.
    fn any(&self, call: &Call<'_>, process: &Process) -> bool {
        self.comms.matches(&call.comm)
            || self.matches_queue(call)
            || self.namespaces.contains(&call.ipc_namespace)
            || self.matches_user(process)
            || self.matches_container(process)
    }

    fn matches_user(&self, process: &Process) -> bool {
        process.uid.is_some_and(|uid| self.uids.contains(&uid))
    }

    fn matches_container(&self, process: &Process) -> bool {
        process
            .container_id
            .as_deref()
            .is_some_and(|id| self.containers.matches(id))
    }

    fn matches_queue(&self, call: &Call<'_>) -> bool {
        call.name
            .as_deref()
            .is_some_and(|name| self.queues.matches_queue(name))
    }
}
