//! What must hold of the spans in Jaeger. Each check that passes prints a line.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::jaeger::{Found, Jaeger, Trace};
use super::{Pipeline, Route, Run};
use crate::compare::{Comparison, Correlation, ReadFrom};

/// Calls that the demo's `orders` makes: 2 opens, 9 rounds of 3 sends and 3 receives, one send that
/// is too large, one receive that gets nothing, the closing send, and 2 unlinks.
const ORDERS_CALLS: usize = 61;
/// Orders that `warehouse` receives, including the closing one.
const ORDERS: usize = 28;
/// Orders that it acknowledges.
const ACKS: usize = 27;

pub(super) fn count(traces: &[Trace]) -> u64 {
    traces
        .iter()
        .map(|trace| trace.found().map_or(0, |found| found.len() as u64))
        .sum()
}

/// Prints what passed.
struct Shown(Route);

impl Shown {
    fn say(&self, what: &str) {
        println!("{}: {what}", self.0.name());
    }
}

pub(super) async fn check(
    pipeline: &Pipeline,
    route: Route,
    run: &Run,
    jaeger: Jaeger,
    traces: &[Trace],
) -> Result<()> {
    let shown = Shown(route);
    let mut spans = Vec::new();
    for trace in traces {
        spans.extend(trace.found()?);
    }
    counts(&shown, run, &spans)?;
    names(&shown, jaeger).await?;
    failures(&shown, &spans)?;
    messages(&shown, &spans)?;
    warnings(&shown, pipeline.jaeger_knows_hosts().await?, &spans)?;
    processes(&shown, pipeline, &spans)?;
    fields(&shown, pipeline, run, jaeger).await
}

/// There are as many spans as calls.
fn counts(shown: &Shown, run: &Run, spans: &[Found<'_>]) -> Result<()> {
    let balance = &run.balance;
    let mut by_pid: BTreeMap<i64, usize> = BTreeMap::new();
    for span in spans {
        let pid = span.process_tag("process.pid").and_then(Value::as_i64);
        *by_pid
            .entry(pid.context("a span without process.pid")?)
            .or_default() += 1;
    }
    ensure!(
        spans.len() as u64 == balance.exported && balance.seen == balance.exported,
        "{} spans in Jaeger, and the agent says: {balance:?}",
        spans.len()
    );
    shown.say(&format!(
        "{} spans in Jaeger; of the agent: seen {}, exported {}",
        spans.len(),
        balance.seen,
        balance.exported
    ));
    let mut calls = 0;
    for (workload, made) in &run.scenarios {
        let mut of_pid: BTreeMap<i64, usize> = BTreeMap::new();
        for call in made {
            *of_pid.entry(call.pid).or_default() += 1;
        }
        for (pid, made) in of_pid {
            let got = by_pid.get(&pid).copied().unwrap_or(0);
            ensure!(
                got == made,
                "process {pid} of {}: {made} calls by its own account, {got} spans in Jaeger",
                workload.program().display()
            );
            calls += made;
        }
    }
    let demo = |service| {
        spans
            .iter()
            .filter(|span| span.service() == service)
            .count()
    };
    let (orders, warehouse) = (demo("orders"), demo("warehouse"));
    ensure!(
        orders == ORDERS_CALLS && calls + orders + warehouse == spans.len(),
        "{calls} calls of mqwork, {orders} spans of orders (it makes {ORDERS_CALLS} calls), {warehouse} of warehouse: not {}",
        spans.len()
    );
    shown.say(&format!(
        "mqwork made {calls} calls by its own account and has {calls} spans; the demo has {}",
        orders + warehouse
    ));
    Ok(())
}

/// The services and operations are the expected ones, as Jaeger's page offers them.
async fn names(shown: &Shown, jaeger: Jaeger) -> Result<()> {
    let services = jaeger.services().await?;
    let wanted: BTreeSet<String> = ["mqwork-i386", "mqwork-x86_64", "orders", "warehouse"]
        .map(str::to_owned)
        .into();
    ensure!(services == wanted, "services: {services:?}, not {wanted:?}");
    shown.say(&format!(
        "services: {}",
        services.into_iter().collect::<Vec<_>>().join(", ")
    ));
    for (service, wanted) in [
        (
            "orders",
            [
                ("mq_open /acks", "internal"),
                ("mq_open /orders", "internal"),
                ("mq_timedreceive /acks", "client"),
                ("mq_timedsend /orders", "producer"),
                ("mq_unlink /acks", "internal"),
                ("mq_unlink /orders", "internal"),
            ]
            .as_slice(),
        ),
        (
            "warehouse",
            [
                ("mq_open /acks", "internal"),
                ("mq_open /orders", "internal"),
                ("mq_timedreceive_time32 /orders", "client"),
                ("mq_timedsend_time32 /acks", "producer"),
            ]
            .as_slice(),
        ),
    ] {
        let operations = jaeger.operations(service).await?;
        let wanted: BTreeSet<_> = wanted
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()))
            .collect();
        ensure!(
            operations == wanted,
            "operations of {service}: {operations:?}, not {wanted:?}"
        );
        let names: Vec<_> = operations.into_iter().map(|(name, _)| name).collect();
        shown.say(&format!("operations of {service}: {}", names.join(", ")));
    }
    Ok(())
}

fn expect(span: Found<'_>, key: &str, wanted: Option<Value>) -> Result<()> {
    let got = span.tag(key);
    ensure!(
        got == wanted.as_ref(),
        "{} {}: {key} is {got:?}, not {wanted:?}",
        span.service(),
        span.span.operation_name
    );
    Ok(())
}

/// A failed call is an error in Jaeger, unless mqspan leaves its status unset.
fn failures(shown: &Shown, spans: &[Found<'_>]) -> Result<()> {
    let that_returned = |service, name, returned| {
        let found: Vec<_> = spans
            .iter()
            .filter(move |span| {
                span.service() == service
                    && span.span.operation_name == name
                    && span.returned() == Some(returned)
            })
            .copied()
            .collect();
        found
    };
    let too_large = that_returned("orders", "mq_timedsend /orders", -90);
    let late = that_returned("orders", "mq_timedreceive /acks", -110);
    ensure!(
        too_large.len() == 1 && late.len() == 1,
        "{} sends with EMSGSIZE and {} receives with ETIMEDOUT, not one of each",
        too_large.len(),
        late.len()
    );
    for span in too_large {
        expect(span, "error.type", Some(json!("EMSGSIZE")))?;
        expect(span, "error", Some(json!(true)))?;
        expect(span, "otel.status_code", Some(json!("ERROR")))?;
        let description = span.tag("otel.status_description").and_then(Value::as_str);
        let description = description.context("EMSGSIZE: no otel.status_description")?;
        shown.say(&format!(
            "mq_timedsend /orders, posix_mq.return=-90: error=true, error.type=EMSGSIZE, {description:?}"
        ));
    }
    for span in late {
        expect(span, "posix_mq.errno", Some(json!("ETIMEDOUT")))?;
        expect(span, "error.type", None)?;
        expect(span, "error", None)?;
        expect(span, "otel.status_code", None)?;
        shown.say(
            "mq_timedreceive /acks, posix_mq.return=-110: posix_mq.errno=ETIMEDOUT, and no error",
        );
    }
    for span in spans {
        let failed = span.returned().context("no posix_mq.return")? < 0;
        ensure!(
            failed == span.tag("posix_mq.errno").is_some(),
            "{}: posix_mq.return {:?} and posix_mq.errno {:?}",
            span.span.operation_name,
            span.returned(),
            span.tag("posix_mq.errno")
        );
    }
    Ok(())
}

type ById<'a> = HashMap<(&'a str, &'a str), Found<'a>>;

fn by_id<'a>(spans: &[Found<'a>]) -> ById<'a> {
    spans
        .iter()
        .map(|found| {
            let span = found.span;
            ((span.trace_id.as_str(), span.span_id.as_str()), *found)
        })
        .collect()
}

/// Jaeger warns of nothing. Before 2.17 it does not know that two processes are on one host, and
/// suspects another clock where a child is not within its parent: a receive is over after its send.
fn warnings(shown: &Shown, knows_hosts: bool, spans: &[Found<'_>]) -> Result<()> {
    let by_id = by_id(spans);
    let mut apart = 0;
    for span in spans.iter().map(|found| found.span) {
        let warnings = span.warnings.as_deref().unwrap_or_default();
        let parent = span
            .references
            .first()
            .and_then(|parent| by_id.get(&(parent.trace_id.as_str(), parent.span_id.as_str())));
        let may_warn = !knows_hosts && parent.is_some_and(|parent| !span.is_within(parent.span));
        ensure!(
            warnings.is_empty()
                || may_warn
                    && warnings
                        .iter()
                        .all(|text| text.starts_with("clock skew adjustment disabled")),
            "{}: Jaeger warns: {warnings:?}",
            span.operation_name
        );
        apart += usize::from(!warnings.is_empty());
    }
    shown.say(&format!(
        "{apart} warnings of Jaeger that the clocks of two hosts differ"
    ));
    Ok(())
}

/// Each message's receive is the child of its send in the other process.
fn messages(shown: &Shown, spans: &[Found<'_>]) -> Result<()> {
    let by_id = by_id(spans);
    for (count, receiver, receive, sender, send) in [
        (
            ORDERS,
            "warehouse",
            "mq_timedreceive_time32 /orders",
            "orders",
            "mq_timedsend /orders",
        ),
        (
            ACKS,
            "orders",
            "mq_timedreceive /acks",
            "warehouse",
            "mq_timedsend_time32 /acks",
        ),
    ] {
        let mut parents = BTreeSet::new();
        for found in spans {
            let span = found.span;
            let of_message = found.service() == receiver
                && span.operation_name == receive
                && found.returned() >= Some(0);
            if !of_message {
                continue;
            }
            // Jaeger makes one of the parent and the link to it.
            let [reference] = span.references.as_slice() else {
                anyhow::bail!("{receive}: references {:?}", span.references);
            };
            let parent = by_id
                .get(&(reference.trace_id.as_str(), reference.span_id.as_str()))
                .with_context(|| format!("{receive}: {reference:?} is not in Jaeger"))?;
            ensure!(
                reference.ref_type == "CHILD_OF"
                    && reference.trace_id == span.trace_id
                    && parent.service() == sender
                    && parent.span.operation_name == send,
                "{receive}: {reference:?} to {} of {}",
                parent.span.operation_name,
                parent.service()
            );
            parents.insert(&parent.span.span_id);
        }
        ensure!(
            parents.len() == count,
            "{receive}: children of {} sends, not {count}",
            parents.len()
        );
        shown.say(&format!(
            "{count} of {receiver}'s {receive} are CHILD_OF a {send} of {sender}"
        ));
    }
    Ok(())
}

/// Resource attributes become the tags of Jaeger's processes.
fn processes(shown: &Shown, pipeline: &Pipeline, spans: &[Found<'_>]) -> Result<()> {
    for (service, program) in [
        ("orders", &pipeline.args.orders),
        ("warehouse", &pipeline.args.warehouse),
    ] {
        let path = json!(crate::absolute(program)?);
        for span in spans.iter().filter(|span| span.service() == service) {
            for (key, wanted) in [
                ("process.executable.path", &path),
                ("process.executable.name", &json!(service)),
                ("telemetry.distro.name", &json!("mqspan")),
                ("os.type", &json!("linux")),
                ("process.owner", &json!("root")),
            ] {
                let got = span.process_tag(key);
                ensure!(
                    got == Some(wanted),
                    "{service}: {key} is {got:?}, not {wanted}"
                );
            }
            for key in [
                "process.pid",
                "service.instance.id",
                "host.name",
                "host.arch",
            ] {
                ensure!(span.process_tag(key).is_some(), "{service}: no {key}");
            }
        }
        shown.say(&format!(
            "process tags of {service}: process.executable.path={path}, process.pid, host.name, …"
        ));
    }
    Ok(())
}

/// Every field of every span, in the OTLP that Jaeger answers with, is what the program recorded.
async fn fields(shown: &Shown, pipeline: &Pipeline, run: &Run, jaeger: Jaeger) -> Result<()> {
    let spans = jaeger.otlp(&["mqwork-i386", "mqwork-x86_64"]).await?;
    let native = pipeline.bench.workload()?;
    let mut calls = 0;
    for (workload, made) in &run.scenarios {
        Comparison {
            backend: pipeline.bench.backend,
            program: workload.program(),
            other_program: Some(&native),
            read_from: ReadFrom::Jaeger,
            correlation: Correlation::Parent,
            payload_max_bytes: None,
        }
        .check(made, &spans)?;
        calls += made.len();
    }
    shown.say(&format!(
        "every field of the {calls} spans of mqwork is what mqwork wrote down"
    ));
    Ok(())
}
