//! The calls that the configuration leaves out are left out, and no others.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::free_address;
use mqspan_testkit::span::{Traced, attributes};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Case, case, comparison, defaults};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::scrape::{scrape_anew, sum};
use crate::spawn::cannot_run;
use crate::truth::Call;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("filter_errors_only", |b| kept(
            b,
            json!({"filter": {"errors_only": true}}),
            |call| call.ret < 0
        )),
        case!("filter_include_queue", |b| kept(
            b,
            json!({"filter": {"include": {"queues": ["/e2e.*.other"]}}}),
            |call| is_on(call, ".other")
        )),
        case!("filter_exclude_comm", |b| kept(
            b,
            json!({"filter": {"exclude": {"comms": ["mqwork-*"]}}}),
            |_| false
        )),
        case!("filter_include_comm", |b| kept(
            b,
            json!({"filter": {"include": {"comms": ["mqwork-*"]}}}),
            |_| true
        )),
        case!("filter_include_all", include_all),
        case!("filter_in_kernel", in_kernel),
        case!("filter_syscalls", |b| kept(
            b,
            json!({"capture": {"syscalls": ["mq_open", "mq_notify"]}}),
            |call| call.op == "mq_open" || call.op == "mq_notify"
        )),
        case!("filter_min_duration", min_duration),
        // With chains, a failed send keeps what it comes of, or is linked to it.
        case!("sampling_keeps_errors", |b| kept(
            b,
            json!({
                "sampling": {"ratio": 0.0, "always_keep": {"errors": true}},
                "traces": {"chains": {"mode": "none"}},
            }),
            |call| call.ret < 0
        )),
        case!("abis_native_only", |b| kept_of_32(
            b,
            json!({"capture": {"abis": ["native"]}}),
            |_| false
        )),
        case!("filter_many_ids_with_ours", |b| kept(
            b,
            many_ids(0),
            |_| true
        )),
        case!("filter_many_ids_of_others", |b| kept(
            b,
            many_ids(1),
            |_| false
        )),
        case!("filter_included_in_a_call", included_in_a_call),
        case!("sighup_reloads", sighup_reloads),
    ]
}

/// More users than the kernel's table has room for. The workload runs as user 0.
fn many_ids(first: u32) -> Value {
    let uids: Vec<_> = (first..first + 2000).collect();
    json!({"filter": {"include": {"uids": uids}}})
}

fn is_on(call: &Call, suffix: &str) -> bool {
    call.queue
        .as_ref()
        .is_some_and(|queue| queue.ends_with(suffix))
}

/// Exactly the calls that `keeps` accepts become spans.
async fn kept(bench: &Bench, config: Value, keeps: fn(&Call) -> bool) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    check_kept(bench, &workload, config, keeps).await
}

/// Like [`kept`], with the 32-bit workload.
async fn kept_of_32(bench: &Bench, config: Value, keeps: fn(&Call) -> bool) -> Result<()> {
    let workload = Workload::new(bench.workload32()?, &["basic"])?;
    check_kept(bench, &workload, config, keeps).await
}

async fn check_kept(
    bench: &Bench,
    workload: &Workload,
    config: Value,
    keeps: fn(&Call) -> bool,
) -> Result<()> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    let ours = is_of(&calls);
    let kept: Vec<_> = calls.into_iter().filter(keeps).collect();
    if kept.is_empty() {
        let spans = collector.spans().iter().filter(|span| ours(span)).count();
        ensure!(spans == 0, "{spans} spans, not none");
        return Ok(());
    }
    comparison(bench, workload).check(&kept, &collector.spans())
}

/// The number of this program's IPC namespace, which its workloads share.
pub(super) fn ipc_namespace() -> Result<u32> {
    let link = std::fs::read_link("/proc/self/ns/ipc")?;
    let text = link.to_string_lossy();
    let number = text.trim_start_matches("ipc:[").trim_end_matches(']');
    number.parse().with_context(|| text.to_string())
}

/// A call must match each of several include lists.
async fn include_all(bench: &'static Bench) -> Result<()> {
    let config = json!({"filter": {"include": {
        "comms": ["other", "mqwork-[a-z0-9]*"],
        "uids": [0, 4_294_967_294_u32],
        "namespaces": [ipc_namespace()?],
        "queues": ["e2e.{,*}.other", "/no.such"],
    }}});
    kept(bench, config, |call| is_on(call, ".other")).await
}

/// Calls that the kernel filters take no room in the ring, which here holds about ten calls and is
/// not drained. Each filter is set with SIGHUP.
async fn in_kernel(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let prometheus = free_address()?;
    let config = |filter: &Value| {
        let over = json!({
            "capture": {"ring_buffer_size": "4KiB"},
            "filter": filter,
            "metrics": {"prometheus": {"address": prometheus.to_string()}},
        });
        agent::config(bench, &collector.endpoint(), over)
    };
    let agent = Agent::start(bench, config(&json!({}))).await?;
    // The kernel learns of containers from the agent, which learns of processes from the kernel.
    let first = Workload::new(bench.workload()?, &["blocked", "1", "hold"])?;
    let held = first.hold(bench).await?;
    for (at, filter) in [
        json!({"exclude": {"comms": ["none", "mqwork*"]}}),
        json!({"exclude": {"queues": ["e2e*"]}}),
        json!({"include": {"queues": ["/no.such"]}}),
        json!({"exclude": {"uids": [0]}}),
        json!({"include": {"namespaces": [1]}}),
        json!({"exclude": {"namespaces": [ipc_namespace()?]}}),
        json!({"include": {"containers": ["no-such"]}}),
    ]
    .iter()
    .enumerate()
    {
        agent.reload(config(filter))?;
        agent
            .wait_for_logs(RELOADED, at + 1, bench.bound(10))
            .await?;
        // This answer was collected after the round that told the kernel of containers.
        scrape_anew(prometheus).await?;
        flood_filtered(bench, &agent, prometheus)
            .await
            .with_context(|| filter.to_string())?;
    }
    held.release(bench).await?;
    agent.stop_balanced(bench).await?;
    Ok(())
}

/// Logged once a new configuration is in use.
pub(super) const RELOADED: &str = "the new configuration is in use";

/// Makes more calls than the ring has room for while the agent is stopped, and checks that all of
/// them are filtered.
async fn flood_filtered(bench: &Bench, agent: &Agent, prometheus: SocketAddr) -> Result<()> {
    const CALLS: f64 = 2_002.0; // with mq_open and mq_unlink
    let count = |text: &str, outcome| sum(text, "mqspan_call_count_total", &[outcome]);
    let before = scrape_anew(prometheus).await?;
    agent.pause()?;
    let flood = Workload::new(bench.workload()?, &["flood", "1000"])?;
    flood.run_untold(bench).await?;
    agent.go_on()?;
    let after = scrape_anew(prometheus).await?;
    let [filtered, lost] =
        ["filtered", "lost"].map(|outcome| count(&after, outcome) - count(&before, outcome));
    ensure!(
        filtered >= CALLS && (!bench.own_machine || lost == 0.0),
        "{CALLS} calls were made, {filtered} filtered, {lost} lost:\n{after}"
    );
    Ok(())
}

/// Every call that waited long enough is there, and no shorter one.
async fn min_duration(bench: &'static Bench) -> Result<()> {
    const MIN_NS: u64 = 15_000_000;
    let workload = Workload::new(bench.workload()?, &["waits", "50"])?;
    let collector = Collector::start()?;
    let config = json!({"filter": {"min_duration": "15ms"}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    let ours = is_of(&calls);
    let spans: Vec<_> = collector.spans().into_iter().filter(|s| ours(s)).collect();
    for traced in &spans {
        let span = &traced.span;
        ensure!(
            span.end_time_unix_nano - span.start_time_unix_nano >= MIN_NS,
            "{} is there and took {} ns",
            span.name,
            span.end_time_unix_nano - span.start_time_unix_nano
        );
    }
    // The workload reads its clock around the call. One that took twice the minimum there did wait
    // in the call.
    let waited: Vec<_> = calls
        .iter()
        .filter(|call| call.realtime_end_ns - call.realtime_start_ns >= 2 * MIN_NS.cast_signed())
        .collect();
    ensure!(!waited.is_empty(), "no call waited");
    for call in waited {
        let operation = format!("{} ", call.op);
        ensure!(
            spans
                .iter()
                .any(|traced| traced.span.name.starts_with(&operation)),
            "no span of a waiting {operation}"
        );
    }
    Ok(())
}

/// When a reload includes a process, its calls in progress are found, as at the start. So is a call
/// from before the agent, of which the agent sees only the end.
async fn included_in_a_call(bench: &'static Bench) -> Result<()> {
    const BLOCKED: usize = 20;
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let including = |pids: &[u32]| json!({"filter": {"include": {"pids": pids}}});
    let other = Command::new("sleep")
        .arg("1000")
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot_run("sleep"))?;
    let other = other.id().context("sleep has ended")?;
    let early = Workload::new(bench.workload()?, &["blocked", "20", "hold"])?;
    let early_held = early.hold(bench).await?;
    let config = agent::config(bench, &endpoint, including(&[other]));
    let agent = Agent::start(bench, config).await?;
    let late = Workload::new(bench.workload()?, &["blocked", "20", "hold"])?;
    let late_held = late.hold(bench).await?;
    let pids = [early_held.pid()?, late_held.pid()?];
    agent.reload(agent::config(bench, &endpoint, including(&pids)))?;
    agent
        .wait_for_log("the new configuration is in use", bench.bound(30))
        .await?;
    early_held.release(bench).await?;
    late_held.release(bench).await?;
    let may_miss = agent.may_miss();
    let balance = agent.stop_balanced(bench).await?;
    for workload in [early, late] {
        let receives = |traced: &Traced| {
            let (attributes, _) = attributes(&traced.span.attributes);
            traced.span.name.starts_with("mq_timedreceive")
                && traced.span.name.contains(workload.prefix())
                && attributes.contains_key("posix_mq.start_unknown")
        };
        let found = collector.spans_that(receives).len();
        ensure!(
            found == BLOCKED && (balance.lost == 0 || may_miss),
            "{found} of {BLOCKED} calls were found: {balance:?}"
        );
    }
    Ok(())
}

/// Calls that were filtered at the start are traced after a reload.
async fn sighup_reloads(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let endpoint = collector.endpoint();
    let none = json!({"filter": {"exclude": {"comms": ["mqwork-*"]}}});
    let agent = Agent::start(bench, agent::config(bench, &endpoint, none)).await?;
    let before = Workload::new(bench.workload()?, &["paced", "1"])?
        .run(bench)
        .await?;
    agent.reload(agent::config(bench, &endpoint, defaults()))?;
    let give_up = tokio::time::Instant::now() + bench.bound(30);
    loop {
        let workload = Workload::new(bench.workload()?, &["paced", "1"])?;
        let calls = workload.run(bench).await?;
        let first = collector
            .wait_for_spans(1, bench.bound(1), is_of(&calls))
            .await;
        if first.is_ok() {
            break;
        }
        ensure!(
            tokio::time::Instant::now() < give_up,
            "nothing is traced after SIGHUP; the log:\n{}",
            agent.log()
        );
    }
    agent.stop_well(bench).await?;
    let spans = collector.spans();
    let old = is_of(&before);
    ensure!(!spans.iter().any(&old), "filtered calls were traced");
    Ok(())
}
