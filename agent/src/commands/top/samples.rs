//! Sample queues and callers for unit tests.

use std::sync::Arc;

use super::blocked::{Blocked, Deadline};
use super::snapshot::Snapshot;
use super::stats::{Limits, QueueId, QueueStats};
use crate::event::{Abi, Operation, Timeout};

const IPC_NAMESPACE: u32 = 4_026_531_839;
const LIMITS: Limits = Limits {
    messages: 10,
    message_size_bytes: 64,
};

pub(super) fn id(name: &str) -> QueueId {
    QueueId {
        name: Arc::from(name),
        ipc_namespace: IPC_NAMESPACE,
    }
}

/// A queue with room for ten messages that holds `depth`.
pub(super) fn queue(name: &str, depth: u32) -> QueueStats {
    QueueStats {
        id: id(name),
        depth: Some(depth),
        limits: Some(LIMITS),
        ..QueueStats::default()
    }
}

/// A 32-bit receiver that has waited for two seconds and a half.
pub(super) fn blocked(queue: &str, tid: u32) -> Blocked {
    Blocked {
        comm: "store".to_owned(),
        pid: 100,
        tid,
        abi: Abi::I386,
        operation: Operation::MqTimedreceiveTime32,
        queue: Some(queue.to_owned()),
        ipc_namespace: IPC_NAMESPACE,
        limits: Some(LIMITS),
        waited_ns: 2_500_000_000,
        since_before: false,
        deadline: Deadline::At(Timeout {
            sec: 1_795_500_003,
            nsec: 250_000_000,
        }),
    }
}

/// Ten seconds of queues `names`, at 2026-11-24 06:40:00 UTC.
pub(super) fn snapshot(names: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot {
        unix_ns: 1_795_502_400_000_000_000,
        ..Snapshot::default()
    };
    snapshot.stats.covered_s = 10.0;
    for (at, name) in names.iter().enumerate() {
        snapshot.stats.queues.push(queue(name, at as u32));
    }
    snapshot
}
