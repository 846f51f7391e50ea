//! What is a child of what, whatever is left out.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::super::tests::{receive, record, send, untold_processes};
use super::super::{PipelineCounts, PipelineSettings};
use super::*;
use crate::config::{Filter, Globs, Traces};
use crate::event::CallKey;
use crate::filter::NameFilter;
use crate::histogram::Forms;
use crate::ids::{Ids, SpanId, TraceId};
use crate::kernel::KernelFilter;
use crate::metrics::QueueMetrics;
use crate::metrics::exchange::exchange;
use crate::process::Process;
use crate::sampling::Sampling;
use crate::skel::types::{call_flag, call_op};
use crate::span::{SpanKind, SpanSettings};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    kind: SpanKind,
    trace_id: TraceId,
    span_id: SpanId,
    parent: Option<SpanId>,
    links: usize,
    times: (u64, u64),
    has_room: bool,
}

#[derive(Default)]
struct Recorder {
    spans: Vec<Got>,
    /// Reservations that are refused.
    refused: usize,
    untold: Vec<CallKey>,
}

impl SpanSink for Recorder {
    fn span(&mut self, _: &Process, span: &Span<'_>) {
        let links = [span.sender_link, span.receive_link, span.restart_link];
        self.spans.push(Got {
            kind: span.kind(),
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent: span.parent_span_id,
            links: links.iter().flatten().count(),
            times: (span.times.start_unix_ns, span.times.end_unix_ns),
            has_room: span.has_room,
        });
    }

    fn reserve(&mut self, _: &Process) -> bool {
        let refused = self.refused > 0;
        self.refused = self.refused.saturating_sub(1);
        !refused
    }

    fn take_untold(&mut self) -> Vec<CallKey> {
        std::mem::take(&mut self.untold)
    }

    fn tick(&mut self, _: Instant) {}

    fn finish(&mut self) {}
}

struct Run {
    traces: Traces,
    sampling: Sampling,
    sink: Recorder,
}

impl Run {
    fn new(sampling: Sampling) -> Self {
        Self {
            traces: Traces {
                process_spans: true,
                ..Traces::default()
            },
            sampling,
            sink: Recorder::default(),
        }
    }

    /// The spans that the records become, and how many durations are counted. Checks
    /// that every parent is there, and the balance.
    fn spans_of(self, records: &[Vec<u8>]) -> (Vec<Got>, u64) {
        let mut filter = Filter::default();
        filter.exclude.comms = Globs::new(&["dropped".to_owned()]).unwrap();
        let settings = PipelineSettings {
            span: SpanSettings::new(Ids::new(1), self.traces),
            filter: NameFilter::new(&filter, &KernelFilter::default()),
            sampling: self.sampling,
            sees_receives: true,
        };
        let (publisher, reader) = exchange();
        let metrics = QueueMetrics::new(publisher, Duration::MAX, Forms::EXPLICIT);
        let counts = PipelineCounts::default();
        let mut pipeline = Pipeline::new(settings, untold_processes(), self.sink, &counts)
            .with_metrics(Some(metrics), std::sync::Arc::default());
        for bytes in records {
            pipeline.record(bytes);
        }
        pipeline.finish();
        let spans = pipeline.into_sink().spans;
        let ids: HashSet<_> = spans.iter().map(|span| span.span_id).collect();
        assert_eq!(ids.len(), spans.len());
        let parents = spans.iter().filter_map(|span| span.parent);
        assert!(
            parents.clone().all(|parent| ids.contains(&parent)),
            "{spans:#?}"
        );
        let decoded = counts.decoded();
        let calls = spans.iter().filter(|span| span.kind != SpanKind::Consumer);
        assert_eq!(decoded.spans, calls.count() as u64);
        assert_eq!(
            decoded.spans + decoded.filtered + decoded.sampled_out,
            records.len() as u64
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let snapshot = runtime.block_on(reader.read());
        let durations = snapshot.series.iter().filter_map(|s| s.processing.as_ref());
        let counted = durations.map(|durations| durations.counts.count()).sum();
        (spans, counted)
    }
}

const ALL: f64 = 1.0;

fn share(ratio: f64) -> Sampling {
    Sampling::new(ratio, false, None)
}

/// Like [`share`], with traces that have a call of more than 1 ms.
fn slow(ratio: f64) -> Sampling {
    Sampling::new(ratio, false, Some(Duration::from_millis(1)))
}

/// A send by thread 2 that comes of its receive of message `number`.
fn pass_on(number: u64, start_ns: u64, length_ns: u64) -> Vec<u8> {
    let flags = call_flag::CALL_CAUSE.0 | call_flag::CALL_CHILD.0 | call_flag::CALL_NO_WAIT.0;
    record(call_op::CALL_TIMEDSEND, flags, |raw| {
        raw.tid = 2;
        (raw.start_ns, raw.end_ns) = (start_ns, start_ns + length_ns);
        (raw.cause_tid, raw.cause_start_ns) = (2, number + 1);
        (raw.root_tid, raw.root_start_ns) = (1, number);
    })
}

/// The receive of a message by thread 2, and how long it took.
fn take(number: u64, length_ns: u64) -> Vec<u8> {
    take_by("x", number, length_ns)
}

fn take_by(comm: &str, number: u64, length_ns: u64) -> Vec<u8> {
    let mut bytes = receive(number, 0);
    let end_ns = number + 1 + length_ns;
    let at = std::mem::offset_of!(crate::skel::types::call_event, end_ns);
    bytes[at..at + 8].copy_from_slice(&end_ns.to_ne_bytes());
    let at = std::mem::offset_of!(crate::skel::types::call_event, comm);
    bytes[at..at + comm.len()].copy_from_slice(comm.as_bytes());
    bytes
}

fn key(tid: u32, start_ns: u64) -> CallKey {
    CallKey { tid, start_ns }
}

fn kinds(spans: &[Got]) -> Vec<SpanKind> {
    spans.iter().map(|span| span.kind).collect()
}

use SpanKind::{Client, Consumer, Producer};

#[test]
fn the_tree_is_send_then_receive_and_process_then_sends() {
    let ids = Ids::new(1);
    let records = [
        send(7, "x"),
        take(7, 10),
        pass_on(7, 30, 20),
        pass_on(7, 60, 20),
    ];
    let (spans, counted) = Run::new(share(ALL)).spans_of(&records);
    assert_eq!(
        kinds(&spans),
        [Producer, Client, Producer, Producer, Consumer]
    );
    let [sent, received, first, second, process] = &spans[..] else {
        panic!("{spans:?}");
    };
    let of_process = Some(ids.process_id(key(2, 8)));
    assert_eq!(received.parent, Some(sent.span_id));
    assert_eq!((first.parent, second.parent), (of_process, of_process));
    assert_eq!((process.parent, process.links), (Some(sent.span_id), 2));
    assert_eq!(process.times.0, received.times.1);
    assert_eq!(process.times.1 - process.times.0, 80 - 18);
    assert!(spans.iter().all(|span| span.trace_id == sent.trace_id));
    assert_eq!(counted, 1);
    // Without the option all is as before, and counted.
    let mut run = Run::new(share(ALL));
    run.traces.process_spans = false;
    let (spans, counted) = run.spans_of(&records);
    assert_eq!(kinds(&spans), [Producer, Client, Producer, Producer]);
    assert_eq!(spans[2].parent, Some(spans[1].span_id));
    assert_eq!(counted, 1);
}

#[test]
fn without_the_span_of_the_send_it_is_the_child_of_the_receive() {
    let records = [send(7, "dropped"), take(7, 10), pass_on(7, 30, 20)];
    let (spans, _) = Run::new(share(ALL)).spans_of(&records);
    assert_eq!(kinds(&spans), [Client, Producer, Consumer]);
    assert_eq!(
        (spans[0].parent, spans[2].parent),
        (None, Some(spans[0].span_id))
    );
    assert_eq!(spans[1].parent, Some(spans[2].span_id));
    // What the sink lost after the receive had named it.
    let mut run = Run::new(share(ALL));
    run.sink.untold = vec![key(1, 7)];
    let (spans, _) = run.spans_of(&[take(7, 10), pass_on(7, 30, 20)]);
    assert_eq!(spans[2].parent, Some(spans[0].span_id));
}

#[test]
fn a_receive_that_is_left_out_has_no_processing() {
    let records = [send(7, "x"), take_by("dropped", 7, 10), pass_on(7, 30, 20)];
    let (spans, counted) = Run::new(share(ALL)).spans_of(&records);
    assert_eq!(kinds(&spans), [Producer, Producer]);
    assert_eq!((spans[1].parent, counted), (None, 0));
    // It ends that of the message before.
    let records = [
        send(7, "x"),
        take(7, 10),
        pass_on(7, 30, 20),
        take_by("dropped", 77, 10),
        pass_on(77, 100, 10),
    ];
    let (spans, counted) = Run::new(share(ALL)).spans_of(&records);
    assert_eq!(
        kinds(&spans),
        [Producer, Client, Producer, Consumer, Producer]
    );
    assert_eq!((spans[4].parent, counted), (None, 1));
}

#[test]
fn without_room_for_it_sends_are_children_of_the_receive() {
    let records = [
        send(7, "x"),
        take(7, 10),
        pass_on(7, 30, 20),
        pass_on(7, 60, 20),
    ];
    let mut run = Run::new(share(ALL));
    run.sink.refused = 1;
    let (spans, _) = run.spans_of(&records);
    assert_eq!(spans[2].parent, Some(spans[1].span_id));
    assert_eq!(spans[3].parent, Some(spans[4].span_id));
    assert!(spans[4].has_room);
    let mut run = Run::new(share(ALL));
    run.sink.refused = 2;
    let (spans, _) = run.spans_of(&records);
    assert_eq!(spans[3].parent, Some(spans[1].span_id));
    assert!(!spans[4].has_room);
}

const MS: u64 = 1_000_000;

/// A slow call, wherever it is in the trace, brings all of it.
#[test]
fn what_is_kept_is_whole() {
    let chain = |slow: usize| {
        let ns = |at: usize| if at == slow { 2 * MS } else { 10 };
        vec![
            send(7, "x"),
            take(7, ns(0)),
            pass_on(7, 3 * MS, ns(1)),
            pass_on(7, 6 * MS, ns(2)),
            // Another message, whose trace is quick.
            take(10 * MS, 10),
            pass_on(10 * MS, 11 * MS, 10),
        ]
    };
    for at in 0..3 {
        let (spans, counted) = Run::new(slow(0.0)).spans_of(&chain(at));
        let first = spans
            .iter()
            .filter(|span| span.trace_id == spans[0].trace_id);
        assert_eq!(first.clone().count(), 5, "{at}: {spans:#?}");
        assert_eq!((spans.len(), counted), (5, 2));
        let process = first.clone().find(|span| span.kind == Consumer).unwrap();
        assert_eq!(process.parent, Some(spans[0].span_id));
        let sends = first.filter(|span| span.parent == Some(process.span_id));
        assert_eq!(sends.count(), 2);
    }
    // The receiver of what was passed on is slow, after the processing has ended.
    let mut late = chain(9);
    late.push(record(
        call_op::CALL_TIMEDRECEIVE,
        call_flag::CALL_CHILD.0,
        |raw| {
            (raw.tid, raw.start_ns, raw.end_ns) = (3, 6 * MS, 20 * MS);
            (raw.cause_tid, raw.cause_start_ns) = (2, 6 * MS);
            (raw.root_tid, raw.root_start_ns) = (1, 7);
        },
    ));
    let (spans, _) = Run::new(slow(0.0)).spans_of(&late);
    assert_eq!(
        kinds(&spans),
        [Producer, Client, Producer, Producer, Consumer, Client]
    );
    assert_eq!(spans[2].parent, Some(spans[4].span_id));
    // Without room for it, sends are children of the receive.
    let mut run = Run::new(slow(0.0));
    run.sink.refused = 1;
    let (spans, _) = run.spans_of(&late);
    assert_eq!(
        kinds(&spans),
        [Producer, Client, Producer, Producer, Client]
    );
    assert_eq!(spans[2].parent, Some(spans[1].span_id));
}

/// Whatever the share, what is kept names no parent that is not there.
#[test]
fn a_share_of_traces_is_whole() {
    for sampling in [share(0.5), slow(0.5), slow(0.1)] {
        let mut records = Vec::new();
        for number in 0..300_u64 {
            let at = number * 100 * MS;
            let took = if number % 7 == 0 { 2 * MS } else { 10 };
            records.push(send(at, "x"));
            records.push(take(at, 10));
            if number % 3 > 0 {
                records.push(pass_on(at, at + 10 * MS, 10));
                records.push(pass_on(at, at + 20 * MS, took));
            }
        }
        let (spans, counted) = Run::new(sampling).spans_of(&records);
        let processes = spans.iter().filter(|span| span.kind == Consumer).count();
        assert!(processes > 20 && processes < 200, "{processes}");
        assert_eq!(counted, 200);
    }
}
