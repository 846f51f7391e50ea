//! How many spans a second go from the kernel to a collector that only counts.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::process::Command;

use super::counter::Counter;
use super::figures::{Taken, as_f64};
use super::table::{Table, median};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::workload::Workload;

/// What a ring of 64 MiB certainly holds.
const HELD: u64 = 100_000;
/// Rates that are tried, in calls a second, the highest first.
const RATES: [u64; 8] = [
    800_000, 600_000, 400_000, 300_000, 200_000, 150_000, 100_000, 50_000,
];
/// That a DaemonSet's node may see all day.
const STEADY: u64 = 10_000;
const SECONDS: u64 = 10;

/// The rows about throughput.
pub(super) async fn of_agent(bench: &Bench, rounds: usize, table: &mut Table) -> Result<()> {
    table.section(&["to a collector that only counts", ""]);
    let (mut drained, mut bytes) = (Vec::new(), Vec::new());
    let mut steady = Vec::new();
    for round in 1..=rounds {
        eprintln!("throughput: round {round} of {rounds}");
        let (spans_a_second, bytes_a_span) = drain(bench).await?;
        drained.push(spans_a_second);
        bytes.push(bytes_a_span);
        steady.push(steadily(bench).await?);
    }
    let of = |value: fn(&Steady) -> f64| median(&steady.iter().map(value).collect::<Vec<_>>());
    let most = without_loss(bench, rounds).await?;
    for (what, value) in [
        (
            "from a full ring, agent on one CPU".to_owned(),
            format!("{:.0} spans/s", median(&drained)),
        ),
        (
            "bytes a span, uncompressed".to_owned(),
            format!("{:.0}", median(&bytes)),
        ),
        (
            "the highest rate tried that lost nothing, with the workload and the collector on the same CPUs".to_owned(),
            most.map_or("none".to_owned(), |rate| format!("{rate} spans/s")),
        ),
        (
            format!("at {STEADY} spans/s with gzip: CPU"),
            format!("{:.2} % of a core", of(|steady| steady.cpu_percent)),
        ),
        (
            format!("at {STEADY} spans/s with gzip: resident"),
            format!("{:.1} MiB", of(|steady| steady.rss_mib)),
        ),
    ] {
        table.row(vec![what, value]);
    }
    Ok(())
}

async fn start(bench: &Bench, counter: &Counter, ring: &str, compression: &str) -> Result<Agent> {
    let over = json!({
        "capture": {"ring_buffer_size": ring},
        "exporters": {"otlp": {"compression": compression}},
    });
    Agent::start(bench, agent::config(bench, &counter.endpoint(), over)).await
}

/// Fills the ring while the agent is stopped, and lets it go: spans a second, and bytes a span.
async fn drain(bench: &Bench) -> Result<(f64, f64)> {
    let counter = Counter::start().await?;
    let agent = start(bench, &counter, "64MiB", "none").await?;
    on_cpu(agent.pid()?, "0").await?;
    agent.pause()?;
    let flood = flood(bench, HELD, None)?;
    flood.run_untold(bench).await?;
    let began = Instant::now();
    agent.go_on()?;
    counter.wait_for(HELD, bench.bound(60)).await?;
    let took = began.elapsed().as_secs_f64();
    let bytes = as_f64(counter.bytes()) / as_f64(counter.spans());
    let balance = agent.stop_balanced(bench).await?;
    ensure!(balance.lost == 0, "{balance:?}");
    Ok((as_f64(HELD) / took, bytes))
}

/// The first of the rates at which no round loses a span.
async fn without_loss(bench: &Bench, rounds: usize) -> Result<Option<u64>> {
    'rates: for rate in RATES {
        for _ in 0..rounds {
            eprintln!("throughput: {rate} spans/s");
            let counter = Counter::start().await?;
            let agent = start(bench, &counter, "8MiB", "none").await?;
            let began = Instant::now();
            flood(bench, 2 * rate, Some(rate))?.run_untold(bench).await?;
            let too_slow = began.elapsed().as_secs_f64() > 2.1;
            let balance = agent.stop_balanced(bench).await?;
            if too_slow || balance.lost > 0 {
                continue 'rates;
            }
            ensure!(
                balance.exported == counter.spans(),
                "{} arrived: {balance:?}",
                counter.spans()
            );
        }
        return Ok(Some(rate));
    }
    Ok(None)
}

struct Steady {
    cpu_percent: f64,
    rss_mib: f64,
}

async fn steadily(bench: &Bench) -> Result<Steady> {
    let counter = Counter::start().await?;
    let agent = start(bench, &counter, "8MiB", "gzip").await?;
    let before = Taken::read(agent.pid()?)?;
    let began = Instant::now();
    flood(bench, SECONDS * STEADY, Some(STEADY))?
        .run_untold(bench)
        .await?;
    let after = Taken::read(agent.pid()?)?;
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(
        balance.lost == 0 && balance.exported == counter.spans(),
        "{} arrived: {balance:?}",
        counter.spans()
    );
    Ok(Steady {
        cpu_percent: (after.cpu_ms - before.cpu_ms) / took_ms * 100.0,
        rss_mib: after.rss_mib,
    })
}

fn flood(bench: &Bench, calls: u64, rate: Option<u64>) -> Result<Workload> {
    let mut args = vec!["flood".to_owned(), (calls / 2).to_string()];
    args.extend(rate.map(|rate| rate.to_string()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Workload::new(bench.workload()?, &args)
}

/// All threads of a process on this CPU.
async fn on_cpu(pid: u32, cpu: &str) -> Result<()> {
    let output = Command::new("taskset")
        .args(["-a", "-p", "-c", cpu, &pid.to_string()])
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "taskset: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
