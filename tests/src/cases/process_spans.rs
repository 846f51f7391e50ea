//! Spans of what threads do with the messages they take: where they begin and end, what they are
//! children of, and what is a child of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::semconv;
use mqspan_testkit::span::{Traced, Value, attributes};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value as Json, json};

use super::journeys::ensure_parents_there;
use super::{Case, case, comparison};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::{end_ns, is_of, is_process, pairs, start_ns};
use crate::truth::Call;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("process_spans_pipeline", pipeline),
        case!("process_spans_request", request),
        case!("process_spans_fan_out", fan_out),
        case!("process_spans_batch", batch),
        case!("process_spans_event_loop", event_loop),
        case!("process_spans_waits", waits),
        case!("process_spans_pauses", pauses),
        case!("process_spans_off", off),
        case!("process_spans_sampled", sampled),
        case!("process_spans_lost_calls", lost_calls),
    ]
}

/// Two conversions of the kernel's time differ by this at most.
const TOLERANCE_NS: i64 = 100_000;

/// What was found in the spans of one run.
#[derive(Debug, Default)]
struct Found {
    processes: usize,
    /// Of these, those with sends.
    with_sends: usize,
    /// The most sends of one.
    most_sends: usize,
    /// Receives that got a message.
    receives: usize,
    /// Sends that are children.
    children: usize,
    /// Process spans by the end of the queue's name.
    by_queue: BTreeMap<String, usize>,
}

impl Found {
    fn of_queue(&self, suffix: &str) -> usize {
        self.by_queue.get(suffix).copied().unwrap_or_default()
    }
}

fn over(process_spans: bool) -> Json {
    json!({
        "traces": {"process_spans": process_spans},
        "metrics": {"otlp": {"enabled": true}},
        "capture": {"ring_buffer_size": "64MiB"},
        "exporters": {"otlp": {"sending_queue": {"queue_size": "512MiB"}}},
    })
}

fn workload(bench: &Bench, name: &str) -> Result<Workload> {
    let messages = (bench.messages / 2).max(50).to_string();
    Workload::new(bench.workload()?, &["shape", name, &messages])
}

/// Runs one shape, with or without process spans, and checks every field of every span. Returns the
/// calls, their spans, and how many processings the metric counts.
async fn run(
    bench: &'static Bench,
    name: &str,
    process_spans: bool,
) -> Result<(Vec<Call>, Vec<Traced>, usize)> {
    let workload = workload(bench, name)?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, over(process_spans)).await?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
        .await?;
    // At its end the agent tells what it has not told yet.
    agent.stop_balanced(bench).await?;
    let counted = counted(&collector, &calls);
    let spans = collector.spans_that(is_of(&calls));
    comparison(bench, &workload).check(&calls, &spans)?;
    Ok((calls, spans, counted))
}

async fn traced(bench: &'static Bench, name: &str) -> Result<Found> {
    let (calls, spans, counted) = run(bench, name, true).await?;
    ensure_parents_there(&spans)?;
    let found = judged(&calls, &spans)?;
    println!("    {name}: {found:?}");
    ensure!(
        counted == found.processes,
        "messaging.process.duration counts {counted}: {found:?}"
    );
    Ok(found)
}

/// `messaging.process.duration` of the queues of these calls, as exported last.
fn counted(collector: &Collector, calls: &[Call]) -> usize {
    let queues: BTreeSet<&str> = calls
        .iter()
        .filter_map(|call| call.queue.as_deref())
        .collect();
    let seen = collector.seen();
    let mut counts: HashMap<&str, u64> = HashMap::new();
    let metrics = seen
        .metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics)
        .filter(|metric| metric.name == "messaging.process.duration");
    for metric in metrics {
        let Some(Data::Histogram(histogram)) = &metric.data else {
            continue;
        };
        for point in &histogram.data_points {
            let (attributes, _) = attributes(&point.attributes);
            let is = |key: &str, value: &str| attributes.get(key) == Some(&value.into());
            let queue = queues
                .iter()
                .find(|&queue| is("messaging.destination.name", queue));
            if let Some(queue) = queue
                && is("messaging.operation.name", "process")
                && is("messaging.system", "posix_mq")
            {
                counts.insert(queue, point.count);
            }
        }
    }
    usize::try_from(counts.values().sum::<u64>()).unwrap_or(usize::MAX)
}

type Id<'a> = (&'a [u8], &'a [u8]);

fn id(traced: &Traced) -> Id<'_> {
    (&traced.span.trace_id, &traced.span.span_id)
}

/// Fails at the first process span that is not what it has to be.
fn judged(calls: &[Call], spans: &[Traced]) -> Result<Found> {
    let pairs = pairs(calls, spans)?;
    let by_id: HashMap<Id<'_>, (&Call, &Traced)> = pairs
        .iter()
        .map(|(call, traced)| (id(traced), (*call, *traced)))
        .collect();
    let mut of_thread: HashMap<i64, Vec<(&Call, &Traced)>> = HashMap::new();
    for (call, traced) in &pairs {
        of_thread.entry(call.tid).or_default().push((call, traced));
    }
    let mut found = Found::default();
    for (call, _) in &pairs {
        found.receives += usize::from(call.is_receive() && call.ret >= 0);
    }
    let mut of_receives = HashSet::new();
    let mut processes: HashMap<Id<'_>, (&Call, Vec<&Traced>)> = HashMap::new();
    for process in spans.iter().filter(|traced| is_process(traced)) {
        let receive = receive_of(process, &by_id)?;
        ensure!(
            of_receives.insert(id(receive.1)) && !by_id.contains_key(&id(process)),
            "two spans with one id, or two process spans of one receive"
        );
        agrees(process, receive)?;
        processes.insert(id(process), (receive.0, Vec::new()));
    }
    for (call, traced) in pairs.iter().filter(|(call, _)| call.is_send()) {
        let span = &traced.span;
        if span.parent_span_id.is_empty() {
            continue;
        }
        let (receive, sends) = processes
            .get_mut(&(span.trace_id.as_slice(), span.parent_span_id.as_slice()))
            .context("a send is the child of something else than a process span")?;
        ensure!(
            receive.message == call.cause && receive.tid == call.tid,
            "a send for the sake of message {:?} is part of the processing of {:?}",
            call.cause,
            receive.message
        );
        sends.push(traced);
        found.children += 1;
    }
    for process in spans.iter().filter(|traced| is_process(traced)) {
        let (receive, sends) = processes.get(&id(process)).context("is there")?;
        found.processes += 1;
        found.with_sends += usize::from(!sends.is_empty());
        found.most_sends = found.most_sends.max(sends.len());
        let suffix = receive
            .queue
            .as_deref()
            .and_then(|name| name.rsplit('.').next());
        let of_queue = suffix.unwrap_or_default().to_owned();
        *found.by_queue.entry(of_queue).or_default() += 1;
        let thread = of_thread.get(&receive.tid).map_or(&[][..], Vec::as_slice);
        ends_well(process, sends, thread)?;
    }
    Ok(found)
}

/// The receive that a process span links to.
fn receive_of<'a>(
    process: &Traced,
    by_id: &HashMap<Id<'a>, (&'a Call, &'a Traced)>,
) -> Result<(&'a Call, &'a Traced)> {
    let links = process.span.links.iter();
    let mut of_receive = links.filter(|link| {
        let (attributes, _) = attributes(&link.attributes);
        attributes.get("posix_mq.link") == Some(&"receive".into())
    });
    let link = of_receive.next().context("no link to the receive")?;
    ensure!(of_receive.next().is_none(), "links to two receives");
    let key = (link.trace_id.as_slice(), link.span_id.as_slice());
    let receive = by_id.get(&key).context("a link to no span")?;
    ensure!(
        receive.0.is_receive() && receive.0.ret >= 0,
        "a link to {}",
        receive.0.op
    );
    Ok(*receive)
}

/// Checks all but the end of a process span.
fn agrees(process: &Traced, (call, receive): (&Call, &Traced)) -> Result<()> {
    let span = &process.span;
    let queue = call.queue.as_deref().unwrap_or_default();
    ensure!(
        span.name == format!("process {queue}") && span.kind() == SpanKind::Consumer,
        "{} is {:?}",
        span.name,
        span.kind()
    );
    let (got, repeated) = attributes(&span.attributes);
    let wanted: BTreeMap<&str, Value> = [
        ("messaging.system", "posix_mq".into()),
        ("messaging.operation.name", "process".into()),
        ("messaging.operation.type", "process".into()),
        ("messaging.destination.name", queue.into()),
        ("thread.id", call.tid.into()),
        ("thread.name", call.comm.as_str().into()),
    ]
    .into();
    let others = got.iter().filter(|(key, value)| {
        wanted.get(key.as_str()) != Some(*value) && *key != "posix_mq.ipc_namespace"
    });
    let others: Vec<_> = others.collect();
    ensure!(
        others.is_empty() && repeated.is_empty() && got.len() == wanted.len() + 1,
        "attributes {got:?}"
    );
    for (key, value) in &got {
        if let Some(problem) = semconv::attribute_problem(key, value) {
            anyhow::bail!("{problem}");
        }
    }
    let parent = match receive.span.parent_span_id.as_slice() {
        [] => &receive.span.span_id,
        _ => &receive.span.parent_span_id,
    };
    ensure!(
        span.trace_id == receive.span.trace_id && span.parent_span_id == *parent,
        "is neither the child of the send nor, without one, of the receive"
    );
    let links = |traced: &Traced, with_receive: bool| {
        let links = traced.span.links.iter();
        let of = links.map(|link| link.span_id.clone());
        let receive = with_receive.then(|| receive.span.span_id.clone());
        of.chain(receive).collect::<BTreeSet<_>>()
    };
    ensure!(
        links(process, false) == links(receive, true),
        "links to something else than the receive and what that links to"
    );
    ensure!(
        start_ns(process) == end_ns(receive),
        "starts {} ns after the receive",
        start_ns(process) - end_ns(receive)
    );
    Ok(())
}

/// Checks that it ends with its last send or, without one, where the next receive begins.
fn ends_well(process: &Traced, sends: &[&Traced], thread: &[(&Call, &Traced)]) -> Result<()> {
    let end = end_ns(process);
    let after = thread
        .iter()
        .filter(|(_, traced)| start_ns(traced) >= start_ns(process));
    let expected = if let Some(last) = sends.iter().map(|send| end_ns(send)).max() {
        let strange = after.filter(|(call, traced)| {
            call.is_send() && end_ns(traced) < end && !sends.iter().any(|s| id(s) == id(traced))
        });
        ensure!(strange.count() == 0, "another send within a process span");
        last
    } else {
        // Its own receive has ended before it starts.
        let mut after = after.filter(|(call, traced)| {
            (call.is_receive() || call.is_send()) && end_ns(traced) > start_ns(process)
        });
        let (next, traced) = after.next().context("neither a send nor another receive")?;
        ensure!(next.is_receive(), "ends with a send that is not its child");
        let (got, _) = attributes(&traced.span.attributes);
        #[allow(clippy::cast_possible_truncation)]
        let idle_ns = match got.get("posix_mq.idle") {
            Some(Value::Double(seconds)) => (seconds * 1e9) as i64,
            _ => 0,
        };
        start_ns(traced) - idle_ns
    };
    ensure!(
        (end - expected).abs() <= TOLERANCE_NS && end >= start_ns(process),
        "ends {} ns after what ends it",
        end - expected
    );
    Ok(())
}

/// Ensures that of `due` most are found. A thread can be made to wait for memory or for a lock.
fn ensure_most(what: &str, found: usize, due: usize) -> Result<()> {
    ensure!(
        found <= due && found * 2 > due,
        "{found} process spans of {due} receives of {what}"
    );
    Ok(())
}

async fn pipeline(bench: &'static Bench) -> Result<()> {
    let found = traced(bench, "pipeline").await?;
    let of_each = found.receives / 3;
    ensure_most("the sink", found.of_queue("sc"), of_each)?;
    if bench.backend.sees_messages() {
        ensure_most("the first stage", found.of_queue("sa"), of_each)?;
        ensure_most("the second stage", found.of_queue("sb"), of_each)?;
        ensure_most("stages", found.with_sends, 2 * of_each)?;
    } else {
        ensure!(
            found.with_sends == 0 && found.processes == found.of_queue("sc"),
            "{found:?} where it is not known what a send comes of"
        );
    }
    Ok(())
}

/// What comes after a reply is something new.
async fn request(bench: &'static Bench) -> Result<()> {
    let found = traced(bench, "request").await?;
    ensure!(found.of_queue("sb") == 0, "{found:?} of replies");
    if bench.backend.sees_messages() {
        ensure_most("the server", found.of_queue("sa"), found.receives / 2 + 1)?;
    }
    Ok(())
}

async fn fan_out(bench: &'static Bench) -> Result<()> {
    let found = traced(bench, "fanout").await?;
    if bench.backend.sees_messages() {
        ensure!(found.most_sends == 3, "{found:?} of three sends each");
        ensure_most("what spreads", found.of_queue("sa"), found.receives / 4)?;
    }
    Ok(())
}

/// Of four receives in a row each has its own processing, the last one with the send.
async fn batch(bench: &'static Bench) -> Result<()> {
    let found = traced(bench, "batch").await?;
    let most = found.of_queue("sa");
    if bench.backend.sees_messages() {
        ensure!(
            found.with_sends * 2 < most && found.most_sends == 1,
            "{found:?}"
        );
    }
    ensure!(most * 2 > found.receives / 2, "{found:?}");
    Ok(())
}

/// A loop that also sends by a timer: what it sends then is part of no processing.
async fn event_loop(bench: &'static Bench) -> Result<()> {
    traced(bench, "loop").await.map(drop)
}

/// A pause is no processing: only the last message is passed on without one.
async fn waits(bench: &'static Bench) -> Result<()> {
    let found = traced(bench, "mixed").await?;
    let at_most = usize::from(bench.backend.sees_messages());
    ensure!(
        found.of_queue("sa") <= at_most && found.children <= at_most,
        "{found:?} of a thread that waits"
    );
    Ok(())
}

/// Nor is one between two receives.
async fn pauses(bench: &'static Bench) -> Result<()> {
    let found = traced(bench, "doze").await?;
    ensure!(
        found.receives > 0 && found.processes == 0,
        "{found:?} of a thread that sleeps or reads after each"
    );
    Ok(())
}

/// Without the option, no span is other than before, and the metric is the same.
async fn off(bench: &'static Bench) -> Result<()> {
    let (calls, spans, counted) = run(bench, "pipeline", false).await?;
    ensure!(
        spans.len() == calls.len() && counted > 0,
        "{} spans of {} calls, {counted} durations of processing",
        spans.len(),
        calls.len()
    );
    Ok(())
}

/// What is sampled is whole.
async fn sampled(bench: &'static Bench) -> Result<()> {
    for config in [
        json!({"ratio": 0.3, "always_keep": {"errors": false}}),
        json!({"ratio": 0.1, "always_keep": {"errors": true, "slower_than": "200us"}}),
    ] {
        let collector = Collector::start()?;
        let mut over = over(true);
        agent::merge(&mut over, json!({"sampling": config}));
        let agent = Agent::sending_to(bench, &collector, over).await?;
        let calls = workload(bench, "pipeline")?.run(bench).await?;
        agent.stop_balanced(bench).await?;
        let spans = collector.spans_that(is_of(&calls));
        let processes = spans.iter().filter(|traced| is_process(traced)).count();
        ensure!(
            processes > 0 && processes < spans.len(),
            "{processes} process spans"
        );
        println!("    {processes} of {} spans", spans.len());
        ensure_parents_there(&spans)?;
    }
    Ok(())
}

/// With a ring that loses most calls, no span names a parent that is missing.
async fn lost_calls(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let config = json!({
        "capture": {"ring_buffer_size": "4KiB"},
        "traces": {"process_spans": true},
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let calls = workload(bench, "fanout")?.run(bench).await?;
    agent.stop_balanced(bench).await?;
    ensure_parents_there(&collector.spans_that(is_of(&calls)))
}
