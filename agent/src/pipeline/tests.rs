use super::*;
use crate::config::Enrich;
use crate::config::Filter;
use crate::histogram::Forms;
use crate::host::Host;
use crate::ids::Ids;
use crate::kernel::KernelFilter;
use crate::metrics::exchange::exchange;
use crate::skel::types::{call_abi, call_context, call_event, call_flag, call_op, event_kind};

const IN_DOUBT: u32 = call_flag::CALL_SENDER_IN_CALL.0 | call_flag::CALL_SENDER_UNTOLD.0;

/// The parts of a span that these tests check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    is_send: bool,
    has_parent: bool,
    links: bool,
}

#[derive(Default)]
struct Recorder {
    spans: Vec<Got>,
    untold: Vec<CallKey>,
    /// How many of the spans tell the share of traces.
    with_trace_state: usize,
}

impl SpanSink for Recorder {
    fn span(&mut self, _: &Process, span: &Span<'_>) {
        self.with_trace_state += usize::from(span.trace_state.is_some());
        self.spans.push(Got {
            is_send: span.call.operation.is_send(),
            has_parent: span.parent_span_id.is_some(),
            links: span.sender_link.is_some(),
        });
    }

    fn take_untold(&mut self) -> Vec<CallKey> {
        std::mem::take(&mut self.untold)
    }

    fn tick(&mut self, _: Instant) {}

    fn finish(&mut self) {}
}

pub(super) fn record(op: call_op, flags: u32, change: impl FnOnce(&mut call_event)) -> Vec<u8> {
    let mut raw = call_event {
        kind: u8::try_from(event_kind::EVENT_CALL.0).unwrap(),
        op: u8::try_from(op.0).unwrap(),
        abi: u8::try_from(call_abi::ABI_I386.0).unwrap(),
        flags: flags | call_flag::CALL_MESSAGE.0,
        start_ns: 1_000,
        end_ns: 2_000,
        tid: 1,
        ..call_event::default()
    };
    change(&mut raw);
    // SAFETY: as in test_calls::raw_receive().
    let bytes = unsafe {
        std::slice::from_raw_parts((&raw const raw).cast::<u8>(), size_of::<call_event>())
    };
    bytes.to_vec()
}

/// The send of message `number`, by a thread named `comm`.
pub(super) fn send(number: u64, comm: &str) -> Vec<u8> {
    record(call_op::CALL_TIMEDSEND, 0, |raw| {
        raw.start_ns = number;
        name_thread(raw, comm);
    })
}

pub(super) fn name_thread(raw: &mut call_event, comm: &str) {
    for (to, byte) in raw.comm.iter_mut().zip(comm.bytes()) {
        *to = byte.cast_signed();
    }
}

pub(super) fn receive(number: u64, flags: u32) -> Vec<u8> {
    let flags = flags | call_flag::CALL_CHILD.0;
    record(call_op::CALL_TIMEDRECEIVE, flags, |raw| {
        (raw.cause_tid, raw.cause_start_ns) = (1, number);
        (raw.root_tid, raw.root_start_ns) = (1, number);
        raw.tid = 2;
        raw.start_ns = number + 1;
        raw.end_ns = number + 1_000_000_000;
    })
}

fn key(tid: u32, start_ns: u64) -> CallKey {
    CallKey { tid, start_ns }
}

/// Processes with the enrichment of process and container off.
pub(super) fn untold_processes() -> Processes {
    let enrich = Enrich {
        process: false,
        container: false,
        ..Enrich::default()
    };
    Processes::new(Host::read(), &crate::config::Resource::default(), &enrich)
}

/// The spans that the records become. Each `None` is a tick.
fn spans_of(sampling: Sampling, records: &[Option<Vec<u8>>]) -> Vec<Got> {
    let mut filter = Filter::default();
    filter.exclude.comms = crate::config::Globs::new(&["dropped".to_owned()]).unwrap();
    let settings = PipelineSettings {
        span: SpanSettings::new(Ids::new(1), crate::config::Traces::default()),
        filter: NameFilter::new(&filter, &KernelFilter::default()),
        sampling,
        sees_receives: true,
    };
    let processes = untold_processes();
    let counts = PipelineCounts::default();
    let mut pipeline = Pipeline::new(settings, processes, Recorder::default(), &counts);
    let mut now = Instant::now();
    for bytes in records {
        match bytes {
            Some(bytes) => pipeline.record(bytes),
            None => {
                now += std::time::Duration::from_secs(2);
                pipeline.tick(now);
            }
        }
    }
    pipeline.finish();
    let decoded = counts.decoded();
    let sink = pipeline.into_sink();
    assert_eq!(decoded.spans, sink.spans.len() as u64);
    let calls = records.iter().flatten().count() as u64;
    assert_eq!(
        decoded.spans + decoded.filtered + decoded.sampled_out,
        calls
    );
    sink.spans
}

#[test]
fn only_the_share_of_traces_tells_its_threshold() {
    for (ratio, errors, kept, told) in [
        (1.0, true, 200, 0..=0),
        (0.5, true, 200, 70..=130),
        (0.0, true, 200, 0..=0),
        (0.5, false, 70, 70..=130),
    ] {
        let settings = PipelineSettings {
            span: SpanSettings::new(Ids::new(1), crate::config::Traces::default()),
            filter: NameFilter::new(&Filter::default(), &KernelFilter::default()),
            sampling: Sampling::new(ratio, errors, None),
            sees_receives: true,
        };
        let counts = PipelineCounts::default();
        let mut pipeline =
            Pipeline::new(settings, untold_processes(), Recorder::default(), &counts);
        for number in 0..200 {
            pipeline.record(&record(call_op::CALL_TIMEDSEND, 0, |raw| {
                (raw.start_ns, raw.ret) = (number, -90);
            }));
        }
        pipeline.finish();
        let sink = pipeline.into_sink();
        assert!(sink.spans.len() >= kept, "{ratio}: {}", sink.spans.len());
        assert!(
            told.contains(&sink.with_trace_state),
            "{ratio}: {}",
            sink.with_trace_state
        );
        assert!(errors || sink.with_trace_state == sink.spans.len());
    }
}

fn all() -> Sampling {
    Sampling::new(1.0, false, None)
}

const SENT: Got = Got {
    is_send: true,
    has_parent: false,
    links: false,
};
const CHILD: Got = Got {
    is_send: false,
    has_parent: true,
    links: true,
};
const ROOT_WITH_LINK: Got = Got {
    is_send: false,
    has_parent: false,
    links: true,
};

#[test]
fn a_receive_is_the_child_of_a_send_that_is_there() {
    for flags in [0, call_flag::CALL_SENDER_IN_CALL.0] {
        let records = [Some(send(7, "x")), Some(receive(7, flags))];
        assert_eq!(spans_of(all(), &records), [SENT, CHILD]);
    }
}

#[test]
fn what_the_kernel_or_the_filter_has_dropped_is_no_parent() {
    let records = [Some(receive(7, call_flag::CALL_SENDER_UNTOLD.0))];
    assert_eq!(spans_of(all(), &records), [ROOT_WITH_LINK]);
    let records = [Some(send(7, "dropped")), Some(receive(7, 0))];
    assert_eq!(spans_of(all(), &records), [ROOT_WITH_LINK]);
}

#[test]
fn a_receive_in_doubt_waits_for_its_send() {
    let in_doubt = || Some(receive(7, IN_DOUBT));
    let sent = || Some(send(7, "x"));
    assert_eq!(spans_of(all(), &[sent(), in_doubt()]), [SENT, CHILD]);
    assert_eq!(spans_of(all(), &[in_doubt(), sent()]), [SENT, CHILD]);
    let dropped = Some(send(7, "dropped"));
    assert_eq!(spans_of(all(), &[in_doubt(), dropped]), [ROOT_WITH_LINK]);
    assert_eq!(spans_of(all(), &[in_doubt()]), [ROOT_WITH_LINK]);
    let late = [in_doubt(), None, sent()];
    assert_eq!(spans_of(all(), &late), [ROOT_WITH_LINK, SENT]);
}

#[test]
fn receives_that_wait_are_bounded_and_none_is_lost() {
    let records: Vec<_> = (0..5_000)
        .map(|number| Some(receive(number, IN_DOUBT)))
        .collect();
    let spans = spans_of(all(), &records);
    assert_eq!(spans.len(), records.len());
    assert!(spans.iter().all(|span| *span == ROOT_WITH_LINK));
}

#[test]
fn a_slow_receive_brings_its_send_or_is_a_root() {
    let slow = || Sampling::new(0.0, false, Some(std::time::Duration::from_millis(1)));
    let records = [Some(send(7, "x")), Some(receive(7, 0))];
    assert_eq!(spans_of(slow(), &records), [SENT, CHILD]);
    // With this many sends in between, send 3 is forgotten.
    let mut records: Vec<_> = (0..20_000).map(|number| Some(send(number, "x"))).collect();
    records.push(Some(receive(3, 0)));
    assert_eq!(spans_of(slow(), &records), [ROOT_WITH_LINK]);
}

/// The send of message `number + 2` by the thread that has received message `number`; both come of
/// it.
pub(super) fn send_on(number: u64, is_child: bool) -> Vec<u8> {
    let child = if is_child { call_flag::CALL_CHILD.0 } else { 0 };
    record(
        call_op::CALL_TIMEDSEND,
        call_flag::CALL_CAUSE.0 | child,
        |raw| {
            raw.tid = 2;
            (raw.start_ns, raw.end_ns) = (number + 2, number + 2_000_000_000);
            (raw.cause_tid, raw.cause_start_ns) = (2, number + 1);
            (raw.root_tid, raw.root_start_ns) = (1, number);
        },
    )
}

const SENT_ON: Got = Got {
    is_send: true,
    has_parent: true,
    links: false,
};

#[test]
fn a_send_is_the_child_of_the_receive_it_comes_of_if_that_is_there() {
    let records = [
        Some(send(7, "x")),
        Some(receive(7, 0)),
        Some(send_on(7, true)),
    ];
    assert_eq!(spans_of(all(), &records), [SENT, CHILD, SENT_ON]);
    let records = [
        Some(send(7, "x")),
        Some(receive(7, 0)),
        Some(send_on(7, false)),
    ];
    assert_eq!(spans_of(all(), &records), [SENT, CHILD, SENT]);
    let child = call_flag::CALL_CHILD.0;
    let dropped = record(call_op::CALL_TIMEDRECEIVE, child, |raw| {
        (raw.cause_tid, raw.cause_start_ns) = (1, 7);
        (raw.tid, raw.start_ns) = (2, 8);
        name_thread(raw, "dropped");
    });
    // Several sends may come of it.
    let records = [
        Some(dropped),
        Some(send_on(7, true)),
        Some(send_on(7, true)),
    ];
    assert_eq!(spans_of(all(), &records), [SENT, SENT]);
}

#[test]
fn only_what_can_have_children_is_held_for_a_failed_call() {
    use crate::config::{ChainMode, Correlation, Traces};
    for (mode, correlation, held) in [
        (ChainMode::Proven, Correlation::Parent, 2),
        (ChainMode::Thread, Correlation::Parent, 2),
        (ChainMode::Thread, Correlation::Link, 1),
        (ChainMode::Proven, Correlation::Link, 0),
        (ChainMode::Link, Correlation::Parent, 0),
        (ChainMode::None, Correlation::Parent, 0),
    ] {
        let mut traces = Traces {
            correlation,
            ..Traces::default()
        };
        traces.chains.mode = mode;
        let settings = PipelineSettings {
            span: SpanSettings::new(Ids::new(1), traces),
            filter: NameFilter::new(&Filter::default(), &KernelFilter::default()),
            sampling: Sampling::new(0.0, true, None),
            sees_receives: true,
        };
        let counts = PipelineCounts::default();
        let processes = untold_processes();
        let mut pipeline = Pipeline::new(settings, processes, Recorder::default(), &counts);
        pipeline.record(&send(7, "x"));
        let flags = match correlation {
            Correlation::Parent => call_flag::CALL_CHILD.0,
            _ => 0,
        };
        pipeline.record(&record(call_op::CALL_TIMEDRECEIVE, flags, |raw| {
            (raw.cause_tid, raw.cause_start_ns) = (1, 7);
            (raw.root_tid, raw.root_start_ns) = (1, 7);
            (raw.tid, raw.start_ns) = (2, 8);
        }));
        let decoded = counts.decoded();
        assert_eq!(decoded.undecided, held, "{mode} {correlation}");
    }
}

#[test]
fn an_empty_receive_is_a_span_unless_that_is_off() {
    for (errno, empty_receives, spans) in [
        (libc::EAGAIN, true, 1),
        (libc::EAGAIN, false, 0),
        (libc::ETIMEDOUT, false, 0),
        (libc::EBADF, false, 1),
    ] {
        let settings = PipelineSettings {
            span: SpanSettings::new(
                Ids::new(1),
                crate::config::Traces {
                    empty_receives,
                    ..Default::default()
                },
            ),
            filter: NameFilter::new(&Filter::default(), &KernelFilter::default()),
            sampling: Sampling::new(1.0, true, None),
            sees_receives: true,
        };
        let counts = PipelineCounts::default();
        let processes = untold_processes();
        let mut pipeline = Pipeline::new(settings, processes, Recorder::default(), &counts);
        pipeline.record(&record(call_op::CALL_TIMEDRECEIVE, 0, |raw| {
            raw.ret = -i64::from(errno);
        }));
        let decoded = counts.decoded();
        assert_eq!((decoded.spans, decoded.sampled_out), (spans, 1 - spans));
    }
}

#[test]
fn a_slow_send_brings_the_whole_chain() {
    let slow = || Sampling::new(0.0, false, Some(std::time::Duration::from_millis(1_500)));
    let chain = [
        Some(send(7, "x")),
        Some(receive(7, 0)),
        Some(send_on(7, true)),
    ];
    assert_eq!(spans_of(slow(), &chain), [SENT, CHILD, SENT_ON]);
    let mut records: Vec<_> = chain.into_iter().take(2).collect();
    records.extend((100..20_000).map(|number| Some(send(number, "x"))));
    records.push(Some(send_on(7, true)));
    assert_eq!(spans_of(slow(), &records), [SENT]);
}

#[test]
fn what_is_sent_after_all_names_no_parent_that_is_not_there() {
    let slow = || Sampling::new(0.0, false, Some(std::time::Duration::from_millis(1_500)));
    // The root is forgotten, but not the receive.
    let mut records = vec![Some(send(7, "x"))];
    records.extend((100..20_000).map(|number| Some(send(number, "x"))));
    records.extend([Some(receive(7, 0)), Some(send_on(7, true))]);
    assert_eq!(spans_of(slow(), &records), [ROOT_WITH_LINK, SENT_ON]);
    // The root is left out, and what comes later of a trace that is kept has no parent either.
    let records = [
        Some(send(7, "dropped")),
        Some(receive(7, 0)),
        Some(send_on(7, true)),
    ];
    assert_eq!(spans_of(slow(), &records), [ROOT_WITH_LINK, SENT_ON]);
}

#[test]
fn what_the_sink_had_no_room_for_is_no_parent() {
    let settings = |ids| SpanSettings::new(ids, crate::config::Traces::default());
    let bytes = send(7, "x");
    let Ok(Event::Call(call)) = Event::parse(&bytes) else {
        panic!("not a call");
    };
    assert!(
        Span::new(&call, &settings(Ids::new(1)), (0, 0))
            .parent_span_id
            .is_none()
    );
    let sink = Recorder {
        untold: vec![call.key()],
        ..Recorder::default()
    };
    let counts = PipelineCounts::default();
    let mut pipeline = Pipeline::new(
        PipelineSettings {
            span: settings(Ids::new(1)),
            filter: NameFilter::new(&Filter::default(), &KernelFilter::default()),
            sampling: all(),
            sees_receives: true,
        },
        untold_processes(),
        sink,
        &counts,
    );
    pipeline.record(&receive(7, 0));
    assert_eq!(pipeline.into_sink().spans, [ROOT_WITH_LINK]);
}

/// Only of spans that are kept, and of the series of their own call, also where the span was held.
#[test]
fn exemplars_are_spans_that_are_kept() {
    let (publisher, reader) = exchange();
    let metrics = QueueMetrics::new(publisher, std::time::Duration::MAX, Forms::EXPLICIT);
    let settings = PipelineSettings {
        span: SpanSettings::new(Ids::new(1), crate::config::Traces::default()),
        filter: NameFilter::new(&Filter::default(), &KernelFilter::default()),
        sampling: Sampling::new(0.0, false, Some(std::time::Duration::from_millis(1))),
        sees_receives: true,
    };
    let counts = PipelineCounts::default();
    let mut pipeline = Pipeline::new(settings, untold_processes(), Recorder::default(), &counts)
        .with_metrics(Some(metrics), Arc::default());
    // The slow receive is held back until its send comes, and keeps it.
    for bytes in [receive(7, IN_DOUBT), send(9, "x"), send(7, "x")] {
        pipeline.record(&bytes);
    }
    pipeline.finish();
    assert_eq!(pipeline.into_sink().spans.len(), 2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let snapshot = runtime.block_on(reader.read());
    let exemplars = snapshot.series.iter().flat_map(|series| {
        let exemplars = series.duration.exemplars.iter();
        exemplars.map(|exemplar| (exemplar.trace_id, exemplar.span_id, exemplar.value_ns))
    });
    let ids = Ids::new(1);
    let trace_id = ids.trace_id(key(1, 7));
    let mut expected = [
        (trace_id, ids.span_id(key(2, 8)), 1_000_000_000 - 1),
        (trace_id, ids.span_id(key(1, 7)), 2_000 - 7),
    ];
    let mut exemplars: Vec<_> = exemplars.collect();
    exemplars.sort_unstable();
    expected.sort_unstable();
    assert_eq!(exemplars, expected);
}

/// With a call_context of events.h in front: a span that is sampled or not, and no root.
fn in_context(flags: u8, record: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<call_context>()];
    bytes[0] = u8::try_from(event_kind::EVENT_CALL_IN_CONTEXT.0).unwrap();
    bytes[8..32].fill(7);
    (bytes[32], bytes[33]) = (flags, 1);
    bytes.extend(record);
    bytes
}

#[test]
fn a_copy_without_the_message_is_the_same_call() {
    let flags = call_flag::CALL_NAME.0;
    let mut plain = record(call_op::CALL_TIMEDRECEIVE, flags, |raw| {
        raw.name_len = 2;
        (raw.name[0], raw.name[1]) = (b'/'.cast_signed(), b'q'.cast_signed());
    });
    plain.truncate(std::mem::offset_of!(call_event, name) + 2);
    for original in [plain.clone(), in_context(1, &plain)] {
        let mut bytes = original.clone();
        bytes.extend([0; 6]);
        let mut copy = Vec::new();
        crate::event::copy_without_payload(&bytes, &mut copy);
        assert_eq!(copy, original);
    }
    let mut copy = Vec::new();
    for end in 0..plain.len() {
        crate::event::copy_without_payload(&plain[..end], &mut copy);
        assert!(copy.len() <= end);
    }
}

#[test]
fn an_application_trace_is_kept_whatever_the_share() {
    let none = Sampling::new(0.0, false, None);
    for (flags, expected) in [(1, true), (0, false)] {
        let records = [Some(in_context(flags, &send(7, "x"))), Some(send(8, "x"))];
        let spans = spans_of(none, &records);
        assert_eq!(spans.len(), usize::from(expected));
        assert!(spans.iter().all(|span| span.is_send && span.has_parent));
    }
    assert!(matches!(
        Event::parse(&in_context(1, &send(7, "x"))[..60]),
        Err(crate::event::DecodeError::TooShort(_))
    ));
}
