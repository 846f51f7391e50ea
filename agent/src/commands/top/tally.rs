//! Counts calls by queue, on the capture thread. Once a queue and the
//! processes that use it are known, a call allocates nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::figures::{Figures, QueueId};
use super::queue_tally::QueueTally;
use super::window::{Second, Window, covered_s, second_of};
use crate::event::Call;

/// Queues that are told apart; a dozen megabytes at most.
const MAX_QUEUES: usize = 1024;
/// Stands for calls whose queue is not known: those with a descriptor that is
/// none of a queue, and the like.
const UNKNOWN: &str = "(unknown)";
/// Stands for queues beyond the limit.
const OTHERS: &str = "(others)";

#[derive(Debug, Default)]
struct Calls(u64);

impl Second for Calls {
    fn clear(&mut self) {
        self.0 = 0;
    }
}

/// The queues by IPC namespace and name: a look-up takes both as the call has
/// them.
type Queues = HashMap<u32, HashMap<Arc<str>, Box<QueueTally>>>;

/// All that was counted of the last seconds.
#[derive(Debug)]
pub(super) struct Tally {
    since_ns: u64,
    calls: Window<Calls>,
    queues: Queues,
    count: usize,
    max_queues: usize,
}

impl Tally {
    /// Counts from this moment of the boot time on.
    pub(super) fn new(since_ns: u64) -> Self {
        Self {
            since_ns,
            calls: Window::default(),
            queues: HashMap::new(),
            count: 0,
            max_queues: MAX_QUEUES,
        }
    }

    /// Counts one call of a process of this program. `error` is the symbol of
    /// its errno or signal if it failed.
    pub(super) fn call(&mut self, call: &Call<'_>, error: Option<&str>, program: &str) {
        if let Some(calls) = self.calls.second(second_of(call.end_ns)) {
            calls.0 += 1;
        }
        let name = call.name.as_deref().unwrap_or(UNKNOWN);
        if let Some(queue) = self.queue(call.ipc_namespace, name) {
            queue.call(call, error, program);
        }
    }

    /// The place of a queue, which is made if there is room.
    fn queue(&mut self, ipc_namespace: u32, name: &str) -> Option<&mut QueueTally> {
        let known = |queues: &Queues, name: &str| {
            queues
                .get(&ipc_namespace)
                .is_some_and(|queues| queues.contains_key(name))
        };
        let mut name = name;
        if !known(&self.queues, name) {
            // Those that stand for several always find room.
            if self.count >= self.max_queues && name != UNKNOWN {
                name = OTHERS;
            }
            if !known(&self.queues, name) {
                self.count += 1;
                let queues = self.queues.entry(ipc_namespace).or_default();
                queues.insert(Arc::from(name), Box::default());
            }
        }
        let queues = self.queues.get_mut(&ipc_namespace)?;
        queues.get_mut(name).map(|queue| &mut **queue)
    }

    /// The numbers at this moment. Forgets what has not been used for long.
    pub(super) fn figures(&mut self, now_ns: u64) -> Figures {
        let now = second_of(now_ns);
        self.queues.retain(|_, queues| {
            queues.retain(|_, queue| !queue.is_stale(now));
            !queues.is_empty()
        });
        self.count = self.queues.values().map(HashMap::len).sum();
        let mut figures = Figures {
            covered_s: covered_s(self.since_ns, now_ns),
            calls: self.calls.within(now).map(|calls| calls.0).sum(),
            queues: Vec::with_capacity(self.count),
        };
        for (&ipc_namespace, queues) in &mut self.queues {
            for (name, queue) in queues {
                let id = QueueId {
                    name: Arc::clone(name),
                    ipc_namespace,
                };
                figures.queues.push(queue.figures(id, now));
            }
        }
        figures
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
