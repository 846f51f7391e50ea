//! Someone sets the clock while the agent runs. Only for a machine of the tests' own, such as a
//! test kernel.

use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::span::attributes;
use tempfile::TempDir;

use super::identity::in_namespace;
use super::{Case, case, comparison, defaults, run_and_compare};
use crate::Bench;
use crate::agent::Agent;
use crate::compare::is_of;
use crate::expect::{CLOCK_TOLERANCE_NS, Want};
use crate::spawn::cannot_run;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("clock_step", clock_step),
        case!("clock_step_in_a_call", clock_step_in_a_call),
        case!("time_namespace", time_namespace),
    ]
}

/// In a time namespace, where the agent's boot clock is not the kernel's, times are still correct.
async fn time_namespace(bench: &'static Bench) -> Result<()> {
    let scripts = TempDir::with_prefix("mqspan-e2e")?;
    let inside = in_namespace(bench, "time-namespace", scripts.path())?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(&inside, &collector, defaults()).await?;
    let workload = Workload::new(bench.workload()?, &["waits"])?;
    run_and_compare(bench, &workload, &collector, agent).await
}

/// Logged when the agent notices that the clock was set.
pub(super) const CLOCK_WAS_SET: &str = "the clock was set";

pub(super) fn unix_seconds() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

pub(super) fn set_clock(unix_seconds: i64) -> Result<()> {
    let status = Command::new("date")
        .arg("-s")
        .arg(format!("@{unix_seconds}"))
        .output()
        .map_err(cannot_run("date"))?
        .status;
    ensure!(status.success(), "date -s ended with {status}");
    Ok(())
}

/// Spans before a clock step, after a step forward and after a step back all have the workload's
/// times.
async fn clock_step(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    for (step_seconds, steps) in [(0, 0), (7200, 1), (-10_000, 2)] {
        if step_seconds != 0 {
            set_clock(unix_seconds()? + step_seconds)?;
            // The kernel wakes the agent, which then still needs a CPU.
            agent
                .wait_for_logs(CLOCK_WAS_SET, steps, bench.bound(30))
                .await?;
        }
        let workload = Workload::new(bench.workload()?, &["paced", "50"])?;
        let calls = workload.run(bench).await?;
        collector
            .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
            .await?;
        comparison(bench, &workload)
            .check(&calls, &collector.spans())
            .with_context(|| format!("after a step of {step_seconds} s"))?;
    }
    agent.stop_well(bench).await
}

/// A receive that blocks while the clock is set has its real duration and the size of the step.
async fn clock_step_in_a_call(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    for (step_seconds, steps) in [(7200_i32, 1), (-7200, 2)] {
        let workload = Workload::new(bench.workload()?, &["blocked", "4", "hold"])?;
        let begun = Instant::now();
        let held = workload.hold(bench).await?;
        set_clock(unix_seconds()? + i64::from(step_seconds))?;
        agent
            .wait_for_logs(CLOCK_WAS_SET, steps, bench.bound(30))
            .await?;
        held.release(bench).await?;
        let longest_ns = u64::try_from(begun.elapsed().as_nanos())?;
        let calls = workload.truth()?;
        collector
            .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
            .await?;
        let spans = collector.spans();
        for call in calls.iter().filter(|call| call.is_receive()) {
            let traced = spans.iter().find(|traced| {
                traced.tid() == Some(call.tid) && traced.span.name.starts_with(&call.op)
            });
            let span = &traced.context("no span of a receive")?.span;
            let begins = i64::try_from(span.start_time_unix_nano)?;
            let lasts = span
                .end_time_unix_nano
                .checked_sub(span.start_time_unix_nano);
            let (attributes, _) = attributes(&span.attributes);
            let step = attributes.get("posix_mq.clock_step");
            let wanted = f64::from(step_seconds);
            ensure!(
                // The thread can lose the CPU between reading the clock and making the call.
                begins > call.realtime_start_ns - CLOCK_TOLERANCE_NS
                    && begins.abs_diff(call.realtime_start_ns) < longest_ns
                    && lasts.is_some_and(|lasts| lasts <= longest_ns)
                    && step.is_some_and(|step| {
                        Want::Between(wanted - 2.0, wanted + 2.0).accepts(step)
                    }),
                "after a step of {step_seconds} s: {span:?}, {call:?}"
            );
        }
    }
    agent.stop_well(bench).await
}
