//! Every kind of difference is found, and nothing else.

use std::sync::Arc;

use anyhow::Result;
use mqspan_testkit::span::Origin;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::super::strace;
use super::*;

const SETTINGS: Settings<'_> = Settings {
    abi: "i386",
    sees_messages: false,
};

const LINES: &str = r#"7 mq_open("q", O_RDWR|O_CREAT, 0600, NULL) = 3</q>
7 mq_timedreceive(3</q>, ""..., 8, [5], {tv_sec=10, tv_nsec=20}) = 4
7 mq_notify(3</q>, {sigev_signo=SIGUSR2, sigev_notify=SIGEV_SIGNAL}) = -1 EBUSY (Device or resource busy)
7 mq_timedreceive(3</q>,  <unfinished ...>) = ?
7 +++ killed by SIGTERM +++
"#;

/// A span as the agent makes it of a line. `pairs` are `KEY=VALUE`, where a number is an integer
/// unless it begins with 0.
fn span(start: u64, name: &str, pairs: &str) -> Traced {
    let pairs = format!("{pairs} messaging.system=posix_mq posix_mq.abi=i386 thread.id=7");
    let attributes = pairs
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(match value.parse() {
                    Ok(number) if !value.starts_with('0') => any_value::Value::IntValue(number),
                    _ => any_value::Value::StringValue(value.to_owned()),
                }),
            }),
            ..KeyValue::default()
        })
        .collect();
    Traced {
        span: Span {
            name: name.to_owned(),
            start_time_unix_nano: start,
            attributes,
            ..Span::default()
        },
        origin: Arc::new(Origin::default()),
    }
}

const SPANS: [(&str, &str); 4] = [
    (
        "mq_open /q",
        "messaging.operation.name=mq_open messaging.destination.name=/q posix_mq.mqdes=3 \
         posix_mq.oflag=O_RDWR|O_CREAT posix_mq.mode=0600 posix_mq.return=3",
    ),
    (
        "mq_timedreceive_time32 /q",
        "messaging.operation.name=mq_timedreceive_time32 messaging.destination.name=/q \
         posix_mq.mqdes=3 posix_mq.msg_len=8 posix_mq.priority=5 \
         posix_mq.abs_timeout=1970-01-01T00:00:10.000000020Z messaging.message.body.size=4 posix_mq.return=4",
    ),
    (
        "mq_notify /q",
        "messaging.operation.name=mq_notify messaging.destination.name=/q posix_mq.mqdes=3 \
         posix_mq.notify=SIGEV_SIGNAL posix_mq.notify_signal=12 posix_mq.return=-16 \
         posix_mq.errno=EBUSY error.type=EBUSY",
    ),
    (
        "mq_timedreceive_time32 /q",
        "messaging.operation.name=mq_timedreceive_time32 messaging.destination.name=/q \
         posix_mq.mqdes=3 posix_mq.return=-512 error.type=SIGTERM",
    ),
];

fn spans(pairs: &[(&str, &str)]) -> Vec<Traced> {
    let mut spans: Vec<_> = (1..)
        .zip(pairs)
        .map(|(start, (name, pairs))| span(start, name, pairs))
        .collect();
    // Spans arrive in any order.
    spans.reverse();
    spans
}

fn differences(pairs: &[(&str, &str)]) -> Result<Comparison> {
    Ok(compare(&strace::parse(LINES)?, &spans(pairs), &SETTINGS))
}

#[test]
fn what_agrees_has_no_difference() -> Result<()> {
    let result = differences(&SPANS)?;
    assert_eq!(result.report, "");
    assert_eq!((result.calls, result.died, result.differences), (4, 1, 0));
    Ok(())
}

#[test]
fn each_changed_value_is_found() -> Result<()> {
    let mut changed = 0;
    for at in 0..SPANS.len() {
        let pairs: Vec<_> = SPANS
            .get(at)
            .map_or("", |(_, pairs)| pairs)
            .split_whitespace()
            .collect();
        for pair in &pairs {
            let key = pair.split('=').next().unwrap_or_default();
            for (what, replacement) in [("changed", format!("{key}=77")), ("lost", String::new())] {
                let other = pairs
                    .iter()
                    .map(|p| if p == pair { replacement.as_str() } else { p })
                    .collect::<Vec<_>>()
                    .join(" ");
                let mut spans = SPANS;
                if let Some(span) = spans.get_mut(at) {
                    span.1 = &other;
                }
                let result = differences(&spans)?;
                assert!(result.differences > 0, "{what}: {pair}");
                changed += 1;
            }
        }
    }
    assert!(changed > 40, "{changed}");
    Ok(())
}

#[test]
fn a_name_that_differs_is_found() -> Result<()> {
    let mut spans = SPANS;
    spans[2].0 = "mq_notify /r";
    assert_eq!(differences(&spans)?.differences, 1);
    Ok(())
}

#[test]
fn a_span_too_few_or_too_many_is_one_difference() -> Result<()> {
    for at in 0..SPANS.len() {
        let mut fewer = SPANS.to_vec();
        fewer.remove(at);
        let result = differences(&fewer)?;
        assert_eq!(result.differences, 1, "without {at}:\n{}", result.report);
        assert!(result.report.contains("no span"), "{}", result.report);
        let mut more = SPANS.to_vec();
        more.insert(
            at,
            (
                "mq_unlink /x",
                "messaging.operation.name=mq_unlink posix_mq.return=0",
            ),
        );
        let result = differences(&more)?;
        assert_eq!(
            result.differences, 1,
            "with one at {at}:\n{}",
            result.report
        );
        assert!(result.report.contains("no call"), "{}", result.report);
    }
    Ok(())
}

#[test]
fn a_span_of_an_unknown_thread_is_found() -> Result<()> {
    let mut spans = spans(&SPANS);
    let mut foreign = span(9, "mq_unlink /x", "messaging.operation.name=mq_unlink");
    for pair in &mut foreign.span.attributes {
        if pair.key == "thread.id" {
            pair.value = None;
        }
    }
    spans.push(foreign);
    let result = compare(&strace::parse(LINES)?, &spans, &SETTINGS);
    assert_eq!(result.differences, 1);
    Ok(())
}

#[test]
fn only_the_last_call_of_a_killed_thread_may_be_skipped() -> Result<()> {
    let killed = LINES.replace("SIGTERM", "SIGKILL");
    let calls = strace::parse(&killed)?;
    let counts = |pairs: &[_]| {
        let result = compare(&calls, &spans(pairs), &SETTINGS);
        (result.skipped, result.differences)
    };
    let (all_but_last, two) = (SPANS.get(..3), SPANS.get(..2));
    assert_eq!(all_but_last.map(counts), Some((1, 0)));
    assert_eq!(two.map(counts), Some((0, 2)));
    Ok(())
}
