//! Counts calls by queue, on the capture thread. Once a queue and the
//! processes that use it are known, a call allocates nothing.

use indexmap::{Equivalent, IndexMap};

use super::queue_tally::QueueTally;
use super::stats::{QueueId, Stats};
use super::window::{Window, covered_s, second_of};
use crate::event::Call;

/// Queues counted separately. They take a dozen megabytes at most.
const MAX_QUEUES: usize = 1024;
/// Stands for calls whose queue is unknown, for example because the descriptor
/// is not that of a queue.
const UNKNOWN: &str = "(unknown)";
/// Stands for queues beyond the limit.
const OTHERS: &str = "(others)";

/// Borrowed form of [`QueueId`] with the same hash.
#[derive(Hash)]
struct Key<'a> {
    name: &'a str,
    ipc_namespace: u32,
}

impl Equivalent<QueueId> for Key<'_> {
    fn equivalent(&self, id: &QueueId) -> bool {
        (self.name, self.ipc_namespace) == (&*id.name, id.ipc_namespace)
    }
}

#[derive(Debug)]
pub(super) struct Tally {
    /// Start of counting, ns since boot.
    since_ns: u64,
    calls: Window<u64>,
    queues: IndexMap<QueueId, Box<QueueTally>>,
    max_queues: usize,
}

impl Tally {
    pub(super) fn new(since_ns: u64) -> Self {
        Self {
            since_ns,
            calls: Window::default(),
            queues: IndexMap::new(),
            max_queues: MAX_QUEUES,
        }
    }

    /// Counts one call of a process that runs `program`. `error` is the symbol
    /// of the errno or signal if the call failed.
    pub(super) fn call(&mut self, call: &Call<'_>, error: Option<&str>, program: &str) {
        if let Some(calls) = self.calls.second(second_of(call.end_ns)) {
            *calls += 1;
        }
        let mut key = Key {
            name: call.name.as_deref().unwrap_or(UNKNOWN),
            ipc_namespace: call.ipc_namespace,
        };
        let is_full = self.queues.len() >= self.max_queues;
        // `(unknown)` and `(others)` may exceed the limit.
        if is_full && key.name != UNKNOWN && !self.queues.contains_key(&key) {
            key.name = OTHERS;
        }
        if let Some(queue) = self.queues.get_mut(&key) {
            return queue.call(call, error, program);
        }
        let id = QueueId {
            name: key.name.into(),
            ipc_namespace: key.ipc_namespace,
        };
        let queue = self.queues.entry(id).or_default();
        queue.call(call, error, program);
    }

    /// The numbers at this moment. Drops stale queues.
    pub(super) fn stats(&mut self, now_ns: u64) -> Stats {
        let now = second_of(now_ns);
        self.queues.retain(|_, queue| !queue.is_stale(now));
        let queues = self.queues.iter_mut();
        Stats {
            covered_s: covered_s(self.since_ns, now_ns),
            calls: self.calls.within(now).sum(),
            queues: queues.map(|(id, queue)| queue.stats(id, now)).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
