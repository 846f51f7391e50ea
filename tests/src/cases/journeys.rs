//! Messages that pass between programs of two ABIs: whose each is, and how many there were.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::metrics::{sum, wait_for_metrics};
use super::{Case, case, comparison};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::{Comparison, is_of};
use crate::sink::{Sink, free_address};
use crate::span::Traced;
use crate::truth::Call;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("journeys_across_abis", across_abis),
        case!("journeys_sampled", sampled),
        case!("journeys_slow_ones", slow_ones),
    ]
}

/// Three 32-bit producers and two 64-bit consumers over two queues.
fn exchange(bench: &Bench) -> Result<Workload> {
    let messages = bench.messages.to_string();
    let consumer = bench.workload()?.display().to_string();
    Workload::new(bench.workload32()?, &["exchange", &messages, &consumer])
}

/// The run's calls and what the metrics say of its queues, with the spans of the config.
async fn traced(
    bench: &'static Bench,
    workload: &Workload,
    sink: &Sink,
    config: Value,
) -> Result<(Agent, Vec<Call>)> {
    let prometheus = free_address().await?;
    let mut over = json!({
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
        // As much as the producers make at once on a machine that emulates the other CPUs.
        "capture": {"ring_buffer_size": "64MiB"},
        "exporters": {"otlp": {"sending_queue": {"queue_size": "512MiB"}}},
    });
    agent::merge(&mut over, config);
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), over)).await?;
    let calls = workload.run(bench).await?;
    count(bench, prometheus, &calls).await?;
    Ok((agent, calls))
}

/// Messages sent and received, by queue, as the programs themselves count them.
async fn count(bench: &Bench, prometheus: SocketAddr, calls: &[Call]) -> Result<()> {
    let mut wanted: HashMap<(&str, String), f64> = HashMap::new();
    for call in calls.iter().filter(|call| call.ret >= 0) {
        let name = match call {
            call if call.is_send() => "messaging_client_sent_messages_total",
            call if call.is_receive() => "messaging_client_consumed_messages_total",
            _ => continue,
        };
        let queue = call.queue.clone().unwrap_or_default();
        *wanted.entry((name, queue)).or_default() += 1.0;
    }
    wait_for_metrics(bench, prometheus, 60, |text| {
        wanted.iter().find_map(|((name, queue), wanted)| {
            let label = format!("messaging_destination_name=\"{queue}\"");
            let got = sum(text, name, &[&label]);
            (got != *wanted).then(|| format!("{name} of {queue} is {got}, not {wanted}"))
        })
    })
    .await
}

/// Every receive is the child of the send of its message, told by the numbers in the messages.
async fn across_abis(bench: &'static Bench) -> Result<()> {
    let workload = exchange(bench)?;
    let other = bench.workload()?;
    let sink = Sink::start().await?;
    let (agent, calls) = traced(bench, &workload, &sink, json!({})).await?;
    sink.wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    Comparison {
        other_program: Some(&other),
        ..comparison(bench, &workload)
    }
    .check(&calls, &sink.spans())
}

/// With few traces kept the metrics are as exact, and what is kept is whole: both ends of a message
/// or none.
async fn sampled(bench: &'static Bench) -> Result<()> {
    let workload = exchange(bench)?;
    let sink = Sink::start().await?;
    let config = json!({"sampling": {"ratio": 0.01}});
    let (agent, calls) = traced(bench, &workload, &sink, config).await?;
    agent.stop_well(bench).await?;

    let ours = is_of(&calls);
    let spans: Vec<_> = sink.spans().into_iter().filter(ours).collect();
    ensure!(
        !spans.is_empty() && spans.len() < calls.len() / 20,
        "{} spans of {} calls, of which one in a hundred is wanted",
        spans.len(),
        calls.len()
    );
    ensure_whole(bench, &spans)
}

/// A slow receive is kept whatever the share, and with it the send of its message, which was quick.
async fn slow_ones(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["blocked", "100", "hold"])?;
    let sink = Sink::start().await?;
    let config = json!({"sampling": {
        "ratio": 0.0,
        "always_keep": {"errors": false, "slower_than": "5ms"},
    }});
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), config)).await?;
    let held = workload.hold(bench).await?;
    // All are blocked, and from now on for longer than the limit.
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    held.release(bench).await?;
    let calls = workload.truth()?;
    let may_miss = agent.may_miss();
    let balance = agent.stop_balanced(bench).await?;
    let spans = sink.spans_that(is_of(&calls));
    let receives = spans
        .iter()
        .filter(|traced| traced.span.name.starts_with("mq_timedreceive"))
        .count();
    // Where the backend misses calls, as it has said, those are not kept but counted.
    let missed = usize::try_from(balance.lost)?;
    ensure!(
        receives == 100 && missed == 0 || may_miss && receives >= 95 && receives + missed >= 100,
        "{receives} slow receives are kept, not 100: {balance:?}"
    );
    ensure_whole(bench, &spans)
}

/// Of a message both ends are there.
fn ensure_whole(bench: &Bench, spans: &[Traced]) -> Result<()> {
    if !bench.backend.sees_messages() {
        return Ok(());
    }
    let mut traces: HashMap<&[u8], Vec<&Traced>> = HashMap::new();
    for traced in spans {
        traces
            .entry(&traced.span.trace_id)
            .or_default()
            .push(traced);
    }
    for trace in traces.values() {
        let of_a_message = trace.iter().any(|traced| {
            traced.span.name.starts_with("mq_timedsend")
                || traced.span.name.starts_with("mq_timedreceive")
        });
        let whole = match trace.as_slice() {
            [one] => !of_a_message && one.span.parent_span_id.is_empty(),
            [a, b] => {
                a.span.parent_span_id == b.span.span_id || b.span.parent_span_id == a.span.span_id
            }
            _ => false,
        };
        ensure!(
            whole,
            "a trace of {:?}",
            trace
                .iter()
                .map(|traced| (&traced.span.name, traced.span.parent_span_id.is_empty()))
                .collect::<Vec<_>>()
        );
    }
    Ok(())
}
