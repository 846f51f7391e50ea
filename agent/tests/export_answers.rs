//! How the exporter handles the collector's answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod exporting;
mod reference;

use std::borrow::Cow;
use std::time::Duration;

use exporting::{Agent, Log, collector, over_each_protocol, scripted, settings, until};
use mqspan::internals::config::{Batch, Compression, HumanDuration, Otlp, Secret, Size};
use mqspan::internals::event::Call;
use mqspan::internals::export::counters::SinkCounts;
use mqspan::internals::export::operation::{Answer as Answered, Ending, ErrorType};
use mqspan::internals::loss::{Loss, Losses};
use mqspan_testkit::collector::{Answer, Collector, Options, Protocol};
use prost::Message as _;
use tonic::{Code, Status};

over_each_protocol!(
    ok_is_exported_with_the_right_head,
    the_collector_says_how_long_to_wait,
    partial_success_counts_and_is_not_retried,
    of_a_long_answer_the_beginning_is_kept,
    requests_are_compressed,
    what_the_collector_finds_too_large_is_split,
    what_is_too_large_in_other_words_is_split_and_not_retried,
    no_request_exceeds_our_own_limits,
    retrying_ends_where_it_is_told_to,
);

const CODES: [(Code, &str, bool); 16] = [
    (Code::Cancelled, "cancelled", true),
    (Code::Unknown, "unknown", false),
    (Code::InvalidArgument, "invalid_argument", false),
    (Code::DeadlineExceeded, "deadline_exceeded", true),
    (Code::NotFound, "not_found", false),
    (Code::AlreadyExists, "already_exists", false),
    (Code::PermissionDenied, "permission_denied", false),
    (Code::ResourceExhausted, "resource_exhausted", true),
    (Code::FailedPrecondition, "failed_precondition", false),
    (Code::Aborted, "aborted", true),
    (Code::OutOfRange, "out_of_range", true),
    (Code::Unimplemented, "unimplemented", false),
    (Code::Internal, "internal", false),
    (Code::Unavailable, "unavailable", true),
    (Code::DataLoss, "data_loss", true),
    (Code::Unauthenticated, "unauthenticated", false),
];

/// How exports ended, and how many of them.
fn endings(counters: &SinkCounts) -> Vec<(Ending, u64)> {
    let durations = counters.exports.durations.iter();
    durations
        .map(|(ending, took)| (*ending, took.count()))
        .collect()
}

#[tokio::test]
async fn every_code_is_retried_or_rejected() {
    let protocol = Protocol::Grpc;
    for (code, name, retried) in CODES {
        let log = Log::begin();
        let collector = scripted(protocol, [Answer::Refuse(Status::new(code, "50% ü"))]);
        let mut agent = Agent::start(settings(protocol, collector.address));
        agent.push(3);
        let counters = agent.drain().await;
        let cause = format!("cause={name}: 50% ü");
        assert!(log.text().contains(&cause), "{}", log.text());
        if retried {
            assert_eq!(counters.exports.exported, 3, "{name}");
            assert_eq!((counters.requests, counters.retries), (2, 1), "{name}");
            assert_eq!(collector.count(), 3);
            let ended = Ending {
                answer: Some(Answered::Grpc(0)),
                error: None,
            };
            assert_eq!(endings(&counters), [(ended, 1)], "{name}");
        } else {
            assert_eq!(counters.rejected, [(name, 3)]);
            assert_eq!((counters.requests, counters.retries), (1, 0), "{name}");
            let error = ErrorType::Grpc(code as u8);
            let ended = Ending {
                answer: Some(Answered::Grpc(code as u8)),
                error: Some(error),
            };
            assert_eq!(endings(&counters), [(ended, 1)], "{name}");
            assert_eq!(counters.exports.failures, [(error, 3)].into(), "{name}");
        }
        let exhausted = u64::from(code == Code::ResourceExhausted);
        assert_eq!(counters.exhausted_retries, exhausted);
    }
}

async fn ok_is_exported_with_the_right_head(protocol: Protocol) {
    let collector = collector(protocol);
    let mut agent = Agent::start(Otlp {
        headers: [("x-tenant".to_owned(), Secret::new("orders"))].into(),
        ..settings(protocol, collector.address)
    });
    agent.push(5);
    let counters = agent.drain().await;
    assert_eq!((counters.exports.exported, counters.requests), (5, 1));
    let header = |name: &str| collector.metadata(name).unwrap();
    assert_eq!(header("x-tenant"), "orders");
    match protocol {
        Protocol::Grpc => assert_eq!(header("grpc-timeout"), "10000m"),
        Protocol::Http => assert_eq!(header("content-type"), "application/x-protobuf"),
    }
    assert!(header("user-agent").starts_with("mqspan/"));
    assert!(header("user-agent").contains(" OTel-OTLP-Exporter-Rust/"));
    assert_eq!(
        collector.spans()[0].span.name,
        "mq_timedreceive_time32 /orders"
    );
}

/// `google.rpc.Status` with a `RetryInfo` of 0.15 s.
const RETRY_INFO: &[u8] = b"\x08\x0e\x1a\x33\
    \x0a\x28type.googleapis.com/google.rpc.RetryInfo\
    \x12\x07\x0a\x05\x10\x80\xa3\xc3\x47";

async fn the_collector_says_how_long_to_wait(protocol: Protocol) {
    for code in [Code::Unavailable, Code::ResourceExhausted] {
        let status = Status::with_details(code, "busy", RETRY_INFO.into());
        let collector = scripted(protocol, [Answer::Refuse(status)]);
        let mut agent = Agent::start(settings(protocol, collector.address));
        agent.push(1);
        // A shutdown cuts the pause short, so wait for its end first.
        until(&collector, |seen| seen.came.len() == 2).await;
        let counters = agent.drain().await;
        assert_eq!(
            (counters.exports.exported, counters.exhausted_retries),
            (1, 0)
        );
        let came = &collector.seen().came;
        let pause = came[1] - came[0];
        assert!(pause >= Duration::from_millis(150), "{pause:?}");
    }
}

async fn partial_success_counts_and_is_not_retried(protocol: Protocol) {
    for (rejected, exported, counted) in [(2, 3, 2), (0, 5, 0), (99, 0, 5), (-1, 5, 0)] {
        let log = Log::begin();
        let collector = scripted(protocol, [Answer::partial(rejected, "some were bad")]);
        let mut agent = Agent::start(settings(protocol, collector.address));
        agent.push(5);
        let counters = agent.drain().await;
        assert_eq!(
            (counters.exports.exported, counters.requests),
            (exported, 1)
        );
        assert_eq!(counters.rejected_total(), counted);
        let failures: Vec<_> = counters.exports.failures.clone().into_iter().collect();
        let expected = [(ErrorType::Rejected, counted)];
        assert_eq!(failures, expected[usize::from(counted == 0)..]);
        assert!(log.text().contains("cause=some were bad\n"));
    }
}

async fn of_a_long_answer_the_beginning_is_kept(protocol: Protocol) {
    for len in [100, 200_000, 3_000_000] {
        let log = Log::begin();
        let collector = scripted(protocol, [Answer::partial(0, "x".repeat(len))]);
        let mut agent = Agent::start(settings(protocol, collector.address));
        agent.push(3);
        let counters = agent.drain().await;
        assert_eq!(
            (counters.exports.exported, counters.requests),
            (3, 1),
            "{len}"
        );
        let text = log.text();
        let kept = text.split_once("cause=").map(|(_, cause)| cause.trim_end());
        assert!(kept.is_none_or(|kept| kept.bytes().all(|byte| byte == b'x')));
        // A message that does not end within 256 KiB is dropped.
        let wanted = (len < 256 << 10).then(|| len.min(1024));
        assert_eq!(kept.map(str::len), wanted, "{len}");
    }
}

async fn requests_are_compressed(protocol: Protocol) {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let collector = collector(protocol);
        let mut agent = Agent::start(Otlp {
            compression,
            ..settings(protocol, collector.address)
        });
        agent.push(1_000);
        let counters = agent.drain().await;
        assert_eq!(counters.exports.exported, 1_000);
        assert_eq!(collector.count(), 1_000);
        let expected = match compression {
            Compression::Gzip => "gzip",
            _ => "zstd",
        };
        let header = match protocol {
            Protocol::Grpc => "grpc-encoding",
            Protocol::Http => "content-encoding",
        };
        assert_eq!(collector.metadata(header).unwrap(), expected);
    }
}

fn numbered(count: usize, name_len: usize) -> Vec<Call<'static>> {
    (0..count)
        .map(|at| Call {
            name: Some(Cow::Owned(format!("/{at:0>name_len$}"))),
            ..reference::receive()
        })
        .collect()
}

fn taking_at_most(protocol: Protocol, bytes: usize) -> Collector {
    Collector::start_with(Options {
        protocol,
        max_request_bytes: Some(bytes),
        ..Options::default()
    })
    .unwrap()
}

async fn what_the_collector_finds_too_large_is_split(protocol: Protocol) {
    let collector = taking_at_most(protocol, 5_000);
    let mut agent = Agent::start(settings(protocol, collector.address));
    let mut calls = numbered(100, 5);
    calls.extend(numbered(1, 5_000));
    agent.push_calls(&calls);
    let counters = agent.drain().await;
    assert_eq!(counters.exports.exported, 100);
    assert_eq!(counters.lost, Losses::from_iter([(Loss::TooLarge, 1)]));
    assert!(counters.splits > 10);
    let spans = collector.spans();
    let mut accepted: Vec<_> = spans.iter().map(|came| &came.span.name).collect();
    accepted.sort();
    accepted.dedup();
    assert_eq!(accepted.len(), 100);
}

/// Errors in the words of grpc-dotnet and of a proxy, for requests beyond 20 kB.
async fn what_is_too_large_in_other_words_is_split_and_not_retried(protocol: Protocol) {
    for (code, words) in [
        (
            Code::ResourceExhausted,
            "Received message exceeds the maximum configured message size.",
        ),
        (Code::ResourceExhausted, "Payload Too Large"),
        (Code::Unknown, "request responded with HTTP Status Code 413"),
    ] {
        let collector = collector(protocol);
        collector.answer(move |request| {
            if request.encoded_len() > 20_000 {
                Answer::Refuse(Status::new(code, words))
            } else {
                Answer::Accept
            }
        });
        let mut agent = Agent::start(settings(protocol, collector.address));
        let mut calls = numbered(500, 5);
        calls.extend(numbered(1, 20_000));
        agent.push_calls(&calls);
        let counters = agent.drain().await;
        assert_eq!(counters.exports.exported, 500, "{words}");
        assert_eq!(
            counters.lost,
            Losses::from_iter([(Loss::TooLarge, 1)]),
            "{words}"
        );
        assert_eq!(counters.retries, 0, "{words}");
        assert_eq!(collector.count(), 500);
    }
}

async fn no_request_exceeds_our_own_limits(protocol: Protocol) {
    let collector = taking_at_most(protocol, 9_000);
    let mut agent = Agent::start(Otlp {
        batch: Batch {
            max_size: Size(30_000),
            ..Batch::default()
        },
        max_request_size: Size(9_000),
        ..settings(protocol, collector.address)
    });
    let mut calls = numbered(100, 5);
    calls.extend(numbered(1, 40_000));
    agent.push_calls(&calls);
    let counters = agent.drain().await;
    assert_eq!(counters.exports.exported, 100);
    assert_eq!(counters.lost, Losses::from_iter([(Loss::TooLarge, 1)]));
    assert_eq!(counters.retries, 0);
}

async fn retrying_ends_where_it_is_told_to(protocol: Protocol) {
    for enabled in [false, true] {
        let collector = scripted(protocol, vec![Answer::unavailable(); 500]);
        let mut otlp = settings(protocol, collector.address);
        otlp.retry_on_failure.enabled = enabled;
        otlp.retry_on_failure.max_elapsed_time = HumanDuration::millis(50);
        let mut agent = Agent::start(otlp);
        agent.push(4);
        let counters = agent.drain().await;
        assert_eq!(
            counters.lost,
            Losses::from_iter([(Loss::RetriesExhausted, 4)])
        );
        assert_eq!(counters.retries > 0, enabled);
    }
}
