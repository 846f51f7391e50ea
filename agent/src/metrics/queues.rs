//! Counts every call, by queue, operation and outcome.
//!
//! The capture thread owns [`QueueMetrics`]: a call costs one look-up and no
//! lock. A cache leads from the kernel's data of a call to its series. Only the
//! attributes identify a series, so a queue that is recreated under its old
//! name continues the old series.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Publisher;
use super::outcome::Outcome;
use super::queue_label::QueueLabel;
use super::series::{Depth, Identity, MAX_SERIES, QueueSnapshot, Series};
use crate::clock::Reading;
use crate::config::Traces;
use crate::event::{Call, CallKey, Operation};
use crate::hash::{KeyHasher, hash_bytes};
use crate::histogram::Forms;
use crate::ids::{SpanId, TraceId};
use crate::kernel::{LostCalls, QueueKey};
use crate::templates::Templates;

/// Entries of the cache. A full cache is emptied, which costs each queue in use
/// one slow look-up.
const MAX_CACHED: usize = 16_384;

/// The kernel's data of a call. It leads to the series but does not identify
/// it, because inode numbers are reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// Inode number of the queue, or a hash of the name if there is none.
    queue: u64,
    /// IPC namespace, outcome, operation.
    rest: u64,
}

impl Key {
    #[inline]
    fn of(call: &Call<'_>, outcome: Outcome) -> Self {
        let queue = match (call.queue, &call.name) {
            (Some(queue), _) => queue.ino,
            (None, Some(name)) => hash_bytes(name.as_bytes()),
            (None, None) => 0,
        };
        let rest =
            u64::from(call.ipc_namespace) << 32 | outcome.bits() << 8 | call.operation as u64;
        Self { queue, rest }
    }
}

#[derive(Debug)]
struct Cached {
    name: Option<Arc<str>>,
    series: usize,
}

#[derive(Debug)]
pub struct QueueMetrics {
    cache: HashMap<Key, Cached, BuildHasherDefault<KeyHasher>>,
    by_identity: HashMap<Identity, usize>,
    by_queue: HashMap<(Arc<str>, u32), usize>,
    counted: QueueSnapshot,
    max_series: usize,
    /// The call that was counted last, and its series.
    last: Option<(CallKey, usize)>,
    /// How long a series without calls is kept, unless the queue exists.
    keep_ns: u64,
    publisher: Publisher<QueueSnapshot>,
}

impl QueueMetrics {
    /// Starts without counts, which `publisher` hands out. Series of removed
    /// queues are kept for `keep` after their last call.
    pub fn new(publisher: Publisher<QueueSnapshot>, keep: Duration, forms: Forms) -> Self {
        Self::with_limit(publisher, keep, forms, MAX_SERIES)
    }

    fn with_limit(
        publisher: Publisher<QueueSnapshot>,
        keep: Duration,
        forms: Forms,
        max_series: usize,
    ) -> Self {
        Self {
            cache: HashMap::default(),
            by_identity: HashMap::new(),
            by_queue: HashMap::new(),
            counted: QueueSnapshot {
                series: vec![Series::new(None, None, forms)],
                forms,
                ..QueueSnapshot::default()
            },
            max_series,
            last: None,
            keep_ns: u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX),
            publisher,
        }
    }

    /// Takes which failures are errors, for the calls from now on.
    pub fn set_traces(&mut self, traces: &Traces) {
        self.counted.traces = Arc::new(traces.clone());
        self.counted.templates = Arc::new(Templates::new(&traces.destination_templates));
        self.cache.clear();
        self.last = None;
    }

    /// Counts one call. Does not allocate if queue, operation and outcome were
    /// seen recently.
    #[inline]
    pub fn call(&mut self, call: &Call<'_>) {
        let outcome = Outcome::of(call, &self.counted.traces);
        let at = self.place_of(call, outcome);
        let Some(series) = self.counted.series.get_mut(at) else {
            return;
        };
        series.record(call, outcome);
        self.last = Some((call.key(), at));
        let Some(depth) = series
            .queue
            .and_then(|queue| self.counted.depths.get_mut(queue))
        else {
            return;
        };
        // Records come in the order of returns, except from threads that are
        // preempted between reading the clock and reserving room in the ring.
        let unlinked = call.operation == Operation::MqUnlink && outcome.is_success();
        if (unlinked || call.depth.is_some()) && call.end_ns >= depth.at_ns {
            depth.at_ns = call.end_ns;
            if unlinked {
                depth.end();
                return;
            }
            depth.messages = call.depth;
            depth.max_messages = call.queue.map(|queue| queue.max_messages);
            let inode = call.queue.map_or(0, |queue| queue.ino);
            depth.is_there &= depth.inode == inode;
            depth.inode = inode;
        }
    }

    /// Takes the span of a counted call, which is kept, as an exemplar. Costs a
    /// look-up unless the call was the last.
    #[inline]
    pub fn exemplar(&mut self, call: &Call<'_>, ids: (TraceId, SpanId)) {
        let at = match self.last {
            Some((last, at)) if last == call.key() => at,
            _ => {
                let key = Key::of(call, Outcome::of(call, &self.counted.traces));
                match self.cache.get(&key) {
                    Some(cached) if cached.name.as_deref() == call.name.as_deref() => cached.series,
                    _ => return,
                }
            }
        };
        if let Some(series) = self.counted.series.get_mut(at) {
            series.exemplar(call, ids);
        }
    }

    /// Counts the processing of the message that a receive took, which was counted
    /// before.
    pub fn processed(&mut self, receive: &Call<'_>, end_ns: u64) {
        let outcome = Outcome::of(receive, &self.counted.traces);
        let at = self.place_of(receive, outcome);
        if let Some(series) = self.counted.series.get_mut(at) {
            series.processed(receive, end_ns);
        }
    }

    /// Takes the span of a counted processing, which is kept, as an exemplar.
    pub fn process_exemplar(&mut self, receive: &Call<'_>, end_ns: u64, ids: (TraceId, SpanId)) {
        let outcome = Outcome::of(receive, &self.counted.traces);
        let at = self.place_of(receive, outcome);
        if let Some(series) = self.counted.series.get_mut(at) {
            series.process_exemplar(receive, end_ns, ids);
        }
    }

    fn place_of(&mut self, call: &Call<'_>, outcome: Outcome) -> usize {
        let key = Key::of(call, outcome);
        match self.cache.get(&key) {
            Some(cached) if cached.name.as_deref() == call.name.as_deref() => cached.series,
            _ => self.look_up(key, call, outcome),
        }
    }

    /// Counts calls whose record was lost.
    pub fn add_lost(&mut self, lost: &[LostCalls]) {
        if lost.is_empty() {
            return;
        }
        let now_ns = Reading::now().boot_ns;
        for calls in lost {
            let identity = self.counted.identity(calls);
            let at = identity.map_or(0, |identity| self.series_of(identity, now_ns));
            if let Some(series) = self.counted.series.get_mut(at) {
                series.add_lost(calls, now_ns);
            }
        }
    }

    /// Takes what the kernel says about queues. A queue that is gone loses its
    /// depth now and its series later.
    pub fn look_at(&mut self, queues: &HashMap<QueueKey, bool>) {
        for depth in &mut self.counted.depths {
            let key = QueueKey {
                queue: depth.inode,
                ipc_namespace: depth.ipc_namespace,
            };
            let state = queues.get(&key).copied();
            depth.is_there = state == Some(true);
            if state == Some(false) {
                depth.end();
            }
        }
    }

    /// Removes what has had no call for `keep_ns`: depths of queues that the
    /// kernel does not confirm, and series of such queues, or of none, once
    /// they have been handed out.
    fn give_back(&mut self, now_ns: u64) {
        let is_idle = |last_ns: u64| now_ns.saturating_sub(last_ns) >= self.keep_ns;
        let QueueSnapshot { series, depths, .. } = &mut self.counted;
        for depth in depths.iter_mut() {
            if !depth.is_there && is_idle(depth.at_ns) {
                depth.end();
            }
        }
        let before = series.len();
        let mut kept = 0;
        series.retain(|series| {
            let queue = series.queue.and_then(|queue| depths.get(queue));
            let is_kept = series.identity.is_none()
                || !series.is_told()
                || !is_idle(series.last_ns)
                || queue.is_some_and(|queue| queue.is_there);
            kept += usize::from(is_kept);
            is_kept
        });
        if kept == before {
            return;
        }
        let mut depths = std::mem::take(depths)
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>();
        self.by_queue.clear();
        self.by_identity.clear();
        self.cache.clear();
        self.last = None;
        for (at, series) in self.counted.series.iter_mut().enumerate() {
            let Some(identity) = &series.identity else {
                continue;
            };
            self.by_identity.insert(identity.clone(), at);
            let Some(queue) = identity.queue.as_ref().and_then(QueueLabel::name).cloned() else {
                continue;
            };
            let key = (queue, identity.ipc_namespace);
            let old = series.queue.and_then(|at| depths.get_mut(at)?.take());
            if let Some(depth) = old {
                self.counted.depths.push(depth);
                self.by_queue
                    .insert(key.clone(), self.counted.depths.len() - 1);
            }
            series.queue = self.by_queue.get(&key).copied();
        }
    }

    fn publish(&mut self, now_ns: u64) {
        self.give_back(now_ns);
        self.publisher.publish(self.counted.clone());
        for series in &mut self.counted.series {
            series.set_told();
        }
    }

    /// Hands out the counts, if a reader has asked for them.
    #[inline]
    pub fn tick(&mut self) {
        if self.publisher.is_asked() {
            self.publish(Reading::now().boot_ns);
        }
    }

    /// Hands out the counts for the last time.
    pub fn finish(&mut self) {
        self.publish(Reading::now().boot_ns);
    }

    /// Finds the series by its attributes, or adds it if there is room.
    #[cold]
    fn look_up(&mut self, key: Key, call: &Call<'_>, outcome: Outcome) -> usize {
        let identity = Identity {
            queue: self.counted.label(call.name.as_deref()),
            ipc_namespace: call.ipc_namespace,
            operation: call.operation,
            outcome,
        };
        let name = call.name.as_deref().map(Arc::from);
        let series = self.series_of(identity, call.end_ns);
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(key, Cached { name, series });
        series
    }

    /// Index of the series, or of the overflow series if there is no room for it.
    fn series_of(&mut self, identity: Identity, now_ns: u64) -> usize {
        match self.by_identity.get(&identity) {
            Some(at) => *at,
            None if self.counted.series.len() < self.max_series => self.add(identity, now_ns),
            None => 0,
        }
    }

    fn add(&mut self, identity: Identity, now_ns: u64) -> usize {
        let depths = &mut self.counted.depths;
        let name = identity.queue.as_ref().and_then(QueueLabel::name);
        let queue = name.cloned().map(|queue| {
            let ipc_namespace = identity.ipc_namespace;
            *self
                .by_queue
                .entry((Arc::clone(&queue), ipc_namespace))
                .or_insert_with(|| {
                    depths.push(Depth::new(queue, ipc_namespace));
                    depths.len() - 1
                })
        });
        let at = self.counted.series.len();
        let mut series = Series::new(Some(identity.clone()), Some(now_ns), self.counted.forms);
        series.queue = queue;
        self.counted.series.push(series);
        self.by_identity.insert(identity, at);
        at
    }
}

#[cfg(test)]
mod tests;
