//! The part of a filter that the kernel applies, and how it gets there.

use libbpf_rs::{ErrorKind, MapCore, MapFlags};

use super::processes::ProcessTable;
use super::settings::{KernelFilter, KernelSettings};
use crate::config::{Abi, ChainMode, Syscall};
use crate::skel::types::{
    self, bss, call_op, cgroup_verdict, chain_mode, chain_settings, filter_settings, id_key,
    id_kind, name_kind,
};

/// Whether calls from a cgroup are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CgroupVerdict {
    /// `kernfs_node.id`, from a process event.
    pub cgroup_id: u64,
    pub wanted: bool,
}

/// The verdicts on the listed ids. Exclusion comes last, so that it wins.
fn verdicts(include: &[u32], exclude: &[u32]) -> impl Iterator<Item = (u32, u8)> {
    let wanted = include.iter().map(|&id| (id, raw(true)));
    let unwanted = exclude.iter().map(|&id| (id, raw(false)));
    wanted.chain(unwanted)
}

/// The value in `enum verdict`.
fn raw(wanted: bool) -> u8 {
    let verdict = if wanted {
        types::verdict::WANTED
    } else {
        types::verdict::UNWANTED
    };
    u8::try_from(verdict.0).unwrap_or(0)
}

/// Bits of `filter_settings.operations`.
fn operations(settings: &KernelSettings) -> u32 {
    let bit = |op: call_op| 1_u32 << op.0;
    settings
        .capture
        .syscalls
        .iter()
        .map(|call| match call {
            Syscall::MqOpen => bit(call_op::CALL_OPEN),
            Syscall::MqUnlink => bit(call_op::CALL_UNLINK),
            Syscall::MqTimedsend => {
                bit(call_op::CALL_TIMEDSEND)
                    | bit(call_op::CALL_TIMEDSEND_TIME32)
                    | bit(call_op::CALL_TIMEDSEND_TIME64)
            }
            Syscall::MqTimedreceive => {
                bit(call_op::CALL_TIMEDRECEIVE)
                    | bit(call_op::CALL_TIMEDRECEIVE_TIME32)
                    | bit(call_op::CALL_TIMEDRECEIVE_TIME64)
            }
            Syscall::MqNotify => bit(call_op::CALL_NOTIFY),
            Syscall::MqGetsetattr => bit(call_op::CALL_GETSETATTR),
        })
        .fold(0, |bits, bit| bits | bit)
}

fn filter_of(settings: &KernelSettings, generation: u32) -> filter_settings {
    let filter = &settings.filter;
    filter_settings {
        min_duration_ns: filter.min_duration_ns,
        operations: operations(settings),
        native: settings.traces(Abi::Native).into(),
        compat: settings.traces(Abi::Compat).into(),
        errors_only: filter.errors_only.into(),
        by_caller: (!filter.uids.is_empty() || filter.by_container || filter.comms.is_some())
            .into(),
        by_process: filter.by_process().into(),
        pid_default: raw(filter.include_pids.is_empty()),
        by_uid: (!filter.uids.is_empty()).into(),
        uid_default: raw(filter.uids.include.is_empty()),
        by_namespace: (!filter.namespaces.is_empty()).into(),
        namespace_default: raw(filter.namespaces.include.is_empty()),
        by_container: filter.by_container.into(),
        by_comm: filter.comms.is_some().into(),
        by_queue: filter.queues.is_some().into(),
        queue_default: raw(filter.without_queue),
        agent_decides: filter.agent_decides.into(),
        generation,
    }
}

/// Writes filter number `generation` to where the programs read it. What the
/// maps hold of it must be in place by now, unless no program runs yet.
pub(super) fn store(settings: &KernelSettings, generation: u32, bss: &mut bss) {
    let filter = &settings.filter;
    let slot = (generation & 1) as usize;
    let tables = [
        (name_kind::NAME_COMM, &filter.comms),
        (name_kind::NAME_QUEUE, &filter.queues),
    ];
    for (kind, table) in tables {
        let place = bss
            .names
            .get_mut(slot)
            .and_then(|kinds| kinds.get_mut(kind.0 as usize));
        if let (Some(table), Some(place)) = (table, place) {
            table.store(place);
        }
    }
    // Write the tables before the generation that selects them.
    std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
    // SAFETY: the page is the kernel's map, mapped writable and as long as the
    // skeleton; programs read it while it is written.
    unsafe {
        (&raw mut bss.chains).write_volatile(chains_of(settings));
        (&raw mut bss.filter).write_volatile(filter_of(settings, generation));
    };
}

/// `traces.chains` and `traces.correlation` for the programs.
pub(super) fn chains_of(settings: &KernelSettings) -> chain_settings {
    let chains = &settings.chains;
    let mode = match chains.mode {
        ChainMode::None => chain_mode::CHAINS_NONE,
        ChainMode::Link => chain_mode::CHAINS_LINK,
        ChainMode::Proven => chain_mode::CHAINS_PROVEN,
        ChainMode::Thread => chain_mode::CHAINS_THREAD,
    };
    let max_age = chains.max_age.unless_zero();
    chain_settings {
        max_age_ns: max_age.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
        max_hops: chains.max_hops,
        mode: u16::try_from(mode.0).unwrap_or(0),
        joins_receives: settings.joins_receives.into(),
    }
}

/// Fills the map with the verdicts on the named processes and their children in
/// `table`. Later children inherit at fork. Returns the named processes that do
/// not exist.
pub(super) fn set_pids(
    pids: &impl MapCore,
    filter: &KernelFilter,
    table: &ProcessTable,
) -> libbpf_rs::Result<Vec<u32>> {
    let mut unknown = Vec::new();
    let mut named = Vec::new();
    for (pid_here, verdict) in verdicts(&filter.include_pids, &filter.exclude_pids) {
        match table.kernel_pid(pid_here) {
            Some(pid) => named.push((pid, verdict)),
            None => unknown.push(pid_here),
        }
    }
    let wanted = table.with_descendants(&named);
    for key in pids.keys().collect::<Vec<_>>() {
        let pid = key.as_slice().try_into().map_or(0, u32::from_ne_bytes);
        if !wanted.contains_key(&pid) {
            // A process may end, and its key with it, at any time.
            pids.delete(&key).unwrap_or_default();
        }
    }
    let mut without_room = 0_u32;
    for (pid, verdict) in wanted {
        match pids.update(&pid.to_ne_bytes(), &[verdict], MapFlags::ANY) {
            // A program that forks this much must not keep the agent from starting.
            Err(error) if error.kind() == ErrorKind::TooBig => without_room += 1,
            outcome => outcome?,
        }
    }
    if without_room != 0 {
        tracing::warn!(
            without_room,
            "the processes that filter.include.pids and filter.exclude.pids name have more \
             children than there is room for: these are judged as if no filter named them"
        );
    }
    Ok(unknown)
}

pub(super) fn set_ids(
    ids: &impl MapCore,
    filter: &KernelFilter,
    generation: u32,
) -> libbpf_rs::Result<()> {
    let slot = u16::from(generation & 1 == 1);
    for key in ids.keys().collect::<Vec<_>>() {
        if key.starts_with(&slot.to_ne_bytes()) {
            ids.delete(&key)?;
        }
    }
    let lists = [
        (id_kind::ID_UID, &filter.uids),
        (id_kind::ID_NAMESPACE, &filter.namespaces),
    ];
    for (kind, list) in lists {
        for (id, verdict) in verdicts(&list.include, &list.exclude) {
            let key = id_key {
                slot,
                kind: u16::try_from(kind.0).unwrap_or(0),
                id,
            };
            ids.update(&key_bytes(&key), &[verdict], MapFlags::ANY)?;
        }
    }
    Ok(())
}

fn key_bytes(key: &id_key) -> [u8; 8] {
    let [a, b] = key.slot.to_ne_bytes();
    let [c, d] = key.kind.to_ne_bytes();
    let [e, f, g, h] = key.id.to_ne_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Tells the kernel the verdict on a cgroup.
pub(super) fn set_cgroup(
    cgroups: &impl MapCore,
    generation: u32,
    verdict: CgroupVerdict,
) -> libbpf_rs::Result<()> {
    let value = cgroup_verdict {
        generation,
        verdict: raw(verdict.wanted).into(),
    };
    let [a, b, c, d] = value.generation.to_ne_bytes();
    let [e, f, g, h] = value.verdict.to_ne_bytes();
    cgroups.update(
        &verdict.cgroup_id.to_ne_bytes(),
        &[a, b, c, d, e, f, g, h],
        MapFlags::ANY,
    )
}
