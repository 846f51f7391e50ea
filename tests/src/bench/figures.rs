//! What the agent itself takes up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::table::{Table, median};
use crate::Bench;
use crate::agent::{self, Agent};

const IDLE: Duration = Duration::from_secs(10);

/// The rows about the size of the program, its start-up time, and what it takes up while no calls
/// are made.
pub(super) async fn of_agent(bench: &Bench, rounds: usize, table: &mut Table) -> Result<()> {
    let size = std::fs::metadata(&bench.agent)?.len();
    let mut starts = Vec::new();
    let mut idle = Vec::new();
    for round in 1..=rounds {
        eprintln!("the agent by itself: round {round} of {rounds}");
        let config = agent::config(bench, "http://127.0.0.1:1", json!({}));
        let began = Instant::now();
        let agent = Agent::start(bench, config).await?;
        starts.push(began.elapsed().as_secs_f64() * 1e3);
        let before = Taken::read(agent.pid()?)?;
        tokio::time::sleep(IDLE).await;
        let after = Taken::read(agent.pid()?)?;
        idle.push((after.cpu_ms - before.cpu_ms, after));
        agent.stop_balanced(bench).await?;
    }
    let of = |value: fn(&(f64, Taken)) -> f64| median(&idle.iter().map(value).collect::<Vec<_>>());
    table.section(&["the agent", ""]);
    for (what, value) in [
        ("binary", format!("{:.1} MB", as_f64(size) / 1e6)),
        (
            "start until it traces",
            format!("{:.0} ms", median(&starts)),
        ),
        (
            "CPU while idle",
            format!(
                "{:.2} % of a core",
                of(|(cpu_ms, _)| *cpu_ms) / IDLE.as_secs_f64() / 10.0
            ),
        ),
        (
            "resident while idle",
            format!("{:.1} MiB", of(|(_, taken)| taken.rss_mib)),
        ),
        (
            "of which its own memory, not the ring or the program",
            format!("{:.1} MiB", of(|(_, taken)| taken.anonymous_mib)),
        ),
    ] {
        table.row(vec![what.to_owned(), value]);
    }
    Ok(())
}

/// What a process has used so far.
pub(super) struct Taken {
    pub(super) cpu_ms: f64,
    pub(super) rss_mib: f64,
    pub(super) peak_mib: f64,
    anonymous_mib: f64,
}

impl Taken {
    /// Reads proc(5). `schedstat` of each thread counts nanoseconds, while `stat` counts hundredths
    /// of a second.
    pub(super) fn read(pid: u32) -> Result<Taken> {
        let mut cpu_ns = 0_u64;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let ns = text.split_whitespace().next().unwrap_or_default();
            cpu_ns += ns.parse::<u64>().context("schedstat")?;
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            let number = number.with_context(|| format!("no {name} in the status"))?;
            Ok(number.parse::<f64>()?)
        };
        Ok(Taken {
            cpu_ms: as_f64(cpu_ns) / 1e6,
            rss_mib: kib("VmRSS:")? / 1024.0,
            peak_mib: kib("VmHWM:")? / 1024.0,
            anonymous_mib: kib("RssAnon:")? / 1024.0,
        })
    }
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}
