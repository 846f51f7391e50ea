//! What was counted of calls, as metrics.
//!
//! Names, units and attributes are those of "Semantic conventions for
//! messaging client metrics" (`docs/messaging/messaging-metrics.md`), but
//! for one thing: a send that fails put no message into the queue, so it is
//! not in `messaging.client.sent.messages`; the histogram counts it, with its
//! `error.type`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::family::{Family, Kind, Label, Labels, Number};
use super::queues::{Depth, Identity, MAX_SERIES, Series, Snapshot};
use crate::kernel::Waiting;

/// The metrics of all queues. `waiting` are the callers that are blocked now;
/// `unix_ns` leads from boot time to Unix time, in nanoseconds.
pub fn queue_families(
    snapshot: &Snapshot,
    waiting: &[Waiting],
    unix_ns: impl Fn(u64) -> u64,
) -> Vec<Family> {
    let mut duration = Family::new(
        "messaging.client.operation.duration",
        Kind::Histogram,
        "s",
        "Duration of calls from entry to return.",
    );
    let mut sent = Family::new(
        "messaging.client.sent.messages",
        Kind::Counter,
        "{message}",
        "Messages that sends put into queues.",
    );
    let mut consumed = Family::new(
        "messaging.client.consumed.messages",
        Kind::Counter,
        "{message}",
        "Messages that receives took from queues.",
    );
    let mut time_in_queue = Family::new(
        "posix_mq.time_in_queue",
        Kind::Histogram,
        "s",
        "Time from the making of a message in its sender to its delivery, where both were seen.",
    );
    for series in &snapshot.series {
        let overflow = series.identity.is_none();
        if overflow && series.duration.count() == 0 {
            continue;
        }
        let labels = labels(series);
        let start = series.start_ns.map(&unix_ns);
        let success = |is_kind: bool| match &series.identity {
            Some(identity) => is_kind && identity.outcome.is_success(),
            None => true,
        };
        let operation = series.identity.as_ref().map(|identity| identity.operation);
        if success(operation.is_some_and(|operation| operation.is_send())) {
            sent.push_since(start, labels.clone(), Number::Count(series.sent));
        }
        if success(operation.is_some_and(|operation| operation.is_receive())) {
            consumed.push_since(start, labels.clone(), Number::Count(series.consumed));
        }
        if let Some(histogram) = &series.time_in_queue {
            let number = Number::Durations(histogram.clone());
            time_in_queue.push_since(start, labels.clone(), number);
        }
        let number = Number::Durations(Box::new(series.duration.clone()));
        duration.push_since(start, labels, number);
    }
    vec![
        duration,
        sent,
        consumed,
        time_in_queue,
        gauge(
            snapshot,
            "posix_mq.queue.depth",
            "Messages in the queue at the latest return of a call that told.",
            |depth| depth.messages,
        ),
        gauge(
            snapshot,
            "posix_mq.queue.max_messages",
            "Messages that the queue takes (mq_maxmsg).",
            |depth| depth.max_messages,
        ),
        blocked_callers(snapshot, waiting),
    ]
}

/// One gauge of each queue that is there.
fn gauge(
    snapshot: &Snapshot,
    name: &'static str,
    description: &'static str,
    value: impl Fn(&Depth) -> Option<u32>,
) -> Family {
    let mut family = Family::new(name, Kind::Gauge, "{message}", description);
    for depth in &snapshot.depths {
        if let Some(value) = value(depth) {
            let labels = vec![
                system(),
                queue(&depth.queue),
                namespace(depth.ipc_namespace),
            ];
            family.count(labels, value.into());
        }
    }
    family
}

/// Zeros too, for queues that are there: a series that comes and goes is hard to
/// watch.
fn blocked_callers(snapshot: &Snapshot, waiting: &[Waiting]) -> Family {
    let mut family = Family::new(
        "posix_mq.blocked_callers",
        Kind::UpDownCounter,
        "{call}",
        "Callers that are blocked in a send or a receive.",
    );
    let mut callers: BTreeMap<(Option<&str>, u32, bool), u64> = BTreeMap::new();
    for depth in snapshot.depths.iter().filter(|d| d.messages.is_some()) {
        for send in [false, true] {
            callers.insert((Some(&depth.queue), depth.ipc_namespace, send), 0);
        }
    }
    let mut overflow = 0;
    for group in waiting {
        let key = (group.queue.as_deref(), group.ipc_namespace, group.send);
        let has_room = callers.len() < 2 * MAX_SERIES;
        match callers.get_mut(&key) {
            Some(sum) => *sum += group.callers,
            None if has_room => drop(callers.insert(key, group.callers)),
            None => overflow += group.callers,
        }
    }
    for ((name, ipc_namespace, send), sum) in callers {
        let kind = if send { "send" } else { "receive" };
        let mut labels = vec![system(), ("messaging.operation.type", Label::Static(kind))];
        labels.extend(name.map(|name| queue(&name.into())));
        labels.push(namespace(ipc_namespace));
        family.count(labels, sum);
    }
    if overflow > 0 {
        family.count(vec![("otel.metric.overflow", Label::Bool(true))], overflow);
    }
    family
}

pub(super) fn system() -> (&'static str, Label) {
    ("messaging.system", Label::Static("posix_mq"))
}

fn queue(name: &Arc<str>) -> (&'static str, Label) {
    ("messaging.destination.name", Label::Text(Arc::clone(name)))
}

fn namespace(inode: u32) -> (&'static str, Label) {
    ("posix_mq.ipc_namespace", Label::Int(inode.into()))
}

fn labels(series: &Series) -> Labels {
    let Some(identity) = &series.identity else {
        return vec![("otel.metric.overflow", Label::Bool(true))];
    };
    let Identity {
        queue: name,
        ipc_namespace,
        operation,
        outcome,
    } = identity;
    let mut labels = vec![
        system(),
        ("messaging.operation.name", Label::Static(operation.name())),
    ];
    if operation.is_send() {
        labels.push(("messaging.operation.type", Label::Static("send")));
    } else if operation.is_receive() {
        labels.push(("messaging.operation.type", Label::Static("receive")));
    }
    labels.extend(name.as_ref().map(queue));
    labels.push(namespace(*ipc_namespace));
    if let Some(error) = outcome.error_type() {
        let error = match error {
            Cow::Borrowed(name) => Label::Static(name),
            Cow::Owned(name) => Label::Text(name.into()),
        };
        labels.push(("error.type", error));
    }
    labels
}
