//! The part of a configuration that the kernel acts on.

use super::name_table::NameTable;
use crate::config::{
    Abi, Capture, ChainMode, Chains, Config, Correlation, Filter, Globs, Selector,
};

#[derive(Debug, Clone, PartialEq)]
pub struct KernelSettings {
    /// What to hook, and sizes and limits.
    pub capture: Capture,
    pub filter: KernelFilter,
    /// `traces.chains`, with the mode that is possible.
    pub chains: Chains,
    /// Whether a receive is the child of its send.
    pub joins_receives: bool,
    /// Whether to send the environments of processes.
    pub environments: bool,
}

/// Limit of followed threads if payloads are captured: each takes 4 KiB more.
const MAX_THREADS_WITH_PAYLOAD: u32 = 8192;

impl KernelSettings {
    pub fn new(config: &Config) -> Self {
        Self {
            capture: config.capture.clone(),
            filter: KernelFilter::new(&config.filter),
            chains: chains_of(config),
            joins_receives: config.traces.correlation == Correlation::Parent,
            environments: config.enrich.process,
        }
    }

    pub(super) fn max_threads(&self) -> u32 {
        match self.payload_max() {
            0 => self.capture.max_in_flight,
            _ => self.capture.max_in_flight.min(MAX_THREADS_WITH_PAYLOAD),
        }
    }

    pub(super) fn traces(&self, abi: Abi) -> bool {
        self.capture.abis.contains(&abi)
    }

    /// Size of the ring in bytes: a power of two and a multiple of the page size.
    pub(super) fn ring_bytes(&self) -> u32 {
        u32::try_from(self.capture.ring_buffer_size.0).unwrap_or(u32::MAX)
    }

    /// Bytes of each message to capture; 0 for none.
    pub(super) fn payload_max(&self) -> u32 {
        let payload = &self.capture.payload;
        if payload.enabled {
            payload.max_bytes
        } else {
            0
        }
    }
}

fn chains_of(config: &Config) -> Chains {
    let mode = match config.traces.chain_mode() {
        // A thread can change its ABI, and what it receives by another one is not seen.
        ChainMode::Proven if !config.capture.has_every_abi() => ChainMode::Link,
        mode => mode,
    };
    Chains {
        mode,
        ..config.traces.chains.clone()
    }
}

/// The part of a filter that the kernel applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelFilter {
    /// Only these processes and their children, by their ids in the agent's
    /// PID namespace; empty for all.
    pub include_pids: Vec<u32>,
    /// Exclude these processes and their children.
    pub exclude_pids: Vec<u32>,
    /// Drop calls shorter than this, in ns; 0 for none.
    pub min_duration_ns: u64,
    /// Drop calls that succeed.
    pub errors_only: bool,
    /// Names of threads; `None` for all.
    pub comms: Option<NameTable>,
    /// Queues; `None` for all.
    pub queues: Option<NameTable>,
    /// Whether calls without a queue name are wanted.
    pub without_queue: bool,
    /// Real user ids.
    pub uids: IdList,
    /// IPC namespaces, by inode number.
    pub namespaces: IdList,
    /// Whether the kernel asks for verdicts on cgroups, see [`super::CgroupVerdict`].
    pub by_container: bool,
    /// Whether the agent drops some calls that the kernel lets pass.
    pub agent_decides: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdList {
    /// Only these; empty for all.
    pub include: Vec<u32>,
    /// Exclude these.
    pub exclude: Vec<u32>,
}

/// Entries of the map `ids`, which two filters can share.
const MAX_IDS: usize = 1024;

impl IdList {
    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether the map has room for both lists beside those of another filter.
    pub fn fit(lists: [&Self; 2]) -> bool {
        let sum: usize = lists
            .iter()
            .map(|list| list.include.len() + list.exclude.len())
            .sum();
        sum <= MAX_IDS / 2
    }
}

impl KernelFilter {
    /// The part of `filter` that the kernel can apply.
    pub fn new(filter: &Filter) -> Self {
        let (include, exclude) = (&filter.include, &filter.exclude);
        let is_about =
            |list: fn(&Selector) -> &Globs| !list(include).is_empty() || !list(exclude).is_empty();
        let inodes = |selector: &Selector| {
            let inodes = selector.namespaces.iter();
            inodes.map(|inode| inode.0).collect()
        };
        let mut uids = IdList {
            include: include.uids.clone(),
            exclude: exclude.uids.clone(),
        };
        let mut namespaces = IdList {
            include: inodes(include),
            exclude: inodes(exclude),
        };
        let ids_fit = IdList::fit([&uids, &namespaces]);
        if !ids_fit {
            (uids, namespaces) = (IdList::default(), IdList::default());
        }
        let by_comm = is_about(|list| &list.comms);
        let by_queue = is_about(|list| &list.queues);
        let by_container = is_about(|list| &list.containers);
        let comms = by_comm
            .then(|| NameTable::new(&include.comms, &exclude.comms))
            .flatten();
        let queues = by_queue
            .then(|| NameTable::of_queues(&include.queues, &exclude.queues))
            .flatten();
        Self {
            include_pids: include.pids.clone(),
            exclude_pids: exclude.pids.clone(),
            min_duration_ns: u64::try_from(filter.min_duration.0.as_nanos()).unwrap_or(u64::MAX),
            errors_only: filter.errors_only,
            without_queue: include.queues.is_empty(),
            agent_decides: by_container
                || !ids_fit
                || by_comm && comms.is_none()
                || by_queue && queues.is_none(),
            comms,
            queues,
            uids,
            namespaces,
            by_container,
        }
    }

    pub(super) fn by_process(&self) -> bool {
        !self.include_pids.is_empty() || !self.exclude_pids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_proven_only_where_every_abi_is_seen() {
        let mut config = Config::default();
        assert_eq!(KernelSettings::new(&config).chains.mode, ChainMode::Proven);
        config.capture.abis = [Abi::Native].into();
        assert_eq!(KernelSettings::new(&config).chains.mode, ChainMode::Link);
        config.traces.chains.mode = ChainMode::Thread;
        assert_eq!(KernelSettings::new(&config).chains.mode, ChainMode::Thread);
        config = Config::default();
        config.traces.correlation = Correlation::Link;
        assert_eq!(KernelSettings::new(&config).chains.mode, ChainMode::Link);
    }
}
