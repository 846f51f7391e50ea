//! Series, depths and their limits, call by call.

use std::borrow::Cow;

use super::super::exchange::exchange;
use super::*;
use crate::config::{Globs, UnsetStatusErrnos};
use crate::event::{Abi, CallKey, Cause, ProcessKey, Queue, SendFate, Sender};

const MS: u64 = 1_000_000;
const KEEP: Duration = Duration::from_secs(60);
const KEEP_NS: u64 = 60_000 * MS;

const SENT: CallKey = CallKey {
    tid: 1,
    start_ns: 1,
};
const SEND: Cause = Cause {
    call: SENT,
    root: SENT,
    application_trace: None,
    is_parent: true,
};

pub(in crate::metrics) fn call(
    operation: Operation,
    name: &'static str,
    ino: u64,
    ret: i64,
) -> Call<'static> {
    Call {
        operation,
        abi: Abi::X86_64,
        start_ns: 1_000 * MS,
        end_ns: 1_003 * MS,
        ret,
        process: ProcessKey {
            pid: 7,
            start_ns: 1,
            exec_id: 0,
        },
        tid: 7,
        comm: Cow::Borrowed("test"),
        ipc_namespace: 100,
        mqdes: Some(3),
        name: (!name.is_empty()).then_some(Cow::Borrowed(name)),
        msg_len: 8,
        priority: None,
        timeout: None,
        has_timeout: false,
        queue: (ino != 0).then_some(Queue {
            ino,
            max_messages: 10,
            max_message_size: 8_192,
        }),
        depth: None,
        nonblocking: None,
        open: None,
        notify: None,
        made_message: false,
        sender: None,
        payload: None,
        receive_before: None,
        no_wait: false,
        application: None,
        restarts: None,
        reentered: false,
        unlinked: false,
        start_unknown: false,
        undecided: false,
        death_signal: None,
    }
}

fn metrics(max_series: usize) -> QueueMetrics {
    QueueMetrics::with_limit(exchange().0, KEEP, Forms::EXPLICIT, max_series)
}

fn counts(metrics: &QueueMetrics) -> Vec<u64> {
    let series = metrics.counted.series.iter();
    series
        .map(|series| series.duration.counts.count())
        .collect()
}

use Operation::{MqTimedreceive, MqTimedsend, MqUnlink};

#[test]
fn series_are_told_by_their_attributes() {
    let mut metrics = metrics(MAX_SERIES);
    metrics.call(&call(MqTimedsend, "/a", 1, 0));
    metrics.call(&call(MqTimedsend, "/a", 1, 0));
    metrics.call(&call(MqTimedsend, "/a", 1, -11));
    metrics.call(&call(MqTimedreceive, "/a", 1, 8));
    let mut other_namespace = call(MqTimedsend, "/a", 1, 0);
    other_namespace.ipc_namespace = 200;
    metrics.call(&other_namespace);
    // A queue created again under its old name.
    metrics.call(&call(MqTimedsend, "/a", 2, 0));
    // An inode number reused by another queue, and then by the first name again.
    metrics.call(&call(MqTimedsend, "/b", 1, 0));
    metrics.call(&call(MqTimedsend, "/a", 1, 0));
    // A descriptor without a queue, then names without a queue.
    metrics.call(&call(MqTimedsend, "", 0, -9));
    metrics.call(&call(MqUnlink, "/x", 0, -2));
    metrics.call(&call(MqUnlink, "/y", 0, -2));
    assert_eq!(counts(&metrics), [0, 4, 1, 1, 1, 1, 1, 1, 1]);
    let sent: u64 = metrics.counted.series.iter().map(|s| s.sent).sum();
    let consumed: u64 = metrics.counted.series.iter().map(|s| s.consumed).sum();
    assert_eq!((sent, consumed), (8, 1));
}

#[test]
fn what_is_beyond_the_limit_goes_to_the_first_series_and_is_counted() {
    let mut metrics = metrics(3);
    for name in ["/a", "/b", "/c", "/d", "/c", "/a"] {
        let ino = u64::from(name.as_bytes()[1]);
        let mut call = call(MqTimedsend, name, ino, 0);
        call.depth = Some(1);
        metrics.call(&call);
    }
    assert_eq!(counts(&metrics), [3, 2, 1]);
    assert_eq!(metrics.counted.series[0].identity, None);
    assert_eq!(metrics.counted.series[0].sent, 3);
    assert_eq!(metrics.counted.depths.len(), 2);
}

#[test]
fn a_full_cache_loses_no_count() {
    let mut metrics = metrics(3);
    for round in 0..3 {
        for ino in 1..=(MAX_CACHED as u64) {
            metrics.call(&call(MqTimedsend, "/a", ino + round * 7, 0));
        }
    }
    assert_eq!(counts(&metrics), [0, 3 * MAX_CACHED as u64]);
    assert!(metrics.cache.len() <= MAX_CACHED);
}

#[test]
fn a_send_that_fails_is_an_attempt_and_one_that_goes_on_is_none() {
    let mut metrics = metrics(MAX_SERIES);
    for (ret, reentered) in [(0, false), (-110, false), (-512, true), (-512, false)] {
        let mut call = call(MqTimedsend, "/a", 1, ret);
        call.reentered = reentered;
        metrics.call(&call);
    }
    let mut killed = call(MqTimedsend, "/a", 1, -512);
    killed.death_signal = Some(9);
    metrics.call(&killed);
    let series = metrics.counted.series.iter().skip(1).map(|series| {
        let outcome = series.identity.as_ref().unwrap().outcome;
        (outcome.errno(), series.duration.counts.count(), series.sent)
    });
    let expected = [
        (None, 1, 1),
        (Some("ETIMEDOUT".into()), 1, 1),
        (None, 1, 0),
        (Some("EINTR".into()), 1, 1),
        (None, 1, 1),
    ];
    assert_eq!(series.collect::<Vec<_>>(), expected);
}

/// What is an error can change while the agent runs.
#[test]
fn a_failure_that_becomes_an_error_has_another_series() {
    let mut metrics = metrics(MAX_SERIES);
    metrics.call(&call(MqTimedreceive, "/a", 1, -110));
    metrics.set_traces(&Traces {
        unset_status_errnos: UnsetStatusErrnos {
            receive: [].into(),
            ..UnsetStatusErrnos::default()
        },
        ..Traces::default()
    });
    metrics.call(&call(MqTimedreceive, "/a", 1, -110));
    metrics.set_traces(&Traces::default());
    metrics.call(&call(MqTimedreceive, "/a", 1, -110));
    let series = metrics.counted.series.iter().skip(1).map(|series| {
        let outcome = series.identity.as_ref().unwrap().outcome;
        (outcome.error_type(), series.duration.counts.count())
    });
    let expected = [(None, 2), (Some("ETIMEDOUT".into()), 1)];
    assert_eq!(series.collect::<Vec<_>>(), expected);
}

#[test]
fn depth_is_that_of_the_latest_return_until_the_queue_is_unlinked() {
    let mut metrics = metrics(MAX_SERIES);
    let mut at = |operation, end_ns, depth| {
        let mut call = call(operation, "/a", 1, 0);
        call.end_ns = end_ns;
        call.depth = depth;
        metrics.call(&call);
        let counted = &metrics.counted.depths[0];
        assert_eq!(counted.max_messages.is_some(), counted.messages.is_some());
        counted.messages
    };
    assert_eq!(at(MqTimedsend, 2_000 * MS, Some(3)), Some(3));
    assert_eq!(at(MqTimedreceive, 1_999 * MS, Some(9)), Some(3));
    assert_eq!(at(MqTimedreceive, 2_001 * MS, Some(2)), Some(2));
    assert_eq!(at(MqTimedreceive, 2_002 * MS, None), Some(2));
    assert_eq!(at(MqUnlink, 2_003 * MS, None), None);
    assert_eq!(at(MqTimedsend, 2_004 * MS, Some(1)), Some(1));
}

#[test]
fn time_in_queue_is_of_receives_that_met_their_send() {
    let mut metrics = metrics(MAX_SERIES);
    let mut receive = call(MqTimedreceive, "/a", 1, 8);
    metrics.call(&receive);
    assert_eq!(metrics.counted.series[1].time_in_queue, None);
    receive.sender = Some(Sender {
        cause: SEND,
        created_ns: 900 * MS,
        fate: SendFate::Told,
    });
    metrics.call(&receive);
    let series = &metrics.counted.series[1];
    let time_in_queue = series.time_in_queue.as_ref().unwrap();
    assert_eq!(time_in_queue.counts.totals().range(), Some((0.103, 0.103)));
    assert_eq!(
        series.duration.counts.totals().range(),
        Some((0.003, 0.003))
    );
}

/// Reports what the kernel says of queues in the namespace of [`call`]: inode and existence.
fn look(metrics: &mut QueueMetrics, states: &[(u64, bool)]) {
    let states = states.iter().map(|(queue, is_there)| {
        let ipc_namespace = 100;
        let queue = *queue;
        (
            QueueKey {
                queue,
                ipc_namespace,
            },
            *is_there,
        )
    });
    metrics.look_at(&states.collect());
}

fn depths(metrics: &QueueMetrics) -> Vec<(&str, Option<u32>)> {
    let depths = metrics.counted.depths.iter();
    depths
        .map(|depth| (&*depth.queue, depth.messages))
        .collect()
}

#[test]
fn a_queue_that_the_kernel_says_is_gone_has_no_depth_and_one_that_is_there_keeps_it() {
    let mut metrics = metrics(MAX_SERIES);
    for (name, ino) in [("/gone", 1), ("/there", 2), ("/unknown", 3)] {
        let mut call = call(MqTimedsend, name, ino, 0);
        call.depth = Some(8);
        metrics.call(&call);
    }
    let now_ns = 1_004 * MS;
    look(&mut metrics, &[(1, false), (2, true)]);
    metrics.publish(now_ns);
    let eight = Some(8);
    let expected = [("/gone", None), ("/there", eight), ("/unknown", eight)];
    assert_eq!(depths(&metrics), expected);
    // A queue that nobody calls and that the kernel does not know is dropped after `KEEP_NS`.
    look(&mut metrics, &[(2, true)]);
    metrics.publish(now_ns + KEEP_NS);
    assert_eq!(depths(&metrics), [("/there", eight)]);
    assert_eq!(counts(&metrics), [0, 1]);
    metrics.publish(now_ns + 1_000 * KEEP_NS);
    assert_eq!(depths(&metrics), [("/there", eight)]);
    // A new queue of that name is not yet known to exist.
    let mut again = call(MqTimedsend, "/there", 9, 0);
    again.depth = Some(1);
    metrics.call(&again);
    assert_eq!(depths(&metrics), [("/there", Some(1))]);
    look(&mut metrics, &[(2, false)]);
    assert_eq!(depths(&metrics), [("/there", Some(1))]);
    look(&mut metrics, &[(9, false)]);
    assert_eq!(depths(&metrics), [("/there", None)]);
}

#[test]
fn series_of_what_is_gone_are_given_back_once_told() {
    let mut metrics = metrics(4);
    let at = |name: &'static str, ino, end_ns| {
        let mut call = call(MqTimedsend, name, ino, 0);
        (call.depth, call.end_ns) = (Some(1), end_ns);
        call.start_ns = end_ns;
        call
    };
    for (name, ino) in [("/a", 1), ("/b", 2), ("/c", 3), ("/d", 4)] {
        metrics.call(&at(name, ino, MS));
    }
    assert_eq!(counts(&metrics), [1, 1, 1, 1]);
    look(&mut metrics, &[(1, false), (2, true), (3, false)]);
    // No reader has seen these series yet, so they stay.
    metrics.publish(MS + KEEP_NS);
    assert_eq!(counts(&metrics), [1, 1, 1, 1]);
    metrics.call(&at("/c", 3, MS + KEEP_NS));
    metrics.publish(MS + KEEP_NS);
    assert_eq!(counts(&metrics), [1, 1, 2]);
    let names = metrics.counted.series.iter().skip(1).map(|series| {
        let identity = series.identity.as_ref().unwrap();
        assert_eq!(
            metrics.by_identity[identity],
            metrics
                .counted
                .series
                .iter()
                .position(|s| s == series)
                .unwrap()
        );
        &**identity.queue.as_ref().unwrap().name().unwrap()
    });
    assert_eq!(names.collect::<Vec<_>>(), ["/b", "/c"]);
    assert_eq!(depths(&metrics), [("/b", Some(1)), ("/c", Some(1))]);
    // There is room again, also for queues that were counted in the first series.
    metrics.call(&at("/d", 4, MS + 2 * KEEP_NS));
    metrics.call(&at("/d", 4, MS + 2 * KEEP_NS));
    metrics.call(&at("/b", 2, MS + 2 * KEEP_NS));
    assert_eq!(counts(&metrics), [1, 2, 2, 2]);
    // A series that starts over has a new start time.
    let starts = metrics.counted.series.iter().map(|series| series.start_ns);
    let anew = Some(MS + 2 * KEEP_NS);
    assert_eq!(starts.collect::<Vec<_>>(), [None, Some(MS), Some(MS), anew]);
    assert_eq!(depths(&metrics).len(), 3);
}

fn exemplars(metrics: &QueueMetrics, series: usize) -> Vec<u64> {
    let exemplars = metrics.counted.series[series].duration.exemplars.iter();
    exemplars.map(|exemplar| exemplar.value_ns / MS).collect()
}

#[test]
fn spans_that_are_kept_are_exemplars_of_the_series_of_their_call() {
    let mut metrics = metrics(MAX_SERIES);
    let took = |ms: u64, name: &'static str, ino: u64, start_ns: u64| {
        let mut call = call(MqTimedreceive, name, ino, 8);
        (call.start_ns, call.end_ns) = (start_ns, start_ns + ms * MS);
        call.sender = Some(Sender {
            cause: SEND,
            created_ns: start_ns - 5 * MS,
            fate: SendFate::Told,
        });
        call
    };
    let ids = |n: u8| ([n; 16], [n; 8]);
    let (a, held, b) = (
        took(10, "/a", 1, 1_000 * MS),
        took(30, "/a", 1, 2_000 * MS),
        took(70, "/b", 2, 3_000 * MS),
    );
    for call in [&a, &held, &b] {
        metrics.call(call);
    }
    // Its span was held back, and another call came in between.
    metrics.exemplar(&held, ids(2));
    assert_eq!(
        (exemplars(&metrics, 1), exemplars(&metrics, 2)),
        (vec![30], vec![])
    );
    metrics.exemplar(&b, ids(3));
    assert_eq!(
        (exemplars(&metrics, 1), exemplars(&metrics, 2)),
        (vec![30], vec![70])
    );
    let in_queue = metrics.counted.series[2].time_in_queue.as_ref().unwrap();
    let exemplar = in_queue.exemplars.iter().next().unwrap();
    assert_eq!((exemplar.value_ns, exemplar.at_ns), (75 * MS, 3_070 * MS));
    assert_eq!((exemplar.trace_id, exemplar.span_id), ids(3));
    // A call that was never counted, and one whose series is gone.
    metrics.exemplar(&took(1, "/c", 3, 4_000 * MS), ids(4));
    metrics.publish(4_000 * MS);
    metrics.publish(4_000 * MS + KEEP_NS);
    assert_eq!(counts(&metrics), [0]);
    metrics.exemplar(&b, ids(5));
    assert_eq!(exemplars(&metrics, 0), Vec::<u64>::new());
}

/// 600 namespaces with five series each, and then a queue that outlives them.
#[test]
fn namespaces_that_are_gone_leave_room() {
    let mut metrics = metrics(MAX_SERIES);
    for namespace in 0..600_u32 {
        for ret in [0, -11, -22, -90, -110] {
            let mut call = call(MqTimedsend, "/orders", u64::from(namespace) + 1, ret);
            call.ipc_namespace = 1_000 + namespace;
            metrics.call(&call);
        }
    }
    metrics.call(&call(MqTimedsend, "/live", 5_000, 0));
    assert_eq!(counts(&metrics).len(), MAX_SERIES);
    let overflow = counts(&metrics)[0];
    metrics.publish(2_000 * MS);
    metrics.publish(2_000 * MS + KEEP_NS);
    assert_eq!(counts(&metrics), [overflow]);
    assert_eq!(metrics.by_queue.len() + metrics.counted.depths.len(), 0);
    metrics.call(&call(MqTimedsend, "/live", 5_000, 0));
    assert_eq!(counts(&metrics), [overflow, 1]);
}

/// However many queues there are, those of a template are one series, and have no depth.
#[test]
fn queues_of_a_template_share_their_series() {
    let mut metrics = metrics(MAX_SERIES);
    metrics.set_traces(&Traces {
        destination_templates: Globs::new(&["reply-*"]).unwrap(),
        ..Traces::default()
    });
    for number in 0..50_000 {
        let name = format!("/reply-{number}");
        let mut call = call(MqTimedsend, "/reply", number, 0);
        call.name = Some(Cow::Owned(name));
        metrics.call(&call);
    }
    // A queue that happens to have the template's text as its name is in it as well.
    metrics.call(&call(MqTimedsend, "/reply-*", 60_000, 0));
    metrics.call(&call(MqTimedsend, "/other", 60_001, 0));
    let QueueSnapshot { series, depths, .. } = &metrics.counted;
    let counted: Vec<_> = series
        .iter()
        .filter_map(|series| Some((series.identity.as_ref()?.queue.clone()?, series.sent)))
        .collect();
    assert_eq!(
        counted,
        [
            (QueueLabel::Template("/reply-*".into()), 50_001),
            (QueueLabel::Name("/other".into()), 1)
        ]
    );
    assert_eq!(depths.len(), 1);
    assert!(metrics.cache.len() <= MAX_CACHED);
}
