//! Programs of many shapes that pass work on: a send is the child of the receive that it comes of,
//! and never of anything else.
//!
//! The workload says of each send for which message's sake it is made. A span may leave that open;
//! it may not say anything else.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::span::Traced;
use serde_json::{Value, json};

use super::filter::RELOADED;
use super::{Case, case, comparison};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::{is_of, pairs};
use crate::truth::Call;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("chains_pipeline", |b| most(b, "pipeline")),
        case!("chains_worker_pool", |b| most(b, "pool")),
        case!("chains_fan_out", |b| most(b, "fanout")),
        case!("chains_fan_in", |b| most(b, "fanin")),
        case!("chains_request_and_reply", |b| most(b, "request")),
        case!("chains_late_replies", |b| shape(b, "late", json!({}))),
        case!("chains_ping_pong", ping_pong),
        case!("chains_batch", |b| most(b, "batch")),
        case!("chains_event_loop", |b| shape(b, "loop", json!({}))),
        case!("chains_hand_over", hand_over),
        case!("chains_socket_and_timer", |b| shape(b, "mixed", json!({}))),
        case!("chains_modes", modes),
        case!("chains_receive_left_out", receive_left_out),
        case!("chains_combine", |b| most(b, "combine")),
    ]
}

/// What became of the sends of one run.
#[derive(Debug, Default)]
struct Found {
    /// Sends that are made for the sake of a message which the same thread has received.
    due: usize,
    /// Of these, children of the receive of that message.
    children: usize,
    /// Sends that are linked to a receive.
    linked: usize,
    /// Spans of the trace with the most.
    longest: usize,
}

/// The spans of one run, with the calls they are of.
struct Traces<'a> {
    pairs: Vec<(&'a Call, &'a Traced)>,
    by_id: HashMap<(&'a [u8], &'a [u8]), &'a Call>,
}

impl<'a> Traces<'a> {
    fn new(pairs: Vec<(&'a Call, &'a Traced)>) -> Self {
        let id = |traced: &'a Traced| {
            (
                traced.span.trace_id.as_slice(),
                traced.span.span_id.as_slice(),
            )
        };
        let by_id = pairs
            .iter()
            .map(|(call, traced)| (id(traced), *call))
            .collect();
        Self { pairs, by_id }
    }

    fn parent(&self, traced: &Traced) -> Result<Option<&'a Call>> {
        let span = &traced.span;
        if span.parent_span_id.is_empty() {
            return Ok(None);
        }
        let key = (span.trace_id.as_slice(), span.parent_span_id.as_slice());
        let parent = self.by_id.get(&key);
        Ok(Some(parent.context("a parent that is not there")?))
    }

    /// Fails at the first send whose parent is not what it comes of.
    fn judge(&self) -> Result<Found> {
        let mut found = Found::default();
        let mut received: HashSet<(i64, i64)> = HashSet::new();
        let mut sizes: HashMap<&[u8], usize> = HashMap::new();
        for (call, traced) in &self.pairs {
            let size = sizes.entry(&traced.span.trace_id).or_default();
            *size += 1;
            found.longest = found.longest.max(*size);
            if call.is_receive() {
                received.extend(call.message.map(|message| (call.tid, message)));
                continue;
            }
            if !call.is_send() {
                continue;
            }
            let is_due = call
                .cause
                .is_some_and(|message| received.contains(&(call.tid, message)));
            found.due += usize::from(is_due);
            match self.parent(traced)? {
                Some(receive) => {
                    ensure!(
                        receive.is_receive() && receive.message == call.cause && is_due,
                        "a send for the sake of message {:?} is the child of {} of message {:?}",
                        call.cause,
                        receive.op,
                        receive.message
                    );
                    found.children += 1;
                }
                None => found.linked += usize::from(!traced.span.links.is_empty()),
            }
        }
        Ok(found)
    }
}

/// Runs one shape, checks every field of every span, and that no parent is wrong.
async fn shape(bench: &'static Bench, name: &str, config: Value) -> Result<()> {
    found(bench, name, config).await.map(drop)
}

fn over(config: Value) -> Value {
    let mut over = json!({
        "capture": {"ring_buffer_size": "64MiB"},
        "exporters": {"otlp": {"sending_queue": {"queue_size": "512MiB"}}},
    });
    agent::merge(&mut over, config);
    over
}

fn workload(bench: &Bench, name: &str) -> Result<Workload> {
    let messages = (bench.messages / 2).max(50).to_string();
    Workload::new(bench.workload()?, &["shape", name, &messages])
}

async fn found(bench: &'static Bench, name: &str, config: Value) -> Result<Found> {
    let workload = workload(bench, name)?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, over(config)).await?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
        .await?;
    agent.stop_balanced(bench).await?;
    let spans = collector.spans();
    comparison(bench, &workload).check(&calls, &spans)?;
    judged(name, &calls, &spans)
}

fn judged(what: &str, calls: &[Call], spans: &[Traced]) -> Result<Found> {
    let found = Traces::new(pairs(calls, spans)?).judge()?;
    println!(
        "    {what}: {} sends come of a message: {} children, {} linked, none wrong; the longest trace has {} spans",
        found.due, found.children, found.linked, found.longest
    );
    Ok(found)
}

/// Shapes in which nothing keeps a send from being proven to come of its message. A thread can
/// still be made to wait, for memory or for a lock.
async fn most(bench: &'static Bench, name: &str) -> Result<()> {
    let found = found(bench, name, json!({})).await?;
    ensure!(found.due > 0, "nothing comes of anything");
    if !bench.backend.sees_messages() {
        ensure!(
            found.children == 0 && found.linked >= found.due,
            "{found:?} where it is not known what is a reply"
        );
        return Ok(());
    }
    ensure!(
        found.children * 2 > found.due,
        "{} of {} sends are children of what they come of",
        found.children,
        found.due
    );
    if name == "pipeline" {
        ensure!(
            found.longest == 6,
            "the longest trace has {} spans, not 6",
            found.longest
        );
    }
    Ok(())
}

/// A ball that never rests makes no trace of more than `max_hops` spans, and comes home before.
async fn ping_pong(bench: &'static Bench) -> Result<()> {
    let config = json!({"traces": {"chains": {"max_hops": 3}}});
    let short = found(bench, "pingpong", config).await?;
    ensure!(
        short.longest <= 3,
        "a trace of {} spans, where there are to be 3",
        short.longest
    );
    most(bench, "pingpong").await
}

/// The thread that sends has received nothing.
async fn hand_over(bench: &'static Bench) -> Result<()> {
    let found = found(bench, "handover", json!({})).await?;
    ensure!(
        found.children == 0 && found.linked == 0,
        "{found:?} of a thread that receives nothing"
    );
    Ok(())
}

/// `traces.chains.mode`, and that a reload changes it.
async fn modes(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let config = |mode| {
        let mode = json!({"traces": {"chains": {"mode": mode}}});
        agent::config(bench, &endpoint, over(mode))
    };
    let agent = Agent::start(bench, config("none")).await?;
    for (reloads, (mode, are_children, are_linked)) in [
        ("none", false, false),
        ("thread", true, false),
        ("link", false, true),
        ("thread", true, false),
    ]
    .into_iter()
    .enumerate()
    {
        if reloads > 0 {
            agent.reload(config(mode))?;
            agent
                .wait_for_logs(RELOADED, reloads, bench.bound(10))
                .await?;
        }
        let calls = workload(bench, "pipeline")?.run(bench).await?;
        collector
            .wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
            .await?;
        let found = judged(mode, &calls, &collector.spans())?;
        let expected = |wanted: bool| if wanted { found.due } else { 0 };
        ensure!(
            found.due > 0
                && found.children == expected(are_children)
                && found.linked == expected(are_linked),
            "traces.chains.mode {mode}: {found:?}"
        );
    }
    agent.stop_balanced(bench).await?;
    Ok(())
}

/// A thread takes a message, then one from a queue that is left out, and sends: that is not for the
/// sake of the first, even if every send is taken to be the child of the receive before it.
async fn receive_left_out(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let config = json!({
        "filter": {"exclude": {"queues": ["*.sb"]}},
        "traces": {"chains": {"mode": "thread"}},
    });
    let agent = Agent::sending_to(bench, &collector, over(config)).await?;
    let mut calls = workload(bench, "combine")?.run(bench).await?;
    let all = calls.len();
    calls.retain(|call| {
        call.queue
            .as_deref()
            .is_none_or(|name| !name.ends_with(".sb"))
    });
    collector
        .wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
        .await?;
    agent.stop_balanced(bench).await?;
    let found = judged("combine", &calls, &collector.spans())?;
    ensure!(calls.len() < all, "nothing is left out");
    ensure!(
        found.children == 0 && found.linked == 0,
        "{found:?} of what is left out"
    );
    Ok(())
}
