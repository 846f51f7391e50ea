//! The part of the filter that the kernel leaves to the agent: containers, and
//! lists that are too large for the kernel. What it drops counts as filtered,
//! like what the kernel drops.

use crate::config::{Filter, Globs, Selector};
use crate::event::Call;
use crate::kernel::KernelFilter;
use crate::process::Process;

/// Decides by names, users, namespaces and containers.
#[derive(Debug, Clone, Default)]
pub struct NameFilter {
    /// For calls that the kernel has judged.
    left: Lists,
    /// For calls that the kernel could not judge.
    all: Lists,
}

#[derive(Debug, Clone, Default)]
struct Lists {
    include: Rules,
    exclude: Rules,
}

impl NameFilter {
    /// The rules of `filter` that `kernel` does not apply.
    pub fn new(filter: &Filter, kernel: &KernelFilter) -> Self {
        let lists = |kernel: &KernelFilter| Lists {
            include: Rules::new(&filter.include, kernel),
            exclude: Rules::new(&filter.exclude, kernel),
        };
        Self {
            left: lists(kernel),
            all: lists(&KernelFilter::default()),
        }
    }

    /// Whether only the calls that the kernel could not judge need a decision.
    pub fn is_left_nothing(&self) -> bool {
        self.left.include.is_empty() && self.left.exclude.is_empty()
    }

    pub fn wants(&self, call: &Call<'_>, process: &Process) -> bool {
        let Lists { include, exclude } = if call.undecided {
            &self.all
        } else if self.is_left_nothing() {
            return true;
        } else {
            &self.left
        };
        include.all(call, process) && !exclude.any(call, process)
    }

    /// Whether calls from this process's container are wanted. `None` if the
    /// filter has no rules for containers.
    pub fn wants_container(&self, process: &Process) -> Option<bool> {
        let Lists { include, exclude } = &self.left;
        if include.containers.is_empty() && exclude.containers.is_empty() {
            return None;
        }
        let included = include.containers.is_empty() || include.matches_container(process);
        Some(included && !exclude.matches_container(process))
    }
}

#[derive(Debug, Clone, Default)]
struct Rules {
    comms: Globs,
    queues: Globs,
    namespaces: Vec<u32>,
    uids: Vec<u32>,
    containers: Globs,
}

impl Rules {
    fn new(selector: &Selector, kernel: &KernelFilter) -> Self {
        let mut rules = Self {
            containers: selector.containers.clone(),
            ..Self::default()
        };
        if kernel.comms.is_none() {
            rules.comms = selector.comms.clone();
        }
        if kernel.queues.is_none() {
            rules.queues = selector.queues.clone();
        }
        if kernel.uids.is_empty() {
            rules.uids.clone_from(&selector.uids);
        }
        if kernel.namespaces.is_empty() {
            rules.namespaces = selector.namespaces.iter().map(|inode| inode.0).collect();
        }
        rules
    }

    fn is_empty(&self) -> bool {
        self.comms.is_empty()
            && self.queues.is_empty()
            && self.namespaces.is_empty()
            && self.uids.is_empty()
            && self.containers.is_empty()
    }

    /// Whether every list that is not empty matches.
    fn all(&self, call: &Call<'_>, process: &Process) -> bool {
        (self.comms.is_empty() || self.comms.matches(&call.comm))
            && (self.queues.is_empty() || self.matches_queue(call))
            && (self.namespaces.is_empty() || self.namespaces.contains(&call.ipc_namespace))
            && (self.uids.is_empty() || self.matches_user(process))
            && (self.containers.is_empty() || self.matches_container(process))
    }

    /// Whether any list matches.
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
