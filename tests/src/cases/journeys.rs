//! Messages between programs of two ABIs: who sent each of them, and how many there were.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::free_address;
use mqspan_testkit::span::Traced;
use serde_json::{Value, json};

use super::{Case, case, comparison};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::{Comparison, is_of};
use crate::scrape::{sum, wait_for_metrics};
use crate::truth::Call;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("journeys_across_abis", across_abis),
        case!("journeys_sampled", sampled),
        case!("journeys_slow_ones", slow_ones),
        case!("journeys_min_duration", min_duration),
        case!("journeys_filtered_by_the_agent", filtered_by_the_agent),
        case!("journeys_lost_sends", lost_sends),
    ]
}

/// Three 32-bit producers and two 64-bit consumers over two queues.
fn exchange(bench: &Bench) -> Result<Workload> {
    let messages = bench.messages.to_string();
    let consumer = bench.workload()?.display().to_string();
    Workload::new(bench.workload32()?, &["exchange", &messages, &consumer])
}

/// Runs the workload with `config` added, checks the metrics of its queues, and returns the agent
/// and the calls.
async fn traced(
    bench: &'static Bench,
    workload: &Workload,
    collector: &Collector,
    config: Value,
) -> Result<(Agent, Vec<Call>)> {
    let prometheus = free_address()?;
    let mut over = json!({
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
        // Enough for what the producers make at once on a machine that emulates the other CPUs.
        "capture": {"ring_buffer_size": "64MiB"},
        "exporters": {"otlp": {"sending_queue": {"queue_size": "512MiB"}}},
    });
    agent::merge(&mut over, config);
    let agent = Agent::sending_to(bench, collector, over).await?;
    let calls = workload.run(bench).await?;
    count(bench, prometheus, &calls).await?;
    Ok((agent, calls))
}

/// Checks the messages sent and received per queue against what the programs themselves counted.
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

/// Every receive is the child of the send of its message, as the numbers in the messages show.
async fn across_abis(bench: &'static Bench) -> Result<()> {
    let workload = exchange(bench)?;
    let other = bench.workload()?;
    let collector = Collector::start()?;
    let (agent, calls) = traced(bench, &workload, &collector, json!({})).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    Comparison {
        other_program: Some(&other),
        ..comparison(bench, &workload)
    }
    .check(&calls, &collector.spans())
}

/// The W3C trace flag of a random trace id.
const RANDOM: u32 = 2;

/// With few traces kept, the metrics are just as exact, and what is kept is whole: both ends of a
/// message or neither.
async fn sampled(bench: &'static Bench) -> Result<()> {
    let workload = exchange(bench)?;
    let collector = Collector::start()?;
    let config = json!({"sampling": {"ratio": 0.01}});
    let (agent, calls) = traced(bench, &workload, &collector, config).await?;
    agent.stop_well(bench).await?;

    let ours = is_of(&calls);
    let spans: Vec<_> = collector.spans().into_iter().filter(ours).collect();
    ensure!(
        !spans.is_empty() && spans.len() < calls.len() / 20,
        "{} spans of {} calls, of which one in a hundred is wanted",
        spans.len(),
        calls.len()
    );
    for Traced { span, .. } in &spans {
        ensure!(
            span.trace_state == "ot=th:fd70a3d70a3d7" && span.flags & RANDOM != 0,
            "trace state {:?} and flags {:#x} of one trace in a hundred",
            span.trace_state,
            span.flags
        );
    }
    ensure_whole(bench, &spans)
}

/// A slow receive is kept whatever the ratio, and so is the quick send of its message.
async fn slow_ones(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["blocked", "100", "hold"])?;
    let collector = Collector::start()?;
    let config = json!({"sampling": {
        "ratio": 0.0,
        "always_keep": {"errors": false, "slower_than": "5ms"},
    }});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let held = workload.hold(bench).await?;
    // All are blocked. Wait until that has lasted longer than the limit.
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    held.release(bench).await?;
    let calls = workload.truth()?;
    let may_miss = agent.may_miss();
    let balance = agent.stop_balanced(bench).await?;
    let spans = collector.spans_that(is_of(&calls));
    let receives = spans
        .iter()
        .filter(|traced| traced.span.name.starts_with("mq_timedreceive"))
        .count();
    // Calls that the backend misses, as it warned, are not kept but counted.
    let missed = usize::try_from(balance.lost)?;
    ensure!(
        receives == 100 && missed == 0 || may_miss && receives >= 95 && receives + missed >= 100,
        "{receives} slow receives are kept, not 100: {balance:?}"
    );
    ensure_whole(bench, &spans)
}

/// Checks that both ends of each message are there.
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

/// Receives that took long are kept without their quick sends, and link to them.
async fn min_duration(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["blocked", "20", "hold"])?;
    let collector = Collector::start()?;
    let config = json!({"filter": {"min_duration": "10ms"}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let held = workload.hold(bench).await?;
    // All are blocked. Wait until that has lasted longer than the limit.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    held.release(bench).await?;
    let calls = workload.truth()?;
    agent.stop_well(bench).await?;
    ensure_roots_with_links(bench, &collector.spans_that(is_of(&calls)))
}

/// With more patterns than the kernel has room for, the agent drops the sends, all of them by
/// 32-bit programs, and their receives link to them.
async fn filtered_by_the_agent(bench: &'static Bench) -> Result<()> {
    let many = (0..16).map(|number| format!("*{number}-of-*-names"));
    let comms: Vec<_> = many.chain(["mqwork-x86*".to_owned()]).collect();
    let workload = exchange(bench)?;
    let collector = Collector::start()?;
    let config = json!({
        "filter": {"include": {"comms": comms}},
        "capture": {"ring_buffer_size": "64MiB"},
        "exporters": {"otlp": {"sending_queue": {"queue_size": "512MiB"}}},
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    ensure_roots_with_links(bench, &collector.spans_that(is_of(&calls)))
}

/// Checks that receives whose sends are left out name no parent, but link to the send.
fn ensure_roots_with_links(bench: &Bench, spans: &[Traced]) -> Result<()> {
    let (mut receives, mut linked) = (0, 0);
    for traced in spans {
        let span = &traced.span;
        let took_a_message = span.name.starts_with("mq_timedreceive") && span.status.is_none();
        receives += usize::from(took_a_message);
        linked += usize::from(took_a_message && !span.links.is_empty());
    }
    ensure!(receives > 0, "no receive was kept");
    ensure_parents_there(spans)?;
    ensure!(
        !bench.backend.sees_messages() || linked == receives,
        "{linked} of {receives} receives link to their sends"
    );
    Ok(())
}

/// With a ring of one page that loses most sends, no span names a parent that is missing.
async fn lost_sends(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["flood", "3000"])?;
    let collector = Collector::start()?;
    let config = json!({"capture": {"ring_buffer_size": "4KiB"}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    workload.run_untold(bench).await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(
        balance.lost > 100 && balance.exported > 0,
        "too little was lost, or too much: {balance:?}"
    );
    ensure_parents_there(&collector.spans())
}

pub(super) fn ensure_parents_there(spans: &[Traced]) -> Result<()> {
    let ids: HashSet<&[u8]> = spans
        .iter()
        .map(|traced| traced.span.span_id.as_slice())
        .collect();
    let orphans = spans.iter().filter(|traced| {
        let parent = traced.span.parent_span_id.as_slice();
        !parent.is_empty() && !ids.contains(parent)
    });
    let count = orphans.count();
    ensure!(
        count == 0,
        "{count} of {} spans name a parent that is not there",
        spans.len()
    );
    Ok(())
}
