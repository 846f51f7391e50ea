//! Everything that the screen shows at one moment.

use indexmap::IndexMap;

use super::blocked::Blocked;
use super::stats::{QueueId, QueueStats, Stats};
use crate::clock::Reading;
use crate::kernel::KernelCounts;

#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) stats: Stats,
    /// Longest wait first.
    pub(super) blocked: Vec<Blocked>,
    pub(super) lost: Lost,
    pub(super) unix_ns: u64,
}

/// Calls since the start that left no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lost {
    pub(super) kernel: KernelCounts,
    pub(super) undecodable: u64,
}

impl Lost {
    pub(super) fn total(&self) -> u64 {
        self.kernel.lost() + self.undecodable
    }

    /// The reasons with their counts.
    pub(super) fn reasons(&self) -> String {
        let reasons = [
            (self.kernel.ring_full, "ring buffer full"),
            (self.kernel.in_flight_full, "in-flight table full"),
            (self.kernel.entry_missed, "entry missed"),
            (self.kernel.return_missed, "return missed"),
            (self.undecodable, "undecodable"),
        ];
        let reasons = reasons.into_iter().filter(|(count, _)| *count != 0);
        let reasons: Vec<_> = reasons.map(|(n, why)| format!("{why} {n}")).collect();
        reasons.join(", ")
    }
}

impl Snapshot {
    /// Counts the blocked callers of each queue, and adds the queues that
    /// nothing else has shown yet.
    pub(super) fn new(mut stats: Stats, blocked: Vec<Blocked>, lost: Lost, now: Reading) -> Self {
        let queues = stats.queues.into_iter();
        let mut queues: IndexMap<QueueId, QueueStats> =
            queues.map(|queue| (queue.id.clone(), queue)).collect();
        for caller in &blocked {
            let Some(id) = caller.queue_id() else {
                continue;
            };
            let queue = queues.entry(id).or_insert_with_key(|id| QueueStats {
                id: id.clone(),
                ..QueueStats::default()
            });
            add_caller(queue, caller);
        }
        stats.queues = queues.into_values().collect();
        Self {
            stats,
            blocked,
            lost,
            unix_ns: now.boot_ns.saturating_add_signed(now.offset_ns),
        }
    }

    /// Whether the queues belong to more than one IPC namespace.
    pub(super) fn has_namespaces(&self) -> bool {
        let queues = self.stats.queues.iter();
        let mut namespaces = queues.map(|queue| queue.id.ipc_namespace);
        let first = namespaces.next();
        namespaces.any(|other| Some(other) != first)
    }
}

fn add_caller(queue: &mut QueueStats, caller: &Blocked) {
    queue.blocked += 1;
    queue.limits = queue.limits.or(caller.limits);
    // A blocked receive implies an empty queue, a blocked send a full one.
    if queue.depth.is_none() {
        queue.depth = if caller.operation.is_receive() {
            Some(0)
        } else {
            queue.limits.map(|limits| limits.messages)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::top::samples;
    use crate::event::Operation;

    fn snapshot(stats: Stats, blocked: Vec<Blocked>) -> Snapshot {
        let now = Reading {
            boot_ns: 5,
            offset_ns: 7,
        };
        Snapshot::new(stats, blocked, Lost::default(), now)
    }

    #[test]
    fn blocked_callers_are_counted_at_their_queue() {
        let mut stats = Stats::default();
        stats.queues.push(samples::queue("/orders", 4));
        let sender = Blocked {
            operation: Operation::MqTimedsend,
            queue: Some("/full".to_owned()),
            ..samples::blocked("/full", 1)
        };
        let blocked = vec![
            samples::blocked("/orders", 1),
            samples::blocked("/orders", 2),
            samples::blocked("/empty", 3),
            sender,
        ];
        let snapshot = snapshot(stats, blocked);
        let rows: Vec<_> = snapshot
            .stats
            .queues
            .iter()
            .map(|queue| (&*queue.id.name, queue.blocked, queue.depth))
            .collect();
        assert_eq!(
            rows,
            [
                // What a call told is not overruled.
                ("/orders", 2, Some(4)),
                ("/empty", 1, Some(0)),
                ("/full", 1, Some(10)),
            ]
        );
        assert_eq!(snapshot.unix_ns, 12);
        assert!(!snapshot.has_namespaces());
    }

    #[test]
    fn a_second_namespace_shows() {
        let mut stats = Stats::default();
        stats.queues.push(samples::queue("/orders", 4));
        let mut elsewhere = samples::queue("/orders", 4);
        elsewhere.id.ipc_namespace += 1;
        stats.queues.push(elsewhere);
        assert!(snapshot(stats, Vec::new()).has_namespaces());
    }

    #[test]
    fn losses_have_their_reasons() {
        let lost = Lost {
            kernel: KernelCounts {
                ring_full: 3,
                return_missed: 1,
                ..KernelCounts::default()
            },
            undecodable: 2,
        };
        assert_eq!(lost.total(), 6);
        assert_eq!(
            lost.reasons(),
            "ring buffer full 3, return missed 1, undecodable 2"
        );
    }
}
