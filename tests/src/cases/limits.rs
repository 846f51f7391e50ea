//! What has only limited room: records of threads, names in a full ring, the ring itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::free_address;
use mqspan_testkit::span::{Traced, Value};
use serde_json::json;

use super::{Case, case};
use crate::Bench;
use crate::agent::Agent;
use crate::attack::Attack;
use crate::bpf_map::BpfMap;
use crate::cgroup::ContainerGroups;
use crate::compare::is_of;
use crate::scrape::{sum, wait_for_metrics};
use crate::workload::Workload;

/// The user that fills the room.
const USER: u32 = 65_000;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("limits_threads", threads_limit),
        case!("limits_lost_names", lost_names),
        case!("limits_payload_after_idle", payload_after_idle),
        case!("limits_messages", messages),
        case!("limits_processes", processes),
        case!("limits_kretprobes", kretprobes),
        case!("limits_cgroups", cgroups),
        case!("limits_children", children),
    ]
}

/// Threads that have called and stay take up the room. The calls of others count as lost, on every
/// kernel.
async fn threads_limit(bench: &'static Bench) -> Result<()> {
    const LIMIT: u32 = 256;
    const CALLERS: u32 = 1000;
    let collector = Collector::start()?;
    let config = json!({"capture": {"max_in_flight": LIMIT}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let attack = Attack::new("threads-many", 1).with_count(CALLERS);
    let made = attack.run_for(bench, USER, 1).await?;
    let may_miss = agent.may_miss();
    let balance = agent.stop_balanced(bench).await?;
    ensure!(
        balance.lost_by("in_flight_full") >= u64::from(CALLERS - LIMIT),
        "{CALLERS} threads called and stayed, {LIMIT} have room: {balance:?}"
    );
    ensure!(
        may_miss || balance.seen >= made,
        "{made} calls were made: {balance:?}"
    );
    Ok(())
}

/// With more queue names than there is room for, lost in a ring of one page, the room is given
/// back, and later losses count under the names of their own queues.
async fn lost_names(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    collector.keep_only(|_| false);
    let prometheus = free_address()?;
    let config = json!({
        "capture": {"ring_buffer_size": "4KiB"},
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let names = Attack::new("flood-unlink", 1).with_count(1200);
    agent.pause()?;
    names.run_for(bench, USER, 1).await?;
    agent.go_on()?;
    // The room may be given back only a while after it was read.
    let give_up = Instant::now() + bench.bound(30);
    // The kernel's two tables take turns. The third loss is in the first table again, which counts
    // it once.
    let mut counted = Vec::new();
    while counted.len() < 3 {
        match lose_on_own_queue(bench, &agent, prometheus).await {
            Ok(queue) => counted.push(queue),
            Err(short) => ensure!(Instant::now() < give_up, "{short}"),
        }
    }
    wait_for_pairs(bench, prometheus, &counted).await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(balance.lost > 1200, "little was lost: {balance:?}");
    Ok(())
}

const LOST_PAIRS: f64 = 1000.0;

/// Makes sends and receives that are nearly all lost and must still be counted. Returns the label
/// of their queue.
async fn lose_on_own_queue(bench: &Bench, agent: &Agent, prometheus: SocketAddr) -> Result<String> {
    let flood = Workload::new(bench.workload()?, &["flood", &LOST_PAIRS.to_string()])?;
    agent.pause()?;
    flood.run_untold(bench).await?;
    agent.go_on()?;
    let queue = format!("messaging_destination_name=\"{}.flood\"", flood.prefix());
    wait_for_pairs(bench, prometheus, std::slice::from_ref(&queue)).await?;
    Ok(queue)
}

/// Waits until the lost pairs of each of these queues count.
async fn wait_for_pairs(bench: &Bench, prometheus: SocketAddr, queues: &[String]) -> Result<()> {
    let wrong = |text: &str| {
        let mut counts = queues.iter().map(|queue| all_pairs_count(text, queue));
        counts.find_map(Result::err)
    };
    let counted = wait_for_metrics(bench, prometheus, 5, wrong).await;
    // Only the first line: all metrics of 1,200 queues follow it.
    counted.map_err(|error| anyhow!(first_line(&error.to_string())))
}

/// Checks that each lost pair counts once under its queue. The error says what counts instead.
fn all_pairs_count(metrics: &str, queue: &str) -> Result<(), String> {
    let counts = [
        "messaging_client_sent_messages_total",
        "messaging_client_consumed_messages_total",
    ]
    .map(|name| sum(metrics, name, &[queue]));
    if counts == [LOST_PAIRS; 2] {
        return Ok(());
    }
    Err(format!("{counts:?} of {LOST_PAIRS} count under {queue}"))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Payloads make records longer but wake the agent no later: a burst after a pause loses nothing.
async fn payload_after_idle(bench: &'static Bench) -> Result<()> {
    const CALLS: u64 = 40_002;
    // Other programs may keep the agent off its CPU for longer than the buffer lasts, but not each
    // time.
    const TRIES: u32 = 3;
    let mut losses = Vec::new();
    for _ in 0..TRIES {
        let collector = Collector::start()?;
        let payload = json!({"capture": {"payload": {"enabled": true}}});
        let agent = Agent::sending_to(bench, &collector, payload).await?;
        let burst = Workload::new(bench.workload()?, &["flood", "20000"])?;
        // The agent polls less and less often while nothing comes.
        tokio::time::sleep(Duration::from_secs(1)).await;
        burst.run_untold(bench).await?;
        let may_miss = agent.may_miss();
        let balance = agent.stop_balanced(bench).await?;
        ensure!(
            balance.seen >= CALLS,
            "{CALLS} calls were made: {balance:?}"
        );
        // An emulated machine cannot send this many before the deadline of a shutdown.
        let lost = balance.lost - balance.lost_by("shutdown");
        if lost == 0 || may_miss {
            return Ok(());
        }
        losses.push(balance);
    }
    bail!("of {CALLS} calls some were lost each time: {losses:?}")
}

/// With more messages in queues than are followed, the receives of the others have no parent, and
/// that is counted.
async fn messages(bench: &'static Bench) -> Result<()> {
    const FOLLOWED: u32 = 65_536;
    const MESSAGES: u32 = FOLLOWED + 4_464;
    let collector = Collector::start()?;
    collector.keep_only(|_| false);
    let prometheus = free_address()?;
    let config = json!({
        "capture": {"ring_buffer_size": "64MiB"},
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let attack = Attack::new("messages-many", 1).with_count(MESSAGES);
    attack.run_for(bench, 0, 1).await?;
    let wrong = |text: &str| {
        let lost = sum(
            text,
            "mqspan_identity_lost_total",
            &["mqspan_identity_loss=\"message\""],
        );
        // A send that was not seen makes a message that is not followed and not counted here.
        (lost < f64::from(MESSAGES - FOLLOWED) * 0.9 || lost > f64::from(MESSAGES - FOLLOWED))
            .then(|| format!("{lost} of {MESSAGES} messages found no room for {FOLLOWED}"))
    };
    wait_for_metrics(bench, prometheus, 10, wrong).await?;
    agent.stop_balanced(bench).await?;
    Ok(())
}

/// With more processes making calls than the kernel and the agent remember, one of the first is
/// recognized when it calls again.
async fn processes(bench: &'static Bench) -> Result<()> {
    /// By the kernel. The agent remembers half as many.
    const REMEMBERED: u64 = 16_384;
    const NAME: &str = "here-from-the-start";
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, json!({})).await?;
    let steady = Workload::new(bench.beside_workload("steady")?, &["20"])?
        .with_variable("OTEL_SERVICE_NAME", NAME);
    let held = steady.hold_once(bench, "steady").await?;
    let pid = i64::from(held.pid()?);
    let its = move |traced: &Traced| traced.pid().or_else(|| traced.tid()) == Some(pid);
    collector.keep_only(its);
    let mut made = 0;
    while made < 2 * REMEMBERED {
        made += Attack::new("flood-forks", 4)
            .run_for(bench, USER, 1)
            .await?;
    }
    held.release(bench).await?;
    let calls = steady.truth()?.len();
    collector
        .wait_for_spans(calls, bench.bound(30), |_| true)
        .await?;
    let named = collector.spans_that(|traced| {
        let name = traced.origin.resource.get("service.name");
        matches!(name, Some(Value::Str(text)) if text == NAME)
    });
    ensure!(
        named.len() == calls,
        "{} of {calls} spans have the process's name after {made} processes",
        named.len()
    );
    agent.stop_balanced(bench).await?;
    Ok(())
}

/// With more threads in calls than the kernel has return probes, returns that go unseen are
/// counted, and nobody who then sleeps elsewhere counts as blocked.
async fn kretprobes(bench: &'static Bench) -> Result<()> {
    const THREADS: u32 = 4_400;
    let collector = Collector::start()?;
    collector.keep_only(|_| false);
    let prometheus = free_address()?;
    let config = json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let scenario = ["blocked", &THREADS.to_string(), "stay"];
    let workload = Workload::new(bench.workload()?, &scenario)?.with_user(USER)?;
    let mut held = workload.hold(bench).await?;
    let queue = format!("\"{}.blocked\"", workload.prefix());
    let callers = |text: &str| sum(text, "posix_mq_blocked_caller_count", &[&queue]);
    wait_for_metrics(bench, prometheus, 10, |text| {
        (callers(text) == 0.0).then(|| "no caller is blocked".to_owned())
    })
    .await?;
    held.step(bench, "released").await?;
    let unlimited = kernel_version()? >= (6, 14);
    let wrong = |text: &str| {
        let missed = sum(text, "mqspan_probe_missed_total", &[]);
        let lost = sum(
            text,
            "mqspan_call_count_total",
            &["mqspan_loss_reason=\"return_missed\""],
        );
        let right = if unlimited { lost == 0.0 } else { missed > 0.0 };
        let blocked = callers(text);
        (!right || blocked > 0.0)
            .then(|| format!("{missed} returns missed, {lost} lost, {blocked} seem to be blocked"))
    };
    wait_for_metrics(bench, prometheus, 10, wrong).await?;
    held.release(bench).await?;
    agent.stop_balanced(bench).await?;
    Ok(())
}

pub(super) fn kernel_version() -> Result<(u32, u32)> {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = text.split(['.', '-']).map_while(|part| part.parse().ok());
    numbers
        .next()
        .zip(numbers.next())
        .ok_or_else(|| anyhow!("no version: {text}"))
}

/// With more control groups than the kernel remembers verdicts on, calls from all of them are
/// judged correctly.
async fn cgroups(bench: &'static Bench) -> Result<()> {
    const REMEMBERED: u32 = 4_096;
    const GROUPS: u32 = REMEMBERED + 404;
    let attack = Attack::new("cgroups", 1).with_count(GROUPS);
    for (way, wanted) in [("include", GROUPS as usize), ("exclude", 0)] {
        let groups = ContainerGroups::new()?;
        let collector = Collector::start()?;
        let config = json!({
            "filter": {way: {"containers": [&groups.id]}},
            "capture": {"ring_buffer_size": "64MiB"},
        });
        let agent = Agent::sending_to(bench, &collector, config).await?;
        let made = attack.run_in(bench, 0, 1, &groups.paths).await?;
        ensure!(
            made == u64::from(GROUPS),
            "{made} calls were made, not one from each of {GROUPS} groups"
        );
        // Its calls come after all others in the ring.
        let last = Workload::new(bench.workload()?, &["paced", "1"])?;
        let in_container = |traced: &Traced| {
            traced.origin.resource.get("container.id") == Some(&Value::from(groups.id.as_str()))
        };
        if wanted == 0 {
            let calls = last.run(bench).await?;
            collector
                .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
                .await?;
        } else {
            collector
                .wait_for_spans(wanted, bench.bound(30), in_container)
                .await?;
        }
        let balance = agent.stop_balanced(bench).await?;
        let traced = collector.spans_that(in_container).len();
        ensure!(
            traced == wanted && balance.seen >= made,
            "{way}: {traced} of {made} calls have spans, not {wanted}: {balance:?}"
        );
    }
    Ok(())
}

/// When the kernel's table of processes that a filter names is full, here of ids that no process
/// has, a child born into such a family is treated as if it were not named, and is counted.
async fn children(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let prometheus = free_address()?;
    let config = json!({
        "filter": {"include": {"pids": [std::process::id()]}},
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let pids = BpfMap::of(agent.pid()?, "pids")?;
    for (is_full, wanted) in [(false, true), (true, false), (false, true)] {
        if is_full {
            pids.fill(&[1])?;
        } else {
            pids.remove_filling()?;
        }
        let calls = Workload::new(bench.workload()?, &["paced", "1"])?
            .run(bench)
            .await?;
        let ours = is_of(&calls);
        if wanted {
            collector
                .wait_for_spans(calls.len(), bench.bound(30), &ours)
                .await?;
        }
        let traced = collector.spans_that(&ours).len();
        ensure!(
            traced == if wanted { calls.len() } else { 0 },
            "the table is full: {is_full}, and {traced} of {} calls have spans",
            calls.len()
        );
    }
    let wrong = |text: &str| {
        let lost = sum(
            text,
            "mqspan_identity_lost_total",
            &["mqspan_identity_loss=\"child\""],
        );
        (lost == 0.0).then(|| "no child is told as lost".to_owned())
    };
    wait_for_metrics(bench, prometheus, 10, wrong).await?;
    agent.stop_balanced(bench).await?;
    Ok(())
}
