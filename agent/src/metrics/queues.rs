//! Counts every call, by queue, operation and outcome.
//!
//! The capture thread owns [`QueueMetrics`]: a call costs one look-up and no
//! lock. A cache leads from the kernel's data of a call to its series. Only the
//! attributes identify a series, so a queue that is recreated under its old
//! name continues the old series.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Publisher;
use crate::clock::Reading;
use crate::errno;
use crate::event::{Call, Operation};
use crate::hash::{KeyHasher, hash_bytes};
use crate::histogram::Histogram;
use crate::kernel::{LostCalls, LostKind, QueueKey};

/// Maximum number of series, including the overflow series: the default
/// cardinality limit of the OpenTelemetry SDK specification ("Metrics SDK",
/// "Cardinality limits").
pub const MAX_SERIES: usize = 2_000;

/// Entries of the cache. A full cache is emptied, which costs each queue in use
/// one slow look-up.
const MAX_CACHED: usize = 16_384;

/// How a call ended: 0 for success, else an errno, or a signal with the top bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Outcome(u16);

impl Outcome {
    const SIGNAL: u16 = 0x8000;

    fn of(call: &Call<'_>) -> Self {
        let error = if call.ret < 0 {
            u16::try_from(call.ret.unsigned_abs()).unwrap_or(u16::MAX)
        } else {
            0
        };
        Self::new(error, call.death_signal)
    }

    /// `error` is 0 for success. The kernel's 512 becomes `EINTR`, as user
    /// space sees it.
    fn new(error: u16, death_signal: Option<u32>) -> Self {
        if let Some(signal) = death_signal {
            return Self(Self::SIGNAL | u16::try_from(signal).unwrap_or(0x7fff).min(0x7fff));
        }
        let number = errno::as_seen_by_user_space(error.into());
        Self(u16::try_from(number).unwrap_or(0x7fff).min(0x7fff))
    }

    pub fn is_success(self) -> bool {
        self.0 == 0
    }

    /// `error.type`, spelled as in the span.
    pub fn error_type(self) -> Option<Cow<'static, str>> {
        if self.is_success() {
            return None;
        }
        if self.0 & Self::SIGNAL != 0 {
            return Some(errno::signal_name(u32::from(self.0 & !Self::SIGNAL)));
        }
        Some(match errno::name(self.0.into()) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("errno {}", self.0)),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Name of the queue, if known.
    pub queue: Option<Arc<str>>,
    /// Inode number of the IPC namespace.
    pub ipc_namespace: u32,
    pub operation: Operation,
    pub outcome: Outcome,
}

impl Identity {
    fn of_lost(kind: &LostKind) -> Option<Self> {
        Some(Self {
            queue: kind.queue.as_deref().map(Arc::from),
            ipc_namespace: kind.ipc_namespace,
            operation: Operation::from_raw(kind.operation)?,
            outcome: Outcome::new(kind.error, kind.death_signal),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Series {
    /// `None` for the overflow series.
    pub identity: Option<Identity>,
    /// From entry to return, in ns. For calls that were already blocked at
    /// attach it starts there.
    pub duration: Histogram,
    /// From the creation of a message to its receipt. `None` until a receive
    /// has met a send that was seen.
    pub time_in_queue: Option<Box<Histogram>>,
    /// Messages that sends put into queues.
    pub sent: u64,
    /// Messages that receives took from queues.
    pub consumed: u64,
    /// Start of counting, ns since boot; `None` for the agent's start.
    pub start_ns: Option<u64>,
    /// Time of the last count, ns since boot.
    last_ns: u64,
    /// Whether its counts have been handed out.
    is_told: bool,
    /// Index of the queue's depth.
    queue: Option<usize>,
}

impl Series {
    #[inline]
    fn record(&mut self, call: &Call<'_>, success: bool) {
        self.duration
            .record(call.end_ns.saturating_sub(call.start_ns));
        self.last_ns = self.last_ns.max(call.end_ns);
        self.is_told = false;
        if !success {
            return;
        }
        if call.operation.is_send() {
            self.sent += 1;
        } else if call.operation.is_receive() {
            self.consumed += 1;
            if let Some(sender) = call.sender {
                self.time_in_queue
                    .get_or_insert_default()
                    .record(call.end_ns.saturating_sub(sender.created_ns));
            }
        }
    }
}

impl Series {
    fn add_lost(&mut self, calls: &LostCalls, now_ns: u64) {
        self.last_ns = now_ns;
        self.is_told = false;
        self.duration.add(&calls.duration);
        self.sent += calls.sent;
        self.consumed += calls.consumed;
        if calls.time_in_queue.count() != 0 {
            self.time_in_queue
                .get_or_insert_default()
                .add(&calls.time_in_queue);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    pub queue: Arc<str>,
    /// Inode number of the IPC namespace.
    pub ipc_namespace: u32,
    /// Messages at the latest return that reported them; `None` once it is unlinked.
    pub messages: Option<u32>,
    /// `mq_maxmsg`, as of the same return.
    pub max_messages: Option<u32>,
    /// Time of that return, ns since boot.
    at_ns: u64,
    /// Inode number of the queue whose depth this is.
    inode: u64,
    /// Whether the kernel has said that this queue exists.
    is_there: bool,
}

impl Depth {
    /// Forgets the depth: the queue is gone, or nothing is known of it.
    fn end(&mut self) {
        self.messages = None;
        self.max_messages = None;
        self.is_there = false;
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueSnapshot {
    /// The first one is the overflow series.
    pub series: Vec<Series>,
    /// One for each queue that a series other than the first names.
    pub depths: Vec<Depth>,
}

impl QueueSnapshot {
    /// Adds lost calls that the capture thread, which has ended, did not take.
    pub fn add_lost(&mut self, lost: &[LostCalls], now_ns: u64) {
        let mut places: HashMap<Identity, usize> = self
            .series
            .iter()
            .enumerate()
            .filter_map(|(at, series)| Some((series.identity.clone()?, at)))
            .collect();
        for calls in lost {
            let identity = calls.kind.as_ref().and_then(Identity::of_lost);
            let at = identity.map_or(0, |identity| {
                if let Some(at) = places.get(&identity) {
                    return *at;
                }
                let at = self.series.len();
                if at >= MAX_SERIES {
                    return 0;
                }
                self.series.push(Series {
                    identity: Some(identity.clone()),
                    start_ns: Some(now_ns),
                    ..Series::default()
                });
                places.insert(identity, at);
                at
            });
            if let Some(series) = self.series.get_mut(at) {
                series.add_lost(calls, now_ns);
            }
        }
    }
}

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
        let rest = u64::from(call.ipc_namespace) << 32
            | u64::from(outcome.0) << 16
            | call.operation as u64;
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
    /// How long a series without calls is kept, unless the queue exists.
    keep_ns: u64,
    publisher: Publisher<QueueSnapshot>,
}

impl QueueMetrics {
    /// Starts without counts, which `publisher` hands out. Series of removed
    /// queues are kept for `keep` after their last call.
    pub fn new(publisher: Publisher<QueueSnapshot>, keep: Duration) -> Self {
        Self::with_limit(publisher, keep, MAX_SERIES)
    }

    fn with_limit(publisher: Publisher<QueueSnapshot>, keep: Duration, max_series: usize) -> Self {
        Self {
            cache: HashMap::default(),
            by_identity: HashMap::new(),
            by_queue: HashMap::new(),
            counted: QueueSnapshot {
                series: vec![Series::default()],
                depths: Vec::new(),
            },
            max_series,
            keep_ns: u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX),
            publisher,
        }
    }

    /// Counts one call. Does not allocate if queue, operation and outcome were
    /// seen recently.
    #[inline]
    pub fn call(&mut self, call: &Call<'_>) {
        let outcome = Outcome::of(call);
        let key = Key::of(call, outcome);
        let at = match self.cache.get(&key) {
            Some(cached) if cached.name.as_deref() == call.name.as_deref() => cached.series,
            _ => self.look_up(key, call, outcome),
        };
        let Some(series) = self.counted.series.get_mut(at) else {
            return;
        };
        series.record(call, outcome.is_success());
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

    /// Counts calls whose record was lost.
    pub fn add_lost(&mut self, lost: &[LostCalls]) {
        if lost.is_empty() {
            return;
        }
        let now_ns = Reading::now().boot_ns;
        for calls in lost {
            let identity = calls.kind.as_ref().and_then(Identity::of_lost);
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
        let QueueSnapshot { series, depths } = &mut self.counted;
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
                || !series.is_told
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
        for (at, series) in self.counted.series.iter_mut().enumerate() {
            let Some(identity) = &series.identity else {
                continue;
            };
            self.by_identity.insert(identity.clone(), at);
            let Some(queue) = identity.queue.clone() else {
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
            series.is_told = true;
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
            queue: call.name.as_deref().map(Arc::from),
            ipc_namespace: call.ipc_namespace,
            operation: call.operation,
            outcome,
        };
        let name = identity.queue.clone();
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
        let queue = identity.queue.clone().map(|queue| {
            let ipc_namespace = identity.ipc_namespace;
            *self
                .by_queue
                .entry((Arc::clone(&queue), ipc_namespace))
                .or_insert_with(|| {
                    depths.push(Depth {
                        queue,
                        ipc_namespace,
                        messages: None,
                        max_messages: None,
                        at_ns: 0,
                        inode: 0,
                        is_there: false,
                    });
                    depths.len() - 1
                })
        });
        let at = self.counted.series.len();
        self.counted.series.push(Series {
            identity: Some(identity.clone()),
            start_ns: Some(now_ns),
            queue,
            ..Series::default()
        });
        self.by_identity.insert(identity, at);
        at
    }
}

#[cfg(test)]
mod tests;
