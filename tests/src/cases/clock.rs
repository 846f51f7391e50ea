//! Somebody sets the clock while the agent runs. Only for a machine of one's own, such as a test kernel.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::{Case, case, comparison, defaults};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::sink::Sink;
use crate::spawn::cannot_run;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![case!("clock_step", clock_step)]
}

fn unix_seconds() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

fn set_clock(unix_seconds: i64) -> Result<()> {
    let status = Command::new("date")
        .arg("-s")
        .arg(format!("@{unix_seconds}"))
        .output()
        .map_err(cannot_run("date"))?
        .status;
    ensure!(status.success(), "date -s ended with {status}");
    Ok(())
}

/// Spans before, after a step forward, and after a step back all have the time that the workload had.
async fn clock_step(bench: &'static Bench) -> Result<()> {
    let sink = Sink::start().await?;
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), defaults())).await?;
    for (step_seconds, steps) in [(0, 0), (7200, 1), (-10_000, 2)] {
        if step_seconds != 0 {
            set_clock(unix_seconds()? + step_seconds)?;
            // The kernel wakes the agent, which needs a CPU for it.
            agent
                .wait_for_logs("the clock was set", steps, bench.bound(30))
                .await?;
        }
        let workload = Workload::new(bench.workload()?, &["paced", "50"])?;
        let calls = workload.run(bench).await?;
        sink.wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
            .await?;
        comparison(bench, &workload)
            .check(&calls, &sink.spans())
            .with_context(|| format!("after a step of {step_seconds} s"))?;
    }
    agent.stop_well(bench).await
}
