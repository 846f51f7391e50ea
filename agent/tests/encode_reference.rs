//! opentelemetry-proto reads our bytes and JSON back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod reference;

use std::borrow::Cow;
use std::sync::Arc;

use mqspan::internals::clock::{Anchors, Reading};
use mqspan::internals::config::Correlation;
use mqspan::internals::encode::{self, Batch, Push, SCHEMA_URL, json};
use mqspan::internals::event::{
    Abi, ApplicationSpan, ApplicationTrace, Call, CallKey, Cause, Notify, OpenArguments, Operation,
    Queue, SendFate, Sender, Timeout,
};
use mqspan::internals::span::Span;
use mqspan::internals::trace_state::TraceState;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::{Span as ProtoSpan, TracesData};
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

const OPERATIONS: [Operation; 10] = [
    Operation::MqOpen,
    Operation::MqUnlink,
    Operation::MqTimedsend,
    Operation::MqTimedsendTime32,
    Operation::MqTimedsendTime64,
    Operation::MqTimedreceive,
    Operation::MqTimedreceiveTime32,
    Operation::MqTimedreceiveTime64,
    Operation::MqNotify,
    Operation::MqGetsetattr,
];

fn any_i64() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        Just(i64::MIN),
        Just(i64::MAX),
        -600_i64..600,
        (0_u32..64).prop_map(|shift| 1_i64.wrapping_shl(shift)),
    ]
}

fn any_name() -> impl Strategy<Value = Cow<'static, str>> {
    prop_oneof![
        Just(String::new()),
        "/[a-z]{1,12}",
        "\\PC{0,255}",
        "[\\x00-\\x7f]{0,40}",
        (0_usize..20_000).prop_map(|len| "ü/".repeat(len)),
        (5_900_usize..8_300).prop_map(|len| "n".repeat(len)),
        (60_usize..140).prop_map(|len| "n".repeat(len)),
    ]
    .prop_map(Cow::Owned)
}

prop_compose! {
    fn any_times()(
        start_ns in prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), 0_u64..1 << 40],
        took_ns in any::<u32>(),
        pid in 0_u32..4,
        tid in any::<u32>(),
    ) -> (u64, u64, u32, u32) {
        (start_ns, start_ns.saturating_add(took_ns.into()), pid, tid)
    }
}

prop_compose! {
    fn any_queue()(
        queue in option::of((any::<u64>(), any::<u32>(), any::<u32>())),
        depth in option::of(any::<u32>()),
        nonblocking in any::<Option<bool>>(),
        mqdes in option::of(any::<i32>()),
        priority in option::of(any::<u32>()),
    ) -> (Option<Queue>, Option<u32>, Option<bool>, Option<i32>, Option<u32>) {
        let queue = queue.map(|(ino, max_messages, max_message_size)| Queue {
            ino, max_messages, max_message_size,
        });
        (queue, depth, nonblocking, mqdes, priority)
    }
}

fn any_cause() -> impl Strategy<Value = Cause> {
    let key = |(tid, start_ns)| CallKey { tid, start_ns };
    let keys = (
        any::<(u32, u64)>(),
        any::<(u32, u64)>(),
        option::of(any_trace()),
        any::<bool>(),
    );
    keys.prop_map(move |(call, root, application_trace, is_parent)| Cause {
        call: key(call),
        root: key(root),
        application_trace,
        is_parent,
    })
}

fn any_trace() -> impl Strategy<Value = ApplicationTrace> {
    any::<([u8; 16], u8)>().prop_map(|(id, flags)| ApplicationTrace { id, flags })
}

prop_compose! {
    fn any_arguments()(
        timeout in option::of((any_i64(), prop_oneof![any_i64(), 0_i64..1_000_000_000])),
        open in option::of((any::<u32>(), any::<u32>())),
        notify in option::of((-2_i32..5, any::<i32>())),
        sender in option::of((any_cause(), any::<u64>())),
        receive_before in option::of(any_cause()),
        application in option::of((any_trace(), any::<[u8; 8]>())),
        restarts in option::of(any::<u64>()),
        death_signal in option::weighted(0.1, 0_u32..70),
        payload in option::weighted(0.2, prop::collection::vec(any::<u8>(), 0..300)),
        start_unknown in any::<bool>(),
    ) -> Call<'static> {
        Call {
            timeout: timeout.map(|(sec, nsec)| Timeout { sec, nsec }),
            open: open.map(|(oflag, mode)| OpenArguments { oflag, mode }),
            notify: notify.map(|(notify, signo)| match notify {
                -2 => Notify::Unregister,
                _ => Notify::Register { notify, signo },
            }),
            sender: sender.map(|(cause, created_ns)| Sender { cause, created_ns, fate: SendFate::Told }),
            receive_before,
            application: application.map(|(trace, id)| ApplicationSpan { trace, id }),
            restarts,
            death_signal,
            payload: payload.clone().map(|bytes| &*bytes.leak()),
            start_unknown,
            ..reference::receive()
        }
    }
}

prop_compose! {
    fn any_call()(
        operation in proptest::sample::select(OPERATIONS.to_vec()),
        abi in proptest::sample::select(vec![Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm]),
        (start_ns, end_ns, pid, tid) in any_times(),
        (queue, depth, nonblocking, mqdes, priority) in any_queue(),
        ret in any_i64(),
        msg_len in any_i64(),
        comm in any_name(),
        name in option::of(any_name()),
        ipc_namespace in any::<u32>(),
        arguments in any_arguments(),
    ) -> Call<'static> {
        Call {
            operation, abi, start_ns, end_ns, tid, queue, depth, nonblocking, mqdes, priority,
            ret, comm, name, ipc_namespace,
            msg_len: msg_len.cast_unsigned(),
            process: reference::process(pid),
            ..arguments
        }
    }
}

fn any_correlation() -> impl Strategy<Value = Correlation> {
    proptest::sample::select(vec![
        Correlation::Parent,
        Correlation::Link,
        Correlation::None,
    ])
}

fn spans_of(request: &ExportTraceServiceRequest) -> Vec<(Vec<u8>, ProtoSpan)> {
    request
        .resource_spans
        .iter()
        .flat_map(|group| {
            let resource = group.resource.as_ref().unwrap().encode_to_vec();
            group.scope_spans[0]
                .spans
                .iter()
                .map(move |span| (resource.clone(), span.clone()))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn prost_reads_what_it_would_have_built(
        calls in proptest::collection::vec(any_call(), 0..12),
        correlation in any_correlation(),
        max_bytes in prop_oneof![Just(1 << 20), 300_usize..6_000],
    ) {
        for (encoded, expected) in reference::encode_all(&calls, correlation, max_bytes) {
            let read = ExportTraceServiceRequest::decode(encoded.bytes.clone()).unwrap();
            prop_assert_eq!(&read, &expected);
            prop_assert_eq!(spans_of(&read).len(), encoded.spans as usize);
            prop_assert_eq!(encode::split::count_spans(&encoded.bytes), Ok(encoded.spans));
        }
    }

    #[test]
    fn halves_hold_all_spans_in_order(
        calls in proptest::collection::vec(any_call(), 0..12),
        correlation in any_correlation(),
    ) {
        for (encoded, whole) in reference::encode_all(&calls, correlation, 1 << 20) {
            let Some((first, second)) = encoded.split().unwrap() else {
                prop_assert!(encoded.spans < 2);
                continue;
            };
            prop_assert_eq!(first.spans, encoded.spans / 2);
            prop_assert_eq!(first.spans + second.spans, encoded.spans);
            let mut spans = Vec::new();
            for half in [first, second] {
                let read = ExportTraceServiceRequest::decode(half.bytes).unwrap();
                prop_assert_eq!(spans_of(&read).len(), half.spans as usize);
                spans.extend(spans_of(&read));
            }
            prop_assert_eq!(spans, spans_of(&whole));
        }
    }

    #[test]
    fn serde_reads_our_json(
        calls in proptest::collection::vec(any_call(), 0..6),
        correlation in any_correlation(),
    ) {
        for (encoded, expected) in reference::encode_all(&calls, correlation, 1 << 20) {
            let mut line = Vec::new();
            json::traces_data_line(&mut line, &encoded.bytes).unwrap();
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert!(!line.contains(&b'\n'));
            let read: TracesData = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(&read.resource_spans, &expected.resource_spans);
        }
        for call in &calls {
            let span = Span::new(call, &reference::settings(correlation), reference::unix_ns(call));
            let resource = reference::resource(call.process.pid);
            let mut line = Vec::new();
            json::span_line(&mut line, &encode::resource(&resource), &span).unwrap();
            let object: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let read: ProtoSpan = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(read, reference::proto_span(&span));
            let read = serde_json::from_value(object["resource"].clone()).unwrap();
            let expected = reference::proto_resource(&resource);
            prop_assert_eq!(&expected, &ProtoResource::from(&resource));
            prop_assert_eq!(expected, read);
            prop_assert_eq!(&object["scope"]["name"], "mqspan");
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(encode::split::halves(&bytes).is_ok() || !bytes.is_empty());
        prop_assert!(json::traces_data_line(&mut Vec::new(), &bytes).is_ok() || !bytes.is_empty());
    }
}

/// Processing is a span like others, but no call: it is in no count.
#[test]
fn spans_of_processing_are_encoded_and_not_counted() {
    let call = reference::full_receive();
    let settings = reference::settings(Correlation::Parent);
    let received = Span::new(&call, &settings, (1_000, 2_000));
    let of_processing = |parent| {
        let end_ns = call.end_ns + 500;
        let mut span = Span::of_processing(&call, &settings, received.times, end_ns);
        span.parent_span_id = parent;
        span
    };
    let spans = [
        received.clone(),
        of_processing(received.parent_span_id),
        of_processing(Some(received.span_id)),
        of_processing(None),
    ];
    let resource = Arc::new(encode::resource(&reference::resource(1)));
    let mut batch = Batch::new(1 << 20);
    for span in &spans {
        assert_eq!(
            batch.push(reference::process(1), &resource, span),
            Push::Added
        );
    }
    let encoded = batch.take();
    assert_eq!(encoded.spans, 1);
    assert_eq!(encode::split::count_spans(&encoded.bytes), Ok(1));
    let read = ExportTraceServiceRequest::decode(encoded.bytes.clone()).unwrap();
    let read: Vec<_> = spans_of(&read).into_iter().map(|(_, span)| span).collect();
    let expected: Vec<_> = spans.iter().map(reference::proto_span).collect();
    assert_eq!(read, expected);
    assert_eq!(read[1].kind, 5);
    assert_eq!(
        (read[1].start_time_unix_nano, read[1].end_time_unix_nano),
        (2_000, 2_500)
    );
    let (first, second) = encoded.split().unwrap().unwrap();
    assert_eq!((first.spans, second.spans), (1, 0));
    // A batch of nothing else is not empty.
    assert_eq!(
        batch.push(reference::process(1), &resource, &spans[1]),
        Push::Added
    );
    assert!(!batch.is_empty());
    assert_eq!(batch.take().spans, 0);
}

#[test]
fn a_changed_resource_starts_a_group() {
    let call = reference::receive();
    let settings = reference::settings(Correlation::Parent);
    let span = Span::new(&call, &settings, (0, 0));
    let before = Arc::new(encode::resource(&reference::resource(1)));
    let after = Arc::new(encode::resource(&reference::resource(2)));
    let mut batch = Batch::new(1 << 20);
    for resource in [&before, &before, &after, &after] {
        assert_eq!(batch.push(call.process, resource, &span), Push::Added);
    }
    let read = ExportTraceServiceRequest::decode(batch.take().bytes).unwrap();
    let spans: Vec<_> = read
        .resource_spans
        .iter()
        .map(|group| group.scope_spans[0].spans.len())
        .collect();
    assert_eq!(spans, [2, 2]);
}

#[test]
fn json_has_the_names_and_forms_of_the_specification() {
    let call = reference::full_receive();
    let settings = reference::settings(Correlation::Link);
    let span = Span::new(&call, &settings, reference::unix_ns(&call));
    let mut line = Vec::new();
    json::span_line(&mut line, &encode::resource(&reference::resource(1)), &span).unwrap();
    let object: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(object["name"], "mq_timedreceive_time32 /orders");
    assert_eq!(object["kind"], 3);
    assert_eq!(object["startTimeUnixNano"], "1795505000000000000");
    let id = object["traceId"].as_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|b| b"0123456789abcdef".contains(&b)));
    let attributes = object["attributes"].as_array().unwrap();
    let find = |key: &str| &attributes.iter().find(|a| a["key"] == key).unwrap()["value"];
    assert_eq!(find("posix_mq.msg_len")["intValue"], "8192");
    assert_eq!(find("posix_mq.nonblocking")["boolValue"], true);
    assert_eq!(
        find("posix_mq.deadline_margin")["doubleValue"],
        1.249_987_655
    );
    assert_eq!(
        object["links"][0]["attributes"][0]["value"]["stringValue"],
        "sender"
    );
    let resource = &object["resource"];
    let mut addresses = resource["attributes"].as_array().unwrap().iter();
    let addresses = addresses.find(|a| a["key"] == "host.ip").unwrap();
    assert_eq!(
        addresses["value"],
        json!({"arrayValue": {"values": [{"stringValue": "192.168.1.140"}, {"stringValue": "2001:db8::1"}]}})
    );
    assert_eq!(
        resource["entityRefs"][0],
        json!({
            "schemaUrl": SCHEMA_URL, "type": "process",
            "idKeys": ["process.pid", "process.creation.time"], "descriptionKeys": []
        })
    );
}

#[test]
fn a_span_in_the_share_of_traces_tells_the_threshold() {
    let call = reference::full_receive();
    let settings = reference::settings(Correlation::Parent);
    let mut span = Span::new(&call, &settings, reference::unix_ns(&call));
    span.trace_state = TraceState::of_threshold(0x00e6_6666_6666_6668);
    let resource = Arc::new(encode::resource(&reference::resource(1)));
    let mut batch = Batch::new(1 << 20);
    assert_eq!(batch.push(call.process, &resource, &span), Push::Added);
    let read = ExportTraceServiceRequest::decode(batch.take().bytes).unwrap();
    let read = &read.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(read.trace_state, "ot=th:e6666666666668");
    assert_eq!(*read, reference::proto_span(&span));
    // The W3C flags sampled and random.
    assert_eq!(read.flags & 0xff, 3);
    let mut line = Vec::new();
    json::span_line(&mut line, &resource, &span).unwrap();
    let object: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(object["traceState"], "ot=th:e6666666666668");
}

#[test]
fn a_clock_set_during_a_call_is_told_and_moves_its_deadline_only() {
    let call = reference::full_receive();
    let settings = reference::settings(Correlation::Link);
    let start = reference::unix_ns(&call).0;
    let mut anchors = Anchors::new(Reading {
        boot_ns: 0,
        offset_ns: reference::BOOT_TO_UNIX_NS,
    });
    for (step_ns, step) in [(1_500_000_000, 1.5), (-7_200_000_000_000, -7_200.0)] {
        let mut anchors = anchors.clone();
        anchors.renew(Reading {
            boot_ns: call.start_ns + 1,
            offset_ns: reference::BOOT_TO_UNIX_NS + step_ns,
        });
        let span = Span::new(&call, &settings, anchors.times(call.start_ns, call.end_ns));
        let read = reference::proto_span(&span);
        assert_eq!(read.start_time_unix_nano, start);
        assert_eq!(read.end_time_unix_nano, start + 12_345);
        assert_eq!(reference::double(&read, "posix_mq.clock_step"), Some(step));
        let margin = reference::double(&read, "posix_mq.deadline_margin").unwrap();
        assert!((margin - (1.249_987_655 - step)).abs() < 1e-9, "{margin}");
    }
    anchors.renew(Reading {
        boot_ns: call.end_ns + 1,
        offset_ns: 0,
    });
    let span = Span::new(&call, &settings, anchors.times(call.start_ns, call.end_ns));
    let read = reference::proto_span(&span);
    assert_eq!(reference::double(&read, "posix_mq.clock_step"), None);
}
