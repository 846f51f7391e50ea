//! Tests the comparison itself: a correct span passes, and each wrong field is named.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::*;

const LINE: &str = r#"{"op":"mq_timedsend","abi":"x86_64","pid":10,"tid":11,"comm":"w","mqdes":3,
"msg_len":16,"priority":7,"priority_asked":false,"message":5,"timeout":{"sec":2,"nsec":3},"ret":0,
"errno_name":null,"restarted":false,"queue":"/q","max_messages":8,"max_message_size":128,
"nonblocking":false,"depth":1,"oflag":null,"mode":null,"notify":null,"notify_signal":null,
"realtime_start_ns":5000000000,"realtime_end_ns":5000100000}"#;

fn call() -> Result<Call> {
    let calls = truth::parse(&LINE.replace('\n', ""))?;
    calls.into_iter().next().context("no call")
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn string(key: &str, value: &str) -> KeyValue {
    pair(key, any_value::Value::StringValue(value.to_owned()))
}

fn int(key: &str, value: i64) -> KeyValue {
    pair(key, any_value::Value::IntValue(value))
}

fn traced() -> Result<Traced> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        _ => "arm64",
    };
    let resource = [
        string("service.name", "mqwork"),
        int("process.pid", 10),
        string("process.executable.name", "mqwork"),
        string("process.executable.path", "/bin/mqwork"),
        string("process.creation.time", "2026-01-01T00:00:00Z"),
        string("service.instance.id", "x"),
        string("host.name", host.trim()),
        string("host.arch", arch),
        string("os.type", "linux"),
        string("telemetry.distro.name", "mqspan"),
        string("telemetry.distro.version", "0"),
    ];
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "mq_timedsend /q".to_owned(),
        kind: SpanKind::Producer.into(),
        start_time_unix_nano: 5_000_010_000,
        end_time_unix_nano: 5_000_090_000,
        status: Some(Status::default()),
        attributes: vec![
            string("messaging.system", "posix_mq"),
            string("messaging.operation.name", "mq_timedsend"),
            string("messaging.operation.type", "send"),
            string("messaging.destination.name", "/q"),
            string("posix_mq.abi", "x86_64"),
            int("posix_mq.mqdes", 3),
            int("posix_mq.msg_len", 16),
            int("posix_mq.priority", 7),
            string("posix_mq.abs_timeout", "1970-01-01T00:00:02.000000003Z"),
            pair(
                "posix_mq.deadline_margin",
                any_value::Value::DoubleValue(-3.000_089_997),
            ),
            int("posix_mq.return", 0),
            int("posix_mq.queue.depth", 1),
            int("posix_mq.queue.max_messages", 8),
            int("posix_mq.queue.max_message_size", 128),
            int("posix_mq.ipc_namespace", ipc_namespace()?),
            int("thread.id", 11),
            string("thread.name", "w"),
        ],
        ..Span::default()
    };
    Ok(Traced {
        span,
        origin: Arc::new(Origin {
            resource: attributes(&resource).0,
            scope: Some(InstrumentationScope {
                name: "mqspan".to_owned(),
                version: "0".to_owned(),
                ..InstrumentationScope::default()
            }),
            schema_url: semconv::schema_url().to_owned(),
        }),
    })
}

fn check(calls: &[Call], spans: &[Traced]) -> Result<()> {
    Comparison {
        backend: Backend::Tracepoint,
        program: Path::new("/bin/mqwork"),
        read_from: ReadFrom::Export,
        correlation: Correlation::Parent,
        other_program: None,
        payload_max_bytes: None,
    }
    .check(calls, spans)
}

fn complaint(span: impl FnOnce(&mut Span)) -> Result<String> {
    let mut traced = traced()?;
    span(&mut traced.span);
    Ok(check(&[call()?], &[traced])
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default())
}

#[test]
fn a_right_span_passes() -> Result<()> {
    check(&[call()?], &[traced()?])
}

#[test]
fn every_missing_attribute_is_named() -> Result<()> {
    let keys: Vec<_> = traced()?
        .span
        .attributes
        .iter()
        .map(|pair| pair.key.clone())
        .filter(|key| key != "thread.id")
        .collect();
    for key in keys {
        let complaint = complaint(|span| span.attributes.retain(|pair| pair.key != key))?;
        assert!(
            complaint.contains(&format!("{key}: missing")),
            "{complaint}"
        );
    }
    Ok(())
}

#[test]
fn wrong_fields_are_named() -> Result<()> {
    type Break = fn(&mut Span);
    let table: [(&str, Break); 10] = [
        ("name:", |span| span.name.clear()),
        ("kind:", |span| span.kind = SpanKind::Client.into()),
        ("status:", |span| {
            span.status = Some(Status {
                code: 2,
                message: String::new(),
            });
        }),
        ("times:", |span| span.start_time_unix_nano -= 2_000_000),
        ("times:", |span| span.end_time_unix_nano += 2_000_000),
        ("trace id:", |span| span.trace_id = vec![0; 16]),
        ("parent:", |span| span.parent_span_id = vec![9; 8]),
        ("posix_mq.made_up:", |span| {
            span.attributes.push(int("posix_mq.made_up", 1));
        }),
        ("thread.name: more than once", |span| {
            span.attributes.push(string("thread.name", "w"));
        }),
        ("1 calls, 0 spans", |span| {
            span.attributes.retain(|pair| pair.key != "thread.id");
        }),
    ];
    for (want, break_it) in table {
        let complaint = complaint(break_it)?;
        assert!(complaint.contains(want), "{want} is not in: {complaint}");
    }
    Ok(())
}

#[test]
fn lost_and_doubled_spans_are_noticed() -> Result<()> {
    for spans in [vec![], vec![traced()?, traced()?]] {
        let error = check(&[call()?], &spans).err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains(&format!("1 calls, {} spans", spans.len()))));
    }
    Ok(())
}

#[test]
fn spans_of_other_processes_are_left_alone() -> Result<()> {
    let mut other = traced()?;
    let mut origin = (*other.origin).clone();
    origin
        .resource
        .insert("process.pid".to_owned(), Value::Int(99));
    other.origin = Arc::new(origin);
    check(&[call()?], &[traced()?, other])
}
