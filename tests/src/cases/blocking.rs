//! Calls that wait: many at once, interrupted, killed, on a closed queue, or from before the start.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use futures_util::future::try_join;
use mqspan_testkit::collector::Collector;
use mqspan_testkit::span::{Traced, attributes};
use rustix::process::Signal;

use super::{Case, case, comparison, defaults, run_and_compare, scenario};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::balance::Balance;
use crate::compare::is_of;
use crate::signal;
use crate::truth::Call;
use crate::workload::{Held, Workload};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("blocked_1000_64", |b| blocked_1000(b, b.workload())),
        case!("blocked_1000_32", |b| blocked_1000(b, b.workload32())),
        scenario("interrupted_64", 64, &["interrupted"]),
        scenario("interrupted_32", 32, &["interrupted"]),
        scenario("interrupted_jumped_64", 64, &["jumped"]),
        scenario("interrupted_jumped_32", 32, &["jumped"]),
        case!("blocked_arriving_64", |b| arriving(b, b.workload())),
        case!("blocked_arriving_32", |b| arriving(b, b.workload32())),
        scenario("killed_64", 64, &["killed"]),
        scenario("killed_32", 32, &["killed"]),
        scenario("exec_64", 64, &["exec"]),
        scenario("exec_32", 32, &["exec"]),
        scenario("closed_64", 64, &["closed"]),
        scenario("closed_32", 32, &["closed"]),
        case!("blocked_before_attach_64", |b| blocked_before_attach(
            b,
            b.workload()
        )),
        case!("blocked_before_attach_32", |b| blocked_before_attach(
            b,
            b.workload32()
        )),
        case!("stopped_before_attach_64", |b| stopped_before_attach(
            b,
            b.workload()
        )),
        case!("stopped_before_attach_32", |b| stopped_before_attach(
            b,
            b.workload32()
        )),
        case!("detached_while_blocked_64", |b| detached_while_blocked(
            b,
            b.workload()
        )),
        case!("detached_while_blocked_32", |b| detached_while_blocked(
            b,
            b.workload32()
        )),
    ]
}

/// A thousand callers that block and are released at once all become spans. On a kernel that
/// preempts them inside the call, some backends may miss a few, as they say at the start. Then the
/// tally must still add up.
async fn blocked_1000(bench: &'static Bench, program: Result<PathBuf>) -> Result<()> {
    let workload = Workload::new(program?, &["blocked", "1000"])?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    if !agent.may_miss() {
        return run_and_compare(bench, &workload, &collector, agent).await;
    }
    let calls = workload.run(bench).await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure_nearly_all(bench, &balance, calls.len())
}

/// Checks that at most one call in twenty was missed, and that each missed call is counted.
fn ensure_nearly_all(bench: &Bench, balance: &Balance, calls: usize) -> Result<()> {
    let calls = u64::try_from(calls)?;
    // On a shared machine, other programs may make calls too.
    let all_seen = balance.seen == calls || !bench.own_machine && balance.seen > calls;
    ensure!(
        all_seen && balance.exported >= calls * 95 / 100,
        "{calls} calls were made: {balance:?}"
    );
    Ok(())
}

fn now_ns() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_nanos())?)
}

/// The calls as seen by an agent that started when some were already waiting.
fn seen_from(mut calls: Vec<Call>, starting_ns: i64, ready_ns: i64) -> Vec<Call> {
    calls.retain(|call| call.realtime_end_ns > ready_ns);
    for call in &mut calls {
        if call.realtime_start_ns < starting_ns {
            call.start_unknown = true;
            call.realtime_start_ns = starting_ns;
        }
    }
    calls
}

/// Calls that were waiting when the agent started are traced from then on, and say so.
async fn blocked_before_attach(bench: &'static Bench, program: Result<PathBuf>) -> Result<()> {
    let workload = Workload::new(program?, &["blocked", "1000", "hold"])?;
    let held = workload.hold(bench).await?;
    check_late_agent(bench, &workload, held).await
}

/// Starts an agent while callers are blocked, releases them, and compares.
async fn check_late_agent(bench: &Bench, workload: &Workload, held: Held) -> Result<()> {
    let collector = Collector::start()?;
    let starting_ns = now_ns()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let ready_ns = now_ns()?;
    held.release(bench).await?;

    let calls = seen_from(workload.truth()?, starting_ns, ready_ns);
    ensure!(
        calls.iter().any(|call| call.start_unknown),
        "no call was blocked when the agent came"
    );
    if agent.may_miss() {
        let balance = agent.stop_balanced(bench).await?;
        if balance.lost > 0 {
            return ensure_nearly_all(bench, &balance, calls.len());
        }
    } else {
        collector
            .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
            .await?;
        agent.stop_well(bench).await?;
    }
    comparison(bench, workload).check(&calls, &collector.spans())
}

/// An agent that stops while calls are blocked leaves them alone and reports them as pending. The
/// next agent takes them over.
async fn detached_while_blocked(bench: &'static Bench, program: Result<PathBuf>) -> Result<()> {
    const BLOCKED: u64 = 100;
    let workload = Workload::new(program?, &["blocked", "100", "hold"])?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let held = workload.hold(bench).await?;
    let balance = agent.stop_balanced(bench).await?;
    // Other programs on this machine may be blocked too.
    ensure!(
        balance.pending >= BLOCKED && balance.lost == 0,
        "{BLOCKED} calls are blocked: {balance:?}"
    );
    check_late_agent(bench, &workload, held).await
}

/// Callers block one after another while an agent attaches its programs one by one, and every one
/// returns to the agent.
async fn arriving(bench: &'static Bench, program: Result<PathBuf>) -> Result<()> {
    const CALLERS: usize = 500;
    let apart = (4 * bench.slow_factor).to_string();
    let workload = Workload::new(program?, &["arriving", &CALLERS.to_string(), &apart])?;
    let collector = Collector::start()?;
    let config = agent::config(bench, &collector.endpoint(), defaults());
    let (held, agent) = try_join(workload.hold(bench), Agent::start(bench, config)).await?;
    held.release(bench).await?;
    let receives = |traced: &Traced| {
        traced.span.name.starts_with("mq_timedreceive")
            && traced.span.name.contains(workload.prefix())
    };
    let may_miss = agent.may_miss();
    let balance = agent.stop_balanced(bench).await?;
    let (seen, missed) = (collector.spans_that(receives).len(), balance.lost);
    ensure!(
        seen == CALLERS && missed == 0 || may_miss && seen * 100 >= CALLERS * 95,
        "{seen} of {CALLERS} receives returned to the agent: {balance:?}"
    );
    Ok(())
}

/// Calls whose threads were stopped in their waits when the agent started are all found, continue
/// as restarts, and none is lost.
async fn stopped_before_attach(bench: &'static Bench, program: Result<PathBuf>) -> Result<()> {
    const BLOCKED: usize = 20;
    let workload = Workload::new(program?, &["blocked", "20", "hold"])?;
    let held = workload.hold(bench).await?;
    signal::send(held.pid()?, Signal::STOP)?;
    wait_until_stopped(bench, held.pid()?).await?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    signal::send(held.pid()?, Signal::CONT)?;
    held.release(bench).await?;
    let receives = |traced: &Traced| {
        let (attributes, _) = attributes(&traced.span.attributes);
        traced.span.name.starts_with("mq_timedreceive")
            && traced.span.name.contains(workload.prefix())
            && attributes.contains_key("posix_mq.restarted")
    };
    let may_miss = agent.may_miss();
    let balance = agent.stop_balanced(bench).await?;
    let restarted = collector.spans_that(receives).len();
    let missed = balance.lost_by("return_missed");
    ensure!(
        missed == 0 && restarted == BLOCKED || may_miss && balance.lost > 0,
        "{restarted} of {BLOCKED} receives were restarted: {balance:?}"
    );
    Ok(())
}

async fn wait_until_stopped(bench: &Bench, pid: u32) -> Result<()> {
    let give_up = tokio::time::Instant::now() + bench.bound(10);
    loop {
        let mut states = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let stat = std::fs::read_to_string(task?.path().join("stat"))?;
            states.push(
                stat.rsplit(") ")
                    .next()
                    .and_then(|rest| rest.chars().next()),
            );
        }
        if states.iter().all(|state| *state == Some('T')) {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < give_up,
            "threads are not stopped: {states:?}"
        );
        tokio::time::sleep(agent::POLL).await;
    }
}
