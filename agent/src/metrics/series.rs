//! What is counted, by the attributes that tell series apart.

use std::collections::HashMap;
use std::sync::Arc;

use super::exemplars::{Exemplar, Exemplars};
use super::outcome::Outcome;
use super::queue_label::QueueLabel;
use crate::config::Traces;
use crate::event::{Call, Operation};
use crate::histogram::{Distribution, Forms};
use crate::ids::{SpanId, TraceId};
use crate::kernel::LostCalls;
use crate::templates::Templates;

/// Maximum number of series, including the overflow series: the default
/// cardinality limit of the OpenTelemetry SDK specification ("Metrics SDK",
/// "Cardinality limits").
pub const MAX_SERIES: usize = 2_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The queue, if known.
    pub queue: Option<QueueLabel>,
    /// Inode number of the IPC namespace.
    pub ipc_namespace: u32,
    pub operation: Operation,
    pub outcome: Outcome,
}

/// Durations, and spans that made some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    pub counts: Distribution,
    pub exemplars: Exemplars,
}

impl Durations {
    fn new(forms: Forms) -> Self {
        Self {
            counts: Distribution::new(forms),
            exemplars: Exemplars::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// `None` for the overflow series.
    pub identity: Option<Identity>,
    /// From entry to return, in ns. For calls that were already blocked at
    /// attach it starts there.
    pub duration: Durations,
    /// From the creation of a message to its receipt. `None` until a receive
    /// has met a send that was seen.
    pub time_in_queue: Option<Box<Durations>>,
    /// From a receive to the end of what came of its message. `None` until there
    /// was such a processing.
    pub processing: Option<Box<Durations>>,
    /// Messages that programs tried to send.
    pub sent: u64,
    /// Messages that receives took from queues.
    pub consumed: u64,
    /// Start of counting, ns since boot; `None` for the agent's start.
    pub start_ns: Option<u64>,
    /// Time of the last count, ns since boot.
    pub(super) last_ns: u64,
    /// Whether its counts have been handed out.
    is_told: bool,
    /// Index of the queue's depth.
    pub(super) queue: Option<usize>,
    forms: Forms,
}

impl Series {
    /// A series that counts from `start_ns` on.
    pub(super) fn new(identity: Option<Identity>, start_ns: Option<u64>, forms: Forms) -> Self {
        Self {
            identity,
            duration: Durations::new(forms),
            time_in_queue: None,
            processing: None,
            sent: 0,
            consumed: 0,
            start_ns,
            last_ns: 0,
            is_told: false,
            queue: None,
            forms,
        }
    }

    fn time_in_queue(&mut self) -> &mut Distribution {
        let forms = self.forms;
        let durations = self
            .time_in_queue
            .get_or_insert_with(|| Box::new(Durations::new(forms)));
        &mut durations.counts
    }

    fn processing(&mut self) -> &mut Durations {
        let forms = self.forms;
        self.processing
            .get_or_insert_with(|| Box::new(Durations::new(forms)))
    }

    /// Counts the processing of the message that a receive took.
    pub(super) fn processed(&mut self, receive: &Call<'_>, end_ns: u64) {
        let duration_ns = end_ns.saturating_sub(receive.end_ns);
        self.processing().counts.record(duration_ns);
        self.last_ns = self.last_ns.max(end_ns);
        self.is_told = false;
    }

    /// Takes the span of a counted processing as an exemplar.
    pub(super) fn process_exemplar(
        &mut self,
        receive: &Call<'_>,
        end_ns: u64,
        (trace_id, span_id): (TraceId, SpanId),
    ) {
        self.processing().exemplars.offer(Exemplar {
            value_ns: end_ns.saturating_sub(receive.end_ns),
            at_ns: end_ns,
            trace_id,
            span_id,
        });
    }

    /// Takes the span of a call that was recorded here as an exemplar.
    pub(super) fn exemplar(&mut self, call: &Call<'_>, (trace_id, span_id): (TraceId, SpanId)) {
        let since = |start_ns: u64| Exemplar {
            value_ns: call.end_ns.saturating_sub(start_ns),
            at_ns: call.end_ns,
            trace_id,
            span_id,
        };
        self.duration.exemplars.offer(since(call.start_ns));
        if let (Some(durations), Some(sender)) = (&mut self.time_in_queue, call.sender)
            && call.operation.is_receive()
        {
            durations.exemplars.offer(since(sender.created_ns));
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Notes that its counts have been handed out.
    pub(super) fn set_told(&mut self) {
        self.is_told = true;
        self.duration.exemplars.set_told();
        let others = [&mut self.time_in_queue, &mut self.processing];
        for durations in others.into_iter().flatten() {
            durations.exemplars.set_told();
        }
    }

    #[inline]
    pub(super) fn record(&mut self, call: &Call<'_>, outcome: Outcome) {
        self.duration
            .counts
            .record(call.end_ns.saturating_sub(call.start_ns));
        self.last_ns = self.last_ns.max(call.end_ns);
        self.is_told = false;
        if call.operation.is_send() && !outcome.is_reentered() {
            self.sent += 1;
        } else if call.operation.is_receive() && outcome.is_success() {
            self.consumed += 1;
            if let Some(sender) = call.sender {
                self.time_in_queue()
                    .record(call.end_ns.saturating_sub(sender.created_ns));
            }
        }
    }

    pub(super) fn add_lost(&mut self, calls: &LostCalls, now_ns: u64) {
        self.last_ns = now_ns;
        self.is_told = false;
        self.duration.counts.add_kernel(&calls.duration);
        self.sent += calls.sent;
        self.consumed += calls.consumed;
        if calls.time_in_queue.count() != 0 {
            self.time_in_queue().add_kernel(&calls.time_in_queue);
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
    pub(super) at_ns: u64,
    /// Inode number of the queue whose depth this is.
    pub(super) inode: u64,
    /// Whether the kernel has said that this queue exists.
    pub(super) is_there: bool,
}

impl Depth {
    pub(super) fn new(queue: Arc<str>, ipc_namespace: u32) -> Self {
        Self {
            queue,
            ipc_namespace,
            messages: None,
            max_messages: None,
            at_ns: 0,
            inode: 0,
            is_there: false,
        }
    }

    /// Forgets the depth: the queue is gone, or nothing is known of it.
    pub(super) fn end(&mut self) {
        self.messages = None;
        self.max_messages = None;
        self.is_there = false;
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct QueueSnapshot {
    /// The first one is the overflow series.
    pub series: Vec<Series>,
    /// One for each queue that a series other than the first names. Queues of a
    /// template have none: a depth is that of one queue.
    pub depths: Vec<Depth>,
    /// Says which failures are errors.
    pub traces: Arc<Traces>,
    /// Which queues share series.
    pub templates: Arc<Templates>,
    /// The buckets of all histograms.
    pub forms: Forms,
}

impl Default for QueueSnapshot {
    fn default() -> Self {
        Self {
            series: Vec::new(),
            depths: Vec::new(),
            traces: Arc::default(),
            templates: Arc::default(),
            forms: Forms::EXPLICIT,
        }
    }
}

impl QueueSnapshot {
    pub(super) fn label(&self, name: Option<&str>) -> Option<QueueLabel> {
        Some(QueueLabel::of(name?, &self.templates))
    }

    /// `None` if the calls are of several kinds.
    pub(super) fn identity(&self, calls: &LostCalls) -> Option<Identity> {
        let kind = calls.kind.as_ref()?;
        let operation = Operation::from_raw(kind.operation)?;
        Some(Identity {
            queue: self.label(kind.queue.as_deref()),
            ipc_namespace: kind.ipc_namespace,
            operation,
            outcome: Outcome::of_lost(kind, operation, &self.traces),
        })
    }

    /// Adds lost calls that the capture thread, which has ended, did not take.
    pub fn add_lost(&mut self, lost: &[LostCalls], now_ns: u64) {
        let mut places: HashMap<Identity, usize> = self
            .series
            .iter()
            .enumerate()
            .filter_map(|(at, series)| Some((series.identity.clone()?, at)))
            .collect();
        for calls in lost {
            let identity = self.identity(calls);
            let at = identity.map_or(0, |identity| {
                if let Some(at) = places.get(&identity) {
                    return *at;
                }
                let at = self.series.len();
                if at >= MAX_SERIES {
                    return 0;
                }
                let new = Series::new(Some(identity.clone()), Some(now_ns), self.forms);
                self.series.push(new);
                places.insert(identity, at);
                at
            });
            if let Some(series) = self.series.get_mut(at) {
                series.add_lost(calls, now_ns);
            }
        }
    }
}
