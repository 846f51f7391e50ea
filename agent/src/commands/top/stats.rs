//! Numbers of the last seconds, which the capture thread hands to the display.

use std::sync::Arc;

use crate::commands::durations::Durations;
use crate::event::Queue;

#[derive(Debug, Clone, Default)]
pub(super) struct Stats {
    /// Seconds that the counts cover.
    pub(super) covered_s: f64,
    /// All calls, including those on queues that are not listed.
    pub(super) calls: u64,
    /// Unordered.
    pub(super) queues: Vec<QueueStats>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct QueueId {
    /// With its leading slash, or in parentheses if it stands for several queues.
    pub(super) name: Arc<str>,
    /// Inode number of the IPC namespace.
    pub(super) ipc_namespace: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// `mq_maxmsg`.
    pub(super) messages: u32,
    /// `mq_msgsize`.
    pub(super) message_size_bytes: u32,
}

impl Limits {
    pub(super) fn of(queue: &Queue) -> Self {
        Self {
            messages: queue.max_messages,
            message_size_bytes: queue.max_message_size,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct QueueStats {
    pub(super) id: QueueId,
    /// Messages in the queue at the latest return that reported them.
    pub(super) depth: Option<u32>,
    pub(super) limits: Option<Limits>,
    /// The name is gone; processes that have the queue open can still use it.
    pub(super) unlinked: bool,
    /// Number of callers blocked at the moment.
    pub(super) blocked: u32,
    pub(super) counts: Counts,
    pub(super) peers: Vec<PeerStats>,
    /// More processes use the queue than are counted separately.
    pub(super) is_crowded: bool,
    pub(super) last_error: Option<LastError>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Failed calls, other than timeouts.
    pub(super) errors: u64,
    /// Calls that failed with `ETIMEDOUT`.
    pub(super) timeouts: u64,
    /// Duration of receives that got a message, from entry to return.
    pub(super) receive: Durations,
    /// Duration of sends that put a message, from entry to return.
    pub(super) send: Durations,
    /// Time from the creation of a message to its receipt.
    pub(super) in_queue: Durations,
}

/// A process that sends to or receives from a queue.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerStats {
    pub(super) program: Arc<str>,
    pub(super) pid: u32,
    /// It has tried to send since it was first seen.
    pub(super) sends: bool,
    /// It has tried to receive since it was first seen.
    pub(super) receives: bool,
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// The latest failed call on a queue, other than timeouts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LastError {
    /// Symbol of the errno or signal.
    pub(super) error: String,
    /// Name of the thread.
    pub(super) comm: String,
    pub(super) tid: u32,
}

impl Stats {
    pub(super) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.covered_s.max(1.0)
    }
}

impl QueueStats {
    /// Depth as a share of the limit, 0 to 1.
    pub(super) fn fill(&self) -> Option<f64> {
        let limit = self.limits.filter(|limits| limits.messages != 0)?.messages;
        Some(f64::from(self.depth?) / f64::from(limit))
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.errors += other.errors;
        self.timeouts += other.timeouts;
        self.receive.add(&other.receive);
        self.send.add(&other.send);
        self.in_queue.add(&other.in_queue);
    }
}
