//! When a collector refuses the spans of one service for now, those of all others still arrive.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod exporting;
mod reference;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use exporting::{Agent, collector, over_each_protocol, scripted, settings, until};
use mqspan::internals::config::{HumanDuration, Otlp, Size, Storage};
use mqspan::internals::event::Call;
use mqspan::internals::loss::{Loss, Losses};
use mqspan_testkit::collector::{Answer, Collector, Protocol};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tonic::{Code, Status};

over_each_protocol!(
    batches_that_are_refused_hold_up_no_others,
    one_process_of_a_batch_is_refused_alone,
    what_is_refused_leaves_room_for_what_is_not,
    nothing_is_given_up_while_all_is_refused,
);

const REFUSED: &str = "/refused";
const WANTED: &str = "/wanted";

fn calls(queue: &'static str, count: usize) -> Vec<Call<'static>> {
    let call = Call {
        name: Some(Cow::Borrowed(queue)),
        ..reference::receive()
    };
    vec![call; count]
}

fn has_refused(request: &ExportTraceServiceRequest) -> bool {
    (request.resource_spans.iter())
        .flat_map(|group| &group.scope_spans)
        .flat_map(|scope| &scope.spans)
        .any(|span| span.name.ends_with(REFUSED))
}

fn refusing(protocol: Protocol, code: Code) -> Collector {
    let collector = collector(protocol);
    collector.answer(move |request| {
        if has_refused(request) {
            Answer::Refuse(Status::new(code, "the quota of this tenant is used up"))
        } else {
            Answer::Accept
        }
    });
    collector
}

/// Settings whose retries leave the collector time for others.
fn slower(protocol: Protocol, address: SocketAddr) -> Otlp {
    let mut otlp = settings(protocol, address);
    otlp.retry_on_failure.max_interval = HumanDuration::millis(200);
    otlp
}

async fn finish(agent: Agent, collector: &Collector, refused: u64, wanted: u64) {
    let (counters, left) = agent.finish(Duration::from_millis(100)).await;
    let accepted = collector.spans();
    assert!(accepted.iter().all(|came| came.span.name.ends_with(WANTED)));
    assert_eq!(
        (counters.exports.exported, left.otlp_spans),
        (wanted, refused)
    );
    assert_eq!(counters.lost, Losses::default());
}

async fn batches_that_are_refused_hold_up_no_others(protocol: Protocol) {
    for code in [
        Code::ResourceExhausted,
        Code::Unavailable,
        Code::Aborted,
        Code::DataLoss,
    ] {
        let collector = refusing(protocol, code);
        let mut agent = Agent::start(slower(protocol, collector.address));
        for _ in 0..100 {
            agent.push_calls(&calls(REFUSED, 3));
        }
        for _ in 0..10 {
            agent.push_calls(&calls(WANTED, 2));
        }
        until(&collector, |seen| seen.spans.len() == 20).await;
        finish(agent, &collector, 300, 20).await;
    }
}

async fn one_process_of_a_batch_is_refused_alone(protocol: Protocol) {
    let collector = refusing(protocol, Code::ResourceExhausted);
    let mut agent = Agent::start(settings(protocol, collector.address));
    for _ in 0..6 {
        for pid in 1..=9 {
            let queue = if pid == 4 { REFUSED } else { WANTED };
            agent.hold_as(pid, &calls(queue, 5));
        }
        agent.sender.flush();
    }
    until(&collector, |seen| seen.spans.len() == 240).await;
    finish(agent, &collector, 30, 240).await;
}

async fn what_is_refused_leaves_room_for_what_is_not(protocol: Protocol) {
    let directory = tempfile::tempdir().unwrap();
    for storage in [
        Storage::default(),
        Storage {
            directory: directory.path().to_owned(),
            max_size: Size::mib(64),
        },
    ] {
        let collector = refusing(protocol, Code::ResourceExhausted);
        let mut otlp = Otlp {
            max_request_size: Size::mib(1),
            ..slower(protocol, collector.address)
        };
        otlp.sending_queue.queue_size = Size::mib(1);
        otlp.sending_queue.storage = storage;
        let mut agent = Agent::start(otlp);
        for round in 1..=100 {
            agent.push_calls(&calls(REFUSED, 100));
            agent.push_calls(&calls(WANTED, 1));
            until(&collector, |seen| seen.spans.len() == round).await;
        }
        let (counters, left) = agent.finish(Duration::from_millis(100)).await;
        assert_eq!(counters.exports.exported, 100);
        let given_up = counters.lost.some().map(|(reason, spans)| {
            assert!([Loss::RetriesExhausted, Loss::QueueFull].contains(&reason));
            spans
        });
        let given_up: u64 = given_up.sum();
        assert!(given_up > 0);
        assert_eq!(given_up + left.otlp_spans, 10_000);
    }
}

async fn nothing_is_given_up_while_all_is_refused(protocol: Protocol) {
    let refusal = Status::resource_exhausted("data refused due to high memory usage");
    let collector = scripted(protocol, vec![Answer::Refuse(refusal); 400]);
    let mut otlp = settings(protocol, collector.address);
    otlp.sending_queue.queue_size = Size::mib(1);
    let mut agent = Agent::start(otlp);
    for _ in 0..100 {
        agent.push_calls(&calls(WANTED, 10));
    }
    assert_eq!(agent.drain().await.exports.exported, 1_000);
}
