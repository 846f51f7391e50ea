//! Spans and requests built with opentelemetry-proto's types, to compare ours with, and the calls
//! to build them from.

#![allow(dead_code, reason = "each test uses its part")]

use std::borrow::Cow;
use std::sync::Arc;

use mqspan::internals::config::{Correlation, Traces};
use mqspan::internals::encode::{
    self, Batch, EncodedBatch, Push, SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION,
};
use mqspan::internals::event::{
    Abi, Call, CallKey, Cause, Operation, ProcessKey, Queue, SendFate, Sender, Timeout,
};
use mqspan::internals::ids::Ids;
use mqspan::internals::resource::{AttributeValue, Resource};
use mqspan::internals::span::{AttributeSink, Link, Span, SpanSettings};
use mqspan::internals::status;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::span::Link as ProtoLink;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan, Status};

/// Offset from boot time to Unix time in all samples.
pub(crate) const BOOT_TO_UNIX_NS: i64 = 1_795_500_000_000_000_000;

/// A typical receive: the span of the encoding target.
pub(crate) fn receive() -> Call<'static> {
    Call {
        operation: Operation::MqTimedreceiveTime32,
        abi: Abi::I386,
        start_ns: 5_000_000_000_000,
        end_ns: 5_000_000_012_345,
        ret: 64,
        process: process(4_242),
        tid: 4_243,
        comm: Cow::Borrowed("worker-3"),
        ipc_namespace: 4_026_531_839,
        mqdes: Some(3),
        name: Some(Cow::Borrowed("/orders")),
        msg_len: 8_192,
        priority: Some(5),
        timeout: None,
        has_timeout: false,
        queue: Some(Queue {
            ino: 21_000,
            max_messages: 10,
            max_message_size: 8_192,
        }),
        depth: Some(2),
        nonblocking: None,
        open: None,
        notify: None,
        made_message: false,
        sender: None,
        receive_before: None,
        no_wait: false,
        application: None,
        restarts: None,
        reentered: false,
        unlinked: false,
        start_unknown: false,
        undecided: false,
        death_signal: None,
        payload: None,
    }
}

const SEND: CallKey = CallKey {
    tid: 4_300,
    start_ns: 4_999_999_990_000,
};

/// A receive with a timeout, whose sender is known.
pub(crate) fn full_receive() -> Call<'static> {
    Call {
        timeout: Some(Timeout {
            sec: 1_795_505_001,
            nsec: 250_000_000,
        }),
        has_timeout: true,
        nonblocking: Some(true),
        sender: Some(Sender {
            cause: Cause {
                call: SEND,
                root: SEND,
                application_trace: None,
                is_parent: true,
            },
            created_ns: 4_999_999_995_000,
            fate: SendFate::Told,
        }),
        ..receive()
    }
}

pub(crate) fn process(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start_ns: 1_000_000 * u64::from(pid),
        exec_id: 1,
    }
}

pub(crate) fn settings(correlation: Correlation) -> SpanSettings {
    SpanSettings::new(
        Ids::new(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        Traces {
            correlation,
            ..Traces::default()
        },
    )
}

/// A typical resource of a traced process.
pub(crate) fn resource(pid: u32) -> Resource {
    let mut resource = Resource::default();
    resource.set_text("service.name", "order-service");
    resource.set_text(
        "service.instance.id",
        "627cc493-f310-47de-96bd-71410b7dec09",
    );
    resource.set("process.pid", AttributeValue::Int(pid.into()));
    resource.set_text("process.executable.name", "order-service");
    resource.set_text("process.creation.time", "2026-11-24T05:58:30.120Z");
    resource.set_text("host.name", "node-1");
    resource.set_text("host.id", "0123456789abcdef0123456789abcdef");
    let addresses = ["192.168.1.140".to_owned(), "2001:db8::1".to_owned()];
    resource.set_texts("host.ip", &addresses.into());
    resource.set_text("k8s.pod.uid", "1f0c1b2a-3d4e-4f50-8a9b-0c1d2e3f4a5b");
    resource.set(
        "k8s.pod.label.app".to_owned(),
        AttributeValue::String(String::new()),
    );
    resource.set_text("host.arch", "amd64");
    resource.set_text("os.type", "linux");
    resource.set_text("telemetry.distro.name", "mqspan");
    resource.set("posix_mq.test", AttributeValue::Bool(true));
    resource.set("posix_mq.load", AttributeValue::Double(-0.5));
    resource
}

/// Collects attributes as protobuf messages.
#[derive(Default)]
struct Collect(Vec<KeyValue>);

impl Collect {
    fn push(&mut self, key: &str, value: any_value::Value) {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }
}

impl AttributeSink for Collect {
    fn text(&mut self, key: &'static str, value: &str) {
        self.push(key, any_value::Value::StringValue(value.to_owned()));
    }
    fn int(&mut self, key: &'static str, value: i64) {
        self.push(key, any_value::Value::IntValue(value));
    }
    fn double(&mut self, key: &'static str, value: f64) {
        self.push(key, any_value::Value::DoubleValue(value));
    }
    fn bool(&mut self, key: &'static str, value: bool) {
        self.push(key, any_value::Value::BoolValue(value));
    }
    fn bytes(&mut self, key: &'static str, value: &[u8]) {
        self.push(key, any_value::Value::BytesValue(value.to_owned()));
    }
}

/// The value of a span's attribute, if it is a double.
pub(crate) fn double(span: &ProtoSpan, key: &str) -> Option<f64> {
    let attribute = span.attributes.iter().find(|pair| pair.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::DoubleValue(value) => Some(*value),
        _ => None,
    }
}

pub(crate) fn proto_span(span: &Span<'_>) -> ProtoSpan {
    let mut attributes = Collect::default();
    span.attributes(&mut attributes);
    let mut links = Vec::new();
    let with_parent = |link: Link, role, flags| {
        let mut proto = proto_link(link, role, flags);
        if span.parent_span_id == Some(link.span_id) {
            let mut attributes = Collect::default();
            attributes.text("opentracing.ref_type", "child_of");
            proto.attributes.extend(attributes.0);
        }
        proto
    };
    links.extend(
        span.sender_link
            .map(|link| with_parent(link, "sender", 0x300)),
    );
    links.extend(
        span.receive_link
            .map(|link| with_parent(link, "receive", 0x100)),
    );
    links.extend(
        span.application_link
            .map(|link| proto_link(link, "application", 0x100)),
    );
    links.extend(
        span.restart_link
            .map(|link| proto_link(link, "interrupted", 0x100)),
    );
    ProtoSpan {
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        parent_span_id: span.parent_span_id.map(Vec::from).unwrap_or_default(),
        flags: u32::from(span.trace_flags())
            | match span.parent_span_id {
                Some(_) if span.parent_is_remote => 0x300,
                _ => 0x100,
            },
        name: match span.name() {
            (operation, Some(queue)) => format!("{operation} {queue}"),
            (operation, None) => operation.to_owned(),
        },
        kind: span.kind() as i32,
        start_time_unix_nano: span.times.start_unix_ns,
        end_time_unix_nano: span.times.end_unix_ns,
        attributes: attributes.0,
        links,
        trace_state: span
            .trace_state
            .map(|state| state.as_str().to_owned())
            .unwrap_or_default(),
        status: span.is_error.then(|| Status {
            message: status::message(span.call).as_str().to_owned(),
            code: 2,
        }),
        ..ProtoSpan::default()
    }
}

fn proto_link(link: Link, role: &str, flags: u32) -> ProtoLink {
    let mut attributes = Collect::default();
    attributes.text("posix_mq.link", role);
    ProtoLink {
        trace_id: link.trace_id.to_vec(),
        span_id: link.span_id.to_vec(),
        attributes: attributes.0,
        flags: flags | u32::from(link.trace_flags),
        ..ProtoLink::default()
    }
}

/// The entities of [`resource`].
fn proto_entities() -> Vec<EntityRef> {
    let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let entity = |kind: &str, id: &[&str], description: &[&str]| EntityRef {
        schema_url: SCHEMA_URL.to_owned(),
        r#type: kind.to_owned(),
        id_keys: owned(id),
        description_keys: owned(description),
    };
    vec![
        entity("process", &["process.pid", "process.creation.time"], &[]),
        entity("service.instance", &["service.instance.id"], &[]),
        entity("service", &["service.name"], &[]),
        entity("k8s.pod", &["k8s.pod.uid"], &["k8s.pod.label.app"]),
        entity("host", &["host.id"], &["host.name", "host.ip", "host.arch"]),
        entity("telemetry.distro", &["telemetry.distro.name"], &[]),
    ]
}

pub(crate) fn proto_resource(resource: &Resource) -> ProtoResource {
    let mut attributes = Collect::default();
    for (key, value) in &resource.attributes {
        attributes.push(
            key,
            match value {
                AttributeValue::String(text) => any_value::Value::StringValue(text.clone()),
                AttributeValue::Int(value) => any_value::Value::IntValue(*value),
                AttributeValue::Double(value) => any_value::Value::DoubleValue(*value),
                AttributeValue::Bool(value) => any_value::Value::BoolValue(*value),
                AttributeValue::Strings(texts) => {
                    let values = texts.iter().map(|text| AnyValue {
                        value: Some(any_value::Value::StringValue(text.clone())),
                    });
                    any_value::Value::ArrayValue(ArrayValue {
                        values: values.collect(),
                    })
                }
            },
        );
    }
    ProtoResource {
        attributes: attributes.0,
        entity_refs: proto_entities(),
        ..ProtoResource::default()
    }
}

pub(crate) fn proto_scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE_NAME.to_owned(),
        version: SCOPE_VERSION.to_owned(),
        ..InstrumentationScope::default()
    }
}

pub(crate) fn proto_request(
    groups: Vec<(ProtoResource, Vec<ProtoSpan>)>,
) -> ExportTraceServiceRequest {
    let resource_spans = groups
        .into_iter()
        .map(|(resource, spans)| ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(proto_scope()),
                spans,
                schema_url: SCHEMA_URL.to_owned(),
            }],
            schema_url: SCHEMA_URL.to_owned(),
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

/// How many processes [`encode_all`] has resources for.
pub(crate) const PROCESSES: u32 = 4;

/// Encodes requests of at most `max_bytes`, each paired with the same request as a message. Process
/// ids must be below [`PROCESSES`].
pub(crate) fn encode_all(
    calls: &[Call<'_>],
    correlation: Correlation,
    max_bytes: usize,
) -> Vec<(EncodedBatch, ExportTraceServiceRequest)> {
    let settings = settings(correlation);
    let resources: Vec<_> = (0..PROCESSES).map(resource).collect();
    let encoded: Vec<_> = resources
        .iter()
        .map(|resource| Arc::new(encode::resource(resource)))
        .collect();
    let mut batch = Batch::new(max_bytes);
    let mut groups: Vec<(u32, Vec<ProtoSpan>)> = Vec::new();
    let mut all = Vec::new();
    let mut cut = |batch: &mut Batch, groups: &mut Vec<(u32, Vec<ProtoSpan>)>| {
        let size = batch.size_bytes();
        let encoded = batch.take();
        assert_eq!(encoded.bytes.len(), size);
        assert!(size <= max_bytes);
        let groups = groups
            .drain(..)
            .map(|(pid, spans)| (proto_resource(&resources[pid as usize]), spans))
            .collect();
        all.push((encoded, proto_request(groups)));
    };
    for call in calls {
        let span = Span::new(call, &settings, unix_ns(call));
        let pid = call.process.pid;
        let resource = &encoded[pid as usize];
        loop {
            match batch.push(call.process, resource, &span) {
                Push::Added => {
                    let message = proto_span(&span);
                    match groups.iter_mut().find(|(key, _)| *key == pid) {
                        Some((_, spans)) => spans.push(message),
                        None => groups.push((pid, vec![message])),
                    }
                    break;
                }
                Push::Full => cut(&mut batch, &mut groups),
                Push::TooLarge => break,
            }
        }
    }
    cut(&mut batch, &mut groups);
    all
}

/// Start and end of a call in Unix nanoseconds.
pub(crate) fn unix_ns(call: &Call<'_>) -> (u64, u64) {
    let unix = |boot_ns: u64| boot_ns.saturating_add_signed(BOOT_TO_UNIX_NS);
    (unix(call.start_ns), unix(call.end_ns))
}
