//! Numbers of the last seconds, which the capture thread hands to the screen.

use std::sync::Arc;

use crate::commands::durations::Durations;
use crate::event::Queue;

#[derive(Debug, Clone, Default)]
pub(super) struct Stats {
    /// Seconds that the counts are about.
    pub(super) covered_s: f64,
    /// All calls, of queues that are listed or not.
    pub(super) calls: u64,
    /// In no order.
    pub(super) queues: Vec<QueueStats>,
}

/// What tells one queue from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct QueueId {
    /// With its leading slash; or in parentheses what stands for several.
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
    /// Messages at the latest return that told.
    pub(super) depth: Option<u32>,
    pub(super) limits: Option<Limits>,
    /// Its name is gone; those who have it open can still use it.
    pub(super) unlinked: bool,
    /// Callers that are blocked at the moment.
    pub(super) blocked: u32,
    pub(super) counts: Counts,
    pub(super) peers: Vec<PeerStats>,
    /// There are more processes than are told apart.
    pub(super) is_crowded: bool,
    pub(super) last_error: Option<LastError>,
}

/// Of the calls on a queue in some time.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Calls that failed, timeouts apart.
    pub(super) errors: u64,
    /// Calls that failed with `ETIMEDOUT`.
    pub(super) timeouts: u64,
    /// Of receives that got a message, from entry to return.
    pub(super) receive: Durations,
    /// Of sends that put a message.
    pub(super) send: Durations,
    /// From the making of a message to its delivery.
    pub(super) in_queue: Durations,
}

/// A process that sends to or receives from a queue.
#[derive(Debug, Clone, Default)]
pub(super) struct PeerStats {
    pub(super) program: Arc<str>,
    pub(super) pid: u32,
    /// It has tried to send since it is known.
    pub(super) sends: bool,
    /// It has tried to receive.
    pub(super) receives: bool,
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// The latest call on a queue that failed, timeouts apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LastError {
    /// Symbol of the errno or signal.
    pub(super) error: String,
    /// Name of the thread.
    pub(super) comm: String,
    pub(super) tid: u32,
}

impl Stats {
    /// A count as a rate.
    pub(super) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.covered_s.max(1.0)
    }
}

impl QueueStats {
    /// Share of the limit that is in the queue, 0 to 1.
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
