//! Programs that publish their OpenTelemetry contexts: a call that a thread makes for a span is the
//! child of that span, and never of another one.
//!
//! `tests/context` has the programs. With each call they say what their thread publishes at that
//! moment. How a program gets to its thread-local variable differs with the linker and the C
//! library, so there is one for each way.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::span::{Traced, Value as Attribute, attributes};
use serde_json::{Value, json};

use super::filter::RELOADED;
use super::{Case, case};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::{is_of, pairs};
use crate::truth::Call;
use crate::workload::{Held, Workload};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("context_executable_64", |b| spans(b, 64, "exe")),
        case!("context_executable_32", |b| spans(b, 32, "exe")),
        case!("context_static_64", |b| spans(b, 64, "static")),
        case!("context_static_32", |b| spans(b, 32, "static")),
        case!("context_linked_module_64", |b| spans(b, 64, "gd")),
        case!("context_linked_module_32", |b| spans(b, 32, "gd")),
        case!("context_linked_descriptor_64", |b| spans(b, 64, "desc")),
        case!("context_linked_descriptor_32", |b| spans(b, 32, "desc")),
        case!("context_linked_offset_64", |b| spans(b, 64, "ie")),
        case!("context_linked_offset_32", |b| spans(b, 32, "ie")),
        case!("context_loaded_module_64", |b| spans(b, 64, "load gd")),
        case!("context_loaded_module_32", |b| spans(b, 32, "load gd")),
        case!("context_loaded_descriptor_64", |b| spans(
            b,
            64,
            "load desc"
        )),
        case!("context_loaded_descriptor_32", |b| spans(
            b,
            32,
            "load desc"
        )),
        case!("context_loaded_offset_64", |b| spans(b, 64, "load ie")),
        case!("context_threads_64", |b| threads(b, 64)),
        case!("context_threads_32", |b| threads(b, 32)),
        case!("context_passed_on_64", |b| passed_on(b, 64)),
        case!("context_passed_on_32", |b| passed_on(b, 32)),
        case!("context_later", later),
        case!("context_exec", exec),
        case!("context_sampling", sampling),
        case!("context_off_and_on", off_and_on),
        case!("context_faults", faults),
        case!("context_torn", torn),
    ]
}

/// What the program calls itself by the resource that it publishes.
const RESOURCE: [(&str, &str); 3] = [
    ("service.name", "sdk-service"),
    ("service.instance.id", "instance-of-the-sdk"),
    ("deployment.environment.name", "test"),
];

/// The end of its queue's name once it has executed itself.
const EXECUTED: &str = ".executed";

/// A program of `tests/context`, by its kind and maybe the library that it loads.
fn program(bench: &Bench, bits: u8, kind: &str, args: &[&str]) -> Result<Workload> {
    let workload = if bits == 32 {
        bench.workload32()?
    } else {
        bench.workload()?
    };
    let beside = |name: String| -> Result<PathBuf> {
        let file = workload.file_name().unwrap_or_default().to_string_lossy();
        let path = workload.with_file_name(file.replace("mqwork", &name));
        Ok(path)
    };
    let (kind, library) = kind.split_once(' ').unwrap_or((kind, ""));
    let path = beside(format!("ctx-{kind}"))?;
    ensure!(
        path.exists(),
        "{} is not built: make -C tests/context",
        path.display()
    );
    let mut all = Vec::new();
    let library = format!("{}.so", beside(format!("libctx-{library}"))?.display());
    if kind == "load" {
        all.extend(["--library", &library]);
    }
    all.extend(args);
    Workload::new(path, &all)
}

/// An id as the program writes it.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Trace and span.
type Id = (String, String);

/// The span that a call is made for, and whether it is sampled.
fn made_for(call: &Call) -> Result<Option<(Id, bool)>> {
    let Some(text) = &call.traceparent else {
        return Ok(None);
    };
    let mut parts = text.split('-').skip(1);
    let mut part = || parts.next().context("a traceparent that is cut short");
    let id = (part()?.to_owned(), part()?.to_owned());
    let flags = u8::from_str_radix(part()?, 16)?;
    Ok(Some((id, flags & 1 != 0)))
}

fn id(traced: &Traced) -> Id {
    (
        hexadecimal(&traced.span.trace_id),
        hexadecimal(&traced.span.span_id),
    )
}

fn parent(traced: &Traced) -> Option<Id> {
    let parent = &traced.span.parent_span_id;
    (!parent.is_empty()).then(|| (hexadecimal(&traced.span.trace_id), hexadecimal(parent)))
}

/// Its links, each with its role.
fn links(traced: &Traced) -> Vec<(String, Id)> {
    let links = traced.span.links.iter();
    links
        .map(|link| {
            let role = match attributes(&link.attributes).0.remove("posix_mq.link") {
                Some(Attribute::Str(role)) => role,
                _ => String::new(),
            };
            (
                role,
                (hexadecimal(&link.trace_id), hexadecimal(&link.span_id)),
            )
        })
        .collect()
}

/// What became of the calls of one run.
#[derive(Debug, Default, PartialEq)]
struct Found {
    /// Children of the span that they are made for.
    joined: usize,
    /// Linked to such a span, which is not sampled.
    linked: usize,
    /// Receives that are children of a send in a trace of the application.
    followed: usize,
    /// Calls that are neither, but are in such a trace.
    descended: usize,
}

/// What the calls are to be held against.
struct Judge<'a> {
    bench: &'a Bench,
    pairs: Vec<(&'a Call, &'a Traced)>,
    /// All calls from this time on that are made for a span are its children; `None`: no call is.
    known_from_ns: Option<i64>,
}

impl<'a> Judge<'a> {
    fn new(
        bench: &'a Bench,
        calls: &'a [Call],
        spans: &'a [Traced],
        known_from_ns: Option<i64>,
    ) -> Result<Self> {
        Ok(Self {
            bench,
            pairs: pairs(calls, spans)?,
            known_from_ns,
        })
    }

    /// Fails at the first span with a parent or a link that is not right.
    fn check(&self) -> Result<Found> {
        let ours: HashMap<Id, &Call> = self.pairs.iter().map(|(c, t)| (id(t), *c)).collect();
        let mut theirs = HashSet::new();
        for (call, _) in &self.pairs {
            theirs.extend(made_for(call)?.map(|(id, _)| id));
        }
        let traces: HashSet<&String> = theirs.iter().map(|(trace, _)| trace).collect();
        // A program that executes itself numbers its messages anew, in another queue.
        let message = |call: &Call| Some((call.queue.clone(), call.message?));
        let senders: HashMap<_, Id> = self
            .pairs
            .iter()
            .filter(|(call, _)| call.is_send())
            .filter_map(|(call, traced)| Some((message(call)?, id(traced))))
            .collect();
        let mut found = Found::default();
        for (call, traced) in &self.pairs {
            let what = format!("{} at {}", call.op, call.realtime_start_ns);
            let parent = parent(traced);
            for there in parent
                .iter()
                .chain(links(traced).iter().map(|(_, link)| link))
            {
                ensure!(
                    ours.contains_key(there) || theirs.contains(there),
                    "{what} refers to {there:?}, which is nobody's"
                );
            }
            let made_for = made_for(call)?;
            let is_joined = made_for
                .as_ref()
                .is_some_and(|(wanted, _)| parent.as_ref() == Some(wanted));
            self.check_own(&what, call, traced, made_for, is_joined, &mut found)?;
            if !is_joined {
                ensure!(
                    parent
                        .as_ref()
                        .is_none_or(|parent| !theirs.contains(parent)),
                    "{what} is the child of {parent:?}, for which it is not made"
                );
            }
            let is_in_theirs = traces.contains(&id(traced).0);
            ensure!(
                self.known_from_ns.is_some() || !is_in_theirs,
                "{what} is in a trace of the application, where none is to be known"
            );
            let mut is_followed = false;
            if let Some(sender) = message(call).and_then(|message| senders.get(&message))
                && call.is_receive()
                && self.bench.backend.sees_messages()
            {
                let link = links(traced).into_iter().find(|(role, _)| role == "sender");
                ensure!(
                    link.as_ref().map(|(_, link)| link) == Some(sender),
                    "{what} is linked to {link:?}, and its message came from {sender:?}"
                );
                ensure!(
                    is_joined || parent.as_ref() == Some(sender),
                    "{what} is the child of {parent:?}, not of {sender:?}"
                );
                is_followed = !is_joined && is_in_theirs;
                found.followed += usize::from(is_followed);
            }
            found.descended += usize::from(is_in_theirs && !is_joined && !is_followed);
        }
        Ok(found)
    }

    /// Checks what the thread itself has published.
    fn check_own(
        &self,
        what: &str,
        call: &Call,
        traced: &Traced,
        made_for: Option<(Id, bool)>,
        is_joined: bool,
        found: &mut Found,
    ) -> Result<()> {
        let linked: Vec<Id> = links(traced)
            .into_iter()
            .filter_map(|(role, id)| (role == "application").then_some(id))
            .collect();
        let is_known = self
            .known_from_ns
            .is_some_and(|from| call.realtime_start_ns >= from);
        match made_for {
            Some((wanted, true)) => {
                ensure!(linked.is_empty(), "{what} is linked to {linked:?}");
                ensure!(
                    is_joined || !is_known,
                    "{what} is made for {wanted:?}, and its parent is {:?}",
                    parent(traced)
                );
                found.joined += usize::from(is_joined);
            }
            Some((wanted, false)) => {
                ensure!(!is_joined, "{what} is the child of what is not sampled");
                let is_linked = linked == [wanted];
                ensure!(
                    is_linked || linked.is_empty() && !is_known,
                    "{what} is linked to {linked:?}"
                );
                found.linked += usize::from(is_linked);
            }
            None => ensure!(linked.is_empty(), "{what} is linked to {linked:?}"),
        }
        let is_first = |pid| {
            self.pairs
                .first()
                .is_some_and(|(first, _)| first.pid == pid)
        };
        // The next program is another one.
        let is_executed = |queue: &String| queue.ends_with(EXECUTED);
        if is_known && !call.queue.as_ref().is_some_and(is_executed) {
            let resource = &traced.origin.resource;
            for (key, value) in RESOURCE {
                ensure!(
                    !is_first(call.pid) || resource.get(key) == Some(&Attribute::from(value)),
                    "{what}: {key} is {:?}",
                    resource.get(key)
                );
            }
            ensure!(traced.pid() == Some(call.pid), "{what}: process.pid");
        }
        Ok(())
    }
}

/// Lets the program make calls for spans until one is the child of its span, and returns when the
/// next ones begin.
async fn known(bench: &Bench, workload: &Workload, collector: &Collector) -> Result<(Held, i64)> {
    let mut held = workload.hold_once(bench, "ready").await?;
    for _ in 0..100 {
        let calls = workload.truth()?;
        collector
            .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
            .await?;
        let spans = collector.spans();
        let pairs = pairs(&calls, &spans)?;
        let (call, traced) = pairs.last().context("no call yet")?;
        if let Some((wanted, _)) = made_for(call)?
            && parent(traced) == Some(wanted)
        {
            let resource = &traced.origin.resource;
            if resource.get(RESOURCE[0].0) == Some(&Attribute::from(RESOURCE[0].1)) {
                return Ok((held, call.realtime_end_ns));
            }
        }
        tokio::time::sleep(bench.bound(1) / 20).await;
        held.step(bench, "ready").await?;
    }
    bail!("the agent has not found out where the program publishes its spans")
}

/// Runs a program to its end and checks its spans.
async fn found(
    bench: &'static Bench,
    workload: &Workload,
    config: Value,
) -> Result<(Vec<Call>, Found)> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let (held, from_ns) = known(bench, workload, &collector)
        .await
        .with_context(|| agent.log())?;
    held.release(bench).await?;
    let calls = workload.truth()?;
    collector
        .wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
        .await?;
    agent.stop_balanced(bench).await?;
    let spans = collector.spans();
    let found = Judge::new(bench, &calls, &spans, Some(from_ns))?.check()?;
    println!("    {} calls: {found:?}", calls.len());
    Ok((calls, found))
}

async fn spans(bench: &'static Bench, bits: u8, kind: &str) -> Result<()> {
    let workload = program(bench, bits, kind, &["spans", "20"])?;
    let (_, found) = found(bench, &workload, json!({})).await?;
    ensure!(found.joined >= 100 && found.linked == 60, "{found:?}");
    ensure!(
        !bench.backend.sees_messages() || found.followed == 20,
        "{found:?}"
    );
    Ok(())
}

/// Threads that begin later, and whose variable nobody has touched yet.
async fn threads(bench: &'static Bench, bits: u8) -> Result<()> {
    for kind in ["exe", "load gd", "load desc"] {
        let workload = program(bench, bits, kind, &["threads", "100"])?;
        let (_, found) = found(bench, &workload, json!({})).await?;
        ensure!(found.joined >= 800, "{kind}: {found:?}");
    }
    Ok(())
}

/// A process without spans of its own passes messages on: what it does is in the trace of the span
/// for which the first message was sent, as far as it can be known.
async fn passed_on(bench: &'static Bench, bits: u8) -> Result<()> {
    let workload = program(bench, bits, "exe", &["pass", "100"])?;
    let config = json!({"traces": {"chains": {"mode": "thread"}}});
    let (_, found) = found(bench, &workload, config).await?;
    ensure!(found.joined >= 50, "{found:?}");
    if bench.backend.sees_messages() {
        // The child's receive and the parent's, and in between the child's send.
        ensure!(found.followed == 100 && found.descended == 50, "{found:?}");
    }
    Ok(())
}

/// A program that publishes long after its first call.
async fn later(bench: &'static Bench) -> Result<()> {
    let workload = program(bench, 64, "load gd", &["--later", "spans", "5"])?;
    let (_, found) = found(bench, &workload, json!({})).await?;
    ensure!(found.joined >= 25 && found.linked == 15, "{found:?}");
    Ok(())
}

/// What the next program has at the same place is not a span.
async fn exec(bench: &'static Bench) -> Result<()> {
    let workload = program(bench, 64, "exe", &["exec", "5"])?;
    let (calls, found) = found(bench, &workload, json!({})).await?;
    let last = calls.last().context("no call")?;
    ensure!(
        last.queue
            .as_deref()
            .is_some_and(|name| name.ends_with(EXECUTED)),
        "it has not executed itself"
    );
    ensure!(found.joined >= 25, "{found:?}");
    Ok(())
}

/// The application's decision holds for what is in its traces, the ratio for the rest.
async fn sampling(bench: &'static Bench) -> Result<()> {
    let workload = program(bench, 64, "exe", &["spans", "20"])?;
    let collector = Collector::start()?;
    let config = json!({"sampling": {"ratio": 0.0, "always_keep": {"errors": false}}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let mut held = workload.hold_once(bench, "ready").await?;
    let give_up = tokio::time::Instant::now() + bench.bound(30);
    while collector.count() == 0 {
        ensure!(tokio::time::Instant::now() < give_up, "nothing is kept");
        tokio::time::sleep(bench.bound(1) / 20).await;
        held.step(bench, "ready").await?;
    }
    held.release(bench).await?;
    agent.stop_balanced(bench).await?;
    let calls = workload.truth()?;
    let mut wanted = HashSet::new();
    for call in &calls {
        wanted.extend(made_for(call)?.and_then(|(id, is_sampled)| is_sampled.then_some(id)));
    }
    let (mut joined, mut followed) = (0, 0);
    for traced in collector.spans() {
        ensure!(traced.span.trace_state.is_empty(), "the share is not known");
        let parent = parent(&traced).context("a root is kept")?;
        if wanted.contains(&parent) {
            joined += 1;
        } else {
            ensure!(
                wanted.iter().any(|(trace, _)| *trace == parent.0),
                "{parent:?}"
            );
            followed += 1;
        }
    }
    let expected = if bench.backend.sees_messages() { 20 } else { 0 };
    println!("    {joined} joined, {followed} followed");
    ensure!(
        joined >= 100 && followed == expected,
        "{joined}, {followed}"
    );
    Ok(())
}

/// `traces.application_context`, and that a reload changes it.
async fn off_and_on(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let config = |on: bool| {
        let over = json!({"traces": {"application_context": on}});
        agent::config(bench, &endpoint, over)
    };
    let agent = Agent::start(bench, config(false)).await?;
    let workload = program(bench, 64, "exe", &["spans", "5"])?;
    let mut held = workload.hold_once(bench, "ready").await?;
    for (reloads, is_on) in [true, false].into_iter().enumerate() {
        let before = workload.truth()?;
        for _ in 0..10 {
            tokio::time::sleep(bench.bound(1) / 20).await;
            held.step(bench, "ready").await?;
        }
        let calls = workload.truth()?;
        collector
            .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
            .await?;
        let spans = collector.spans();
        let pairs = pairs(&calls, &spans)?;
        let mut joined = 0;
        for (call, traced) in pairs.iter().skip(before.len()) {
            let wanted = made_for(call)?.map(|(id, _)| id);
            joined += usize::from(wanted.is_some() && parent(traced) == wanted);
        }
        ensure!(
            if is_on { joined == 0 } else { joined > 0 },
            "{joined} of 10 calls are joined after {reloads} reloads"
        );
        agent.reload(config(is_on))?;
        agent
            .wait_for_logs(RELOADED, reloads + 1, bench.bound(10))
            .await?;
    }
    let calls = workload.truth()?.len();
    held.release(bench).await?;
    let all = workload.truth()?;
    collector
        .wait_for_spans(all.len(), bench.bound(30), is_of(&all))
        .await?;
    agent.stop_balanced(bench).await?;
    let spans = collector.spans();
    let pairs = pairs(&all, &spans)?;
    for (call, traced) in pairs.iter().skip(calls) {
        let wanted = made_for(call)?.map(|(id, _)| id);
        ensure!(
            wanted.is_none() || parent(traced) != wanted,
            "{} is joined after all",
            call.op
        );
        let name = traced.origin.resource.get(RESOURCE[0].0);
        ensure!(name != Some(&Attribute::from(RESOURCE[0].1)), "{name:?}");
    }
    Ok(())
}

/// Process contexts that are wrong in one way each: the agent lives, and calls have no parent.
async fn faults(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, json!({})).await?;
    for fault in [
        "huge", "cut", "nowhere", "version", "changing", "garbage", "schema",
    ] {
        let workload = program(bench, 64, "exe", &["--fault", fault, "spans", "10"])?;
        let mut held = workload.hold_once(bench, "ready").await?;
        for _ in 0..10 {
            tokio::time::sleep(bench.bound(1) / 20).await;
            held.step(bench, "ready").await?;
        }
        held.release(bench).await?;
        let calls = workload.truth()?;
        collector
            .wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
            .await?;
        let spans = collector.spans_that(is_of(&calls));
        let found = Judge::new(bench, &calls, &spans, None)?
            .check()
            .with_context(|| fault.to_owned())?;
        ensure!(found == Found::default(), "{fault}: {found:?}");
    }
    agent.stop_balanced(bench).await?;
    Ok(())
}

/// A record that another thread changes all the time is taken as it is at one moment, or not.
async fn torn(bench: &'static Bench) -> Result<()> {
    let workload = program(bench, 64, "exe", &["torn", "2000"])?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, json!({})).await?;
    let (held, _) = known(bench, &workload, &collector).await?;
    held.release(bench).await?;
    let calls = workload.truth()?;
    collector
        .wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
        .await?;
    agent.stop_balanced(bench).await?;
    let spans = collector.spans();
    let is_theirs = |traced: &&Traced| {
        let (trace, _) = id(traced);
        trace.ends_with("aabbccddeeff0102")
    };
    let theirs: HashSet<Option<Id>> = spans.iter().filter(is_theirs).map(parent).collect();
    ensure!(theirs.len() > 1, "no record was ever valid");
    for parent in theirs.into_iter().flatten() {
        let (trace, span) = parent;
        let is_sent = spans
            .iter()
            .any(|other| id(other) == (trace.clone(), span.clone()));
        // Its number is at the beginning of both ids.
        ensure!(
            is_sent || trace[..14] == span[..14],
            "{span} is none of {trace}'s spans"
        );
    }
    Ok(())
}
