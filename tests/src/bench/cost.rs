//! What one system call costs, with and without an observer.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::observer::{Observer, Tools};
use super::table::{Table, median, version};
use crate::Bench;
use crate::spawn::cannot_run;

/// The output of `mqwork flood` and `mqwork getppid`.
#[derive(Deserialize)]
struct Measured {
    calls: u64,
    ns_per_call: f64,
}

/// One row: the observer, and how many calls are made meanwhile.
struct Variant {
    what: String,
    watch: Watch,
    calls: u64,
}

enum Watch {
    Nobody,
    Floor,
    Mqspan(Value),
    Bpftrace,
    PerfTrace,
    /// The workload runs under strace.
    Strace,
}

impl Watch {
    fn is_rival(&self) -> bool {
        matches!(self, Watch::Bpftrace | Watch::PerfTrace | Watch::Strace)
    }
}

/// Few enough that all records fit in mqspan's ring buffer: what is measured is a call, not the
/// loss of one.
const MANY: u64 = 40_000;
/// For tools that take microseconds per call.
const FEW: u64 = 20_000;

fn variant(what: impl Into<String>, watch: Watch, calls: u64) -> Variant {
    Variant {
        what: what.into(),
        watch,
        calls,
    }
}

/// The rows about sends and receives in one thread.
pub(super) async fn of_mq_calls(
    bench: &Bench,
    tools: &Tools,
    rounds: usize,
    table: &mut Table,
) -> Result<()> {
    let mqspan = |what: &str, filter| {
        let what = format!("mqspan, {}, {what}", bench.backend.name());
        variant(what, Watch::Mqspan(filter), MANY)
    };
    let variants = [
        variant("nobody watches", Watch::Nobody, MANY),
        variant("floor: empty programs", Watch::Floor, MANY),
        mqspan("traced", json!({})),
        mqspan("left out by pid", json!({"exclude": {"pids": [1]}})),
        mqspan("left out by uid", json!({"exclude": {"uids": [0]}})),
        mqspan(
            "left out by comm",
            json!({"exclude": {"comms": ["mqwork*"]}}),
        ),
        mqspan(
            "left out by queue",
            json!({"exclude": {"queues": ["*.flood"]}}),
        ),
        variant(version("bpftrace").await?, Watch::Bpftrace, FEW),
        variant(version("perf").await? + " trace", Watch::PerfTrace, FEW),
        variant(version("strace").await? + " -T", Watch::Strace, FEW),
    ];
    table.section(&["a send or a receive", "ns a call", "added"]);
    measure(bench, tools, "flood", &variants, rounds, table).await
}

/// The rows about a system call that mqspan does not trace.
pub(super) async fn of_other_calls(
    bench: &Bench,
    tools: &Tools,
    rounds: usize,
    table: &mut Table,
) -> Result<()> {
    let what = format!("mqspan, {}", bench.backend.name());
    let variants = [
        variant("nobody watches", Watch::Nobody, MANY),
        variant("floor: empty programs", Watch::Floor, MANY),
        variant(what, Watch::Mqspan(json!({})), MANY),
    ];
    table.section(&["getppid()", "ns a call", "added"]);
    measure(bench, tools, "getppid", &variants, rounds, table).await
}

/// Measures all variants in turn, round after round.
async fn measure(
    bench: &Bench,
    tools: &Tools,
    scenario: &str,
    variants: &[Variant],
    rounds: usize,
    table: &mut Table,
) -> Result<()> {
    let mut samples = vec![Vec::new(); variants.len()];
    for round in 1..=rounds {
        eprintln!("{scenario}: round {round} of {rounds}");
        for (variant, samples) in variants.iter().zip(&mut samples) {
            match once(bench, tools, scenario, variant).await {
                Ok(ns) => samples.push(ns),
                // Debian 12's bpftrace needs CAP_SYS_RESOURCE, which not every machine grants.
                Err(error) if variant.watch.is_rival() => {
                    eprintln!("{}: left out of this round: {error:#}", variant.what);
                }
                Err(error) => return Err(error.context(variant.what.clone())),
            }
        }
    }
    let medians: Vec<f64> = samples.iter().map(|samples| median(samples)).collect();
    let alone = medians.first().copied().unwrap_or(f64::NAN);
    for (variant, ns) in variants.iter().zip(medians) {
        if ns.is_nan() {
            let cells = [variant.what.as_str(), "does not run here", ""];
            table.row(cells.map(str::to_owned).into());
            continue;
        }
        table.row(vec![
            variant.what.clone(),
            format!("{ns:.0}"),
            format!("{:+.0}", ns - alone),
        ]);
    }
    Ok(())
}

/// Runs under one observer, of which the fastest counts. Other machines share the core and slow it
/// down by half for a second or for an hour, during one variant more than during another.
const RUNS: usize = 20;
/// Pause between two runs, so that an observer finishes with the previous one.
const PAUSE: Duration = Duration::from_millis(100);

/// Gives the workload a CPU to itself, where no neighbour runs meanwhile.
const ALONE: [&str; 6] = ["chrt", "--fifo", "1", "taskset", "--cpu-list", "0"];

async fn once(bench: &Bench, tools: &Tools, scenario: &str, variant: &Variant) -> Result<f64> {
    let observer = match &variant.watch {
        Watch::Nobody | Watch::Strace => Observer::Nobody,
        Watch::Floor => Observer::floor(tools).await?,
        Watch::Mqspan(filter) => Observer::mqspan(bench, filter.clone()).await?,
        Watch::Bpftrace => Observer::bpftrace(bench, tools).await?,
        Watch::PerfTrace => Observer::perf_trace(bench).await?,
    };
    let workload = bench.workload()?.display().to_string();
    let iterations = (variant.calls / 2).to_string();
    let mut line: Vec<String> = ALONE.map(str::to_owned).into();
    if matches!(variant.watch, Watch::Strace) {
        line.extend(["strace", "-f", "-T", "-o", "/dev/null"].map(str::to_owned));
    }
    line.extend([workload, scenario.to_owned(), iterations]);
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        tokio::time::sleep(PAUSE).await;
        least = least.min(run(&line).await?);
    }
    observer.stop(bench).await?;
    Ok(least)
}

async fn run(line: &[String]) -> Result<f64> {
    let (program, args) = line.split_first().context("no program")?;
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(cannot_run(program))?;
    ensure!(
        output.status.success(),
        "{line:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let measured: Measured = serde_json::from_slice(&output.stdout)?;
    ensure!(measured.calls > 0, "no calls were made");
    Ok(measured.ns_per_call)
}
