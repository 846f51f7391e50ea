//! The counts of calls, as metrics.
//!
//! The capture thread sums them, and the SDK does not accept histograms that
//! were summed elsewhere. Names, units and attributes follow "Semantic
//! conventions for messaging client metrics".

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar as ProtoExemplar, Metric};
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, MESSAGING_DESTINATION_NAME, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
};

use super::catalog::{
    BLOCKED_CALLERS, CONSUMED_MESSAGES, Definition, OPERATION_DURATION, PROCESS_DURATION,
    QUEUE_DEPTH, QUEUE_MAX_MESSAGES, SENT_MESSAGES, TIME_IN_QUEUE,
};
use super::exemplars::Exemplars;
use super::proto::{DurationPoint, Period, durations, int, number, numbers, overflow, text};
use super::queue_label::QueueLabel;
use super::series::{Depth, Identity, MAX_SERIES, QueueSnapshot, Series};
use crate::config::Histograms;
use crate::histogram::{Distribution, bucket};
use crate::kernel::Waiting;

/// The metrics of all queues. `waiting` are the callers blocked now, `form` are
/// the buckets of histograms. `unix_ns` converts ns since boot to Unix ns.
pub fn queue_metrics(
    snapshot: &QueueSnapshot,
    waiting: &[Waiting],
    form: Histograms,
    period: Period,
    unix_ns: impl Fn(u64) -> u64,
) -> Vec<Metric> {
    let (mut duration, mut time_in_queue) = (Vec::new(), Vec::new());
    let (mut sent, mut consumed) = (Vec::new(), Vec::new());
    for series in &snapshot.series {
        let is_overflow = series.identity.is_none();
        if is_overflow && series.duration.counts.count() == 0 {
            continue;
        }
        let attributes = attributes(series);
        let start_unix_ns = series.start_ns.map_or(period.start_unix_ns, &unix_ns);
        let period = Period {
            start_unix_ns,
            ..period
        };
        let counts = |counts: fn(&Identity) -> bool| series.identity.as_ref().is_none_or(counts);
        if counts(|id| id.operation.is_send() && !id.outcome.is_reentered()) {
            sent.push(number(period, attributes.clone(), series.sent));
        }
        if counts(|id| id.operation.is_receive() && id.outcome.is_success()) {
            consumed.push(number(period, attributes.clone(), series.consumed));
        }
        if let Some(durations) = &series.time_in_queue {
            time_in_queue.push(DurationPoint {
                period,
                attributes: attributes.clone(),
                durations: &durations.counts,
                exemplars: exemplars(&durations.exemplars, &unix_ns),
            });
        }
        duration.push(DurationPoint {
            period,
            attributes,
            durations: &series.duration.counts,
            exemplars: exemplars(&series.duration.exemplars, &unix_ns),
        });
    }
    let processings = processings(snapshot, period, &unix_ns);
    let processing = processings.values().map(Processings::point);
    vec![
        durations(&OPERATION_DURATION, form, duration),
        numbers(&SENT_MESSAGES, sent),
        numbers(&CONSUMED_MESSAGES, consumed),
        durations(&TIME_IN_QUEUE, form, time_in_queue),
        durations(&PROCESS_DURATION, form, processing),
        gauge(snapshot, period, &QUEUE_DEPTH, |depth| depth.messages),
        gauge(snapshot, period, &QUEUE_MAX_MESSAGES, |depth| {
            depth.max_messages
        }),
        blocked_callers(snapshot, waiting, period),
    ]
}

/// What threads did with the messages of one queue.
struct Processings {
    period: Period,
    attributes: Vec<KeyValue>,
    durations: Distribution,
    exemplars: Vec<ProtoExemplar>,
}

impl Processings {
    fn point(&self) -> DurationPoint<'_> {
        DurationPoint {
            period: self.period,
            attributes: self.attributes.clone(),
            durations: &self.durations,
            exemplars: self.exemplars.clone(),
        }
    }

    fn add(&mut self, other: Self) {
        self.durations.add(&other.durations);
        let start_unix_ns = &mut self.period.start_unix_ns;
        *start_unix_ns = other.period.start_unix_ns.min(*start_unix_ns);
    }
}

/// By queue: the receives of one queue can be of several operations. `None` is the
/// overflow series.
fn processings(
    snapshot: &QueueSnapshot,
    period: Period,
    unix_ns: impl Fn(u64) -> u64,
) -> BTreeMap<Option<(Option<QueueLabel>, u32)>, Processings> {
    let mut by_queue = BTreeMap::new();
    for series in &snapshot.series {
        let Some(durations) = &series.processing else {
            continue;
        };
        let identity = series.identity.as_ref();
        let queue = identity.map(|id| (id.queue.clone(), id.ipc_namespace));
        let more = Processings {
            period: Period {
                start_unix_ns: series.start_ns.map_or(period.start_unix_ns, &unix_ns),
                ..period
            },
            attributes: queue.as_ref().map_or_else(
                || vec![overflow()],
                |(queue, inode)| {
                    let mut attributes = vec![system(), text(MESSAGING_OPERATION_NAME, "process")];
                    attributes.extend(queue.as_ref().map(QueueLabel::attribute));
                    attributes.push(namespace(*inode));
                    attributes
                },
            ),
            durations: durations.counts.clone(),
            exemplars: exemplars(&durations.exemplars, &unix_ns),
        };
        match by_queue.entry(queue) {
            Entry::Vacant(place) => drop(place.insert(more)),
            Entry::Occupied(mut place) => place.get_mut().add(more),
        }
    }
    by_queue
}

/// Of several in one explicit bucket the newest.
fn exemplars(all: &Exemplars, unix_ns: impl Fn(u64) -> u64) -> Vec<ProtoExemplar> {
    let mut by_bucket = BTreeMap::new();
    for exemplar in all.iter() {
        let newest = by_bucket
            .entry(bucket(exemplar.value_ns))
            .or_insert(exemplar);
        if newest.at_ns < exemplar.at_ns {
            *newest = exemplar;
        }
    }
    let exemplars = by_bucket.into_values().map(|exemplar| ProtoExemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: unix_ns(exemplar.at_ns),
        span_id: exemplar.span_id.to_vec(),
        trace_id: exemplar.trace_id.to_vec(),
        value: Some(Value::AsDouble(exemplar.value_ns as f64 / 1e9)),
    });
    exemplars.collect()
}

/// A gauge with one point for each queue that exists.
fn gauge(
    snapshot: &QueueSnapshot,
    period: Period,
    definition: &Definition,
    value: impl Fn(&Depth) -> Option<u32>,
) -> Metric {
    let now = Period {
        start_unix_ns: 0,
        ..period
    };
    let points = snapshot.depths.iter().filter_map(|depth| {
        let attributes = vec![
            system(),
            queue(&depth.queue),
            namespace(depth.ipc_namespace),
        ];
        Some(number(now, attributes, value(depth)?.into()))
    });
    numbers(definition, points.collect())
}

/// Includes zeros for queues that exist, because a series that comes and goes
/// is hard to watch.
fn blocked_callers(snapshot: &QueueSnapshot, waiting: &[Waiting], period: Period) -> Metric {
    let mut callers: BTreeMap<(Option<QueueLabel>, u32, bool), u64> = BTreeMap::new();
    for depth in snapshot.depths.iter().filter(|d| d.messages.is_some()) {
        for send in [false, true] {
            let label = QueueLabel::Name(Arc::clone(&depth.queue));
            callers.insert((Some(label), depth.ipc_namespace, send), 0);
        }
    }
    let mut beyond = 0;
    for group in waiting {
        let label = snapshot.label(group.queue.as_deref());
        let key = (label, group.ipc_namespace, group.send);
        let has_room = callers.len() < 2 * MAX_SERIES;
        match callers.get_mut(&key) {
            Some(sum) => *sum += group.callers,
            None if has_room => drop(callers.insert(key, group.callers)),
            None => beyond += group.callers,
        }
    }
    let mut points = Vec::with_capacity(callers.len() + 1);
    for ((label, ipc_namespace, send), sum) in callers {
        let kind = if send { "send" } else { "receive" };
        let mut attributes = vec![system(), text(MESSAGING_OPERATION_TYPE, kind)];
        attributes.extend(label.as_ref().map(QueueLabel::attribute));
        attributes.push(namespace(ipc_namespace));
        points.push(number(period, attributes, sum));
    }
    if beyond > 0 {
        points.push(number(period, vec![overflow()], beyond));
    }
    numbers(&BLOCKED_CALLERS, points)
}

fn system() -> KeyValue {
    text(MESSAGING_SYSTEM, "posix_mq")
}

fn queue(name: &str) -> KeyValue {
    text(MESSAGING_DESTINATION_NAME, name)
}

fn namespace(inode: u32) -> KeyValue {
    int("posix_mq.ipc_namespace", inode.into())
}

fn attributes(series: &Series) -> Vec<KeyValue> {
    let Some(identity) = &series.identity else {
        return vec![overflow()];
    };
    let operation = identity.operation;
    let mut attributes = vec![system(), text(MESSAGING_OPERATION_NAME, operation.name())];
    if operation.is_send() {
        attributes.push(text(MESSAGING_OPERATION_TYPE, "send"));
    } else if operation.is_receive() {
        attributes.push(text(MESSAGING_OPERATION_TYPE, "receive"));
    }
    attributes.extend(identity.queue.as_ref().map(QueueLabel::attribute));
    attributes.push(namespace(identity.ipc_namespace));
    let errno = identity.outcome.errno();
    attributes.extend(errno.map(|errno| text("posix_mq.errno", errno)));
    let error = identity.outcome.error_type();
    attributes.extend(error.map(|error| text(ERROR_TYPE, error)));
    attributes
}
