//! Spans per second from the kernel to a collector that only counts.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::process::Command;

use super::counter::Counter;
use super::figures::{Taken, as_f64};
use super::forwarder::{Forwarder, KINDS, Kind};
use super::observer::run;
use super::table::{Table, median};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::spawn::cannot_run;
use crate::workload::Workload;

/// Number of calls that a ring of 128 MiB certainly holds.
const HELD: u64 = 400_000;
/// Number of spans to wait for. The last ones wait for others to fill their request.
const TIMED: u64 = HELD / 100 * 95;
/// Rates to try, in calls per second, highest first.
const RATES: [u64; 10] = [
    1_200_000, 1_000_000, 800_000, 600_000, 400_000, 300_000, 200_000, 150_000, 100_000, 50_000,
];
/// A rate that a DaemonSet's node may see all day, in calls per second.
pub(super) const STEADY: u64 = 10_000;
const SECONDS: u64 = 10;

/// The rows about throughput.
pub(super) async fn of_agent(
    bench: &Bench,
    rivals: &Path,
    rounds: usize,
    table: &mut Table,
) -> Result<()> {
    let mut drained = Vec::new();
    let mut by_sdk = Vec::new();
    let mut steady = Vec::new();
    let mut of_rivals = KINDS.map(|_| Vec::new());
    for round in 1..=rounds {
        eprintln!("throughput: round {round} of {rounds}");
        drained.push(drain(bench).await?);
        by_sdk.push(sdk(bench, rivals).await?);
        steady.push(steadily(bench, None).await?);
        for (kind, steady) in KINDS.into_iter().zip(&mut of_rivals) {
            let taken = steadily(bench, Some((rivals, kind))).await;
            steady.push(taken.with_context(|| kind.name())?);
        }
    }
    let most = without_loss(bench, rounds).await?;
    table.section(&[
        "sender on one CPU, to a collector that only counts",
        "spans/s",
        "CPU a span",
        "bytes a span",
    ]);
    for (name, drained) in [
        ("mqspan, from a full ring", drained),
        ("OpenTelemetry SDK 0.33, from span_builder()", by_sdk),
    ] {
        let of =
            |value: fn(&Drained) -> f64| median(&drained.iter().map(value).collect::<Vec<_>>());
        table.row(vec![
            name.to_owned(),
            format!("{:.0}", of(|drained| drained.spans_a_second)),
            format!("{:.0} ns", of(|drained| drained.cpu_ns_a_span)),
            format!("{:.0}", of(|drained| drained.bytes_a_span)),
        ]);
    }
    table.section(&["workload, agent and collector on all CPUs", ""]);
    table.row(vec![
        "the highest rate tried that lost nothing".to_owned(),
        most.map_or("none".to_owned(), |rate| format!("{rate} spans/s")),
    ]);
    table.section(&[
        &format!("{STEADY} spans/s passed on with gzip"),
        "CPU",
        "resident",
    ]);
    let names = std::iter::once("mqspan, from the kernel on").chain(KINDS.map(Kind::name));
    for (name, steady) in names.zip(std::iter::once(steady).chain(of_rivals)) {
        let of = |value: fn(&Steady) -> f64| median(&steady.iter().map(value).collect::<Vec<_>>());
        table.row(vec![
            name.to_owned(),
            format!("{:.2} % of a core", of(|steady| steady.cpu_percent)),
            format!("{:.1} MiB", of(|steady| steady.rss_mib)),
        ]);
    }
    Ok(())
}

async fn start(bench: &Bench, endpoint: &str, ring: &str, compression: &str) -> Result<Agent> {
    let over = json!({
        "capture": {"ring_buffer_size": ring},
        "exporters": {"otlp": {"compression": compression}},
    });
    Agent::start(bench, agent::config(bench, endpoint, over)).await
}

/// What it took to send spans that were already there.
struct Drained {
    spans_a_second: f64,
    cpu_ns_a_span: f64,
    bytes_a_span: f64,
}

/// Fills the ring while the agent is stopped, then lets the agent go on.
async fn drain(bench: &Bench) -> Result<Drained> {
    let counter = Counter::start().await?;
    let agent = start(bench, &counter.endpoint(), "128MiB", "none").await?;
    on_cpu(agent.pid()?, "0").await?;
    agent.pause()?;
    flood(bench, HELD, None)?.run_untold(bench).await?;
    let before = Taken::read(agent.pid()?)?;
    let began = Instant::now();
    agent.go_on()?;
    counter.wait_for(TIMED, bench.bound(60)).await?;
    let (took, spans) = (began.elapsed().as_secs_f64(), counter.spans());
    let after = Taken::read(agent.pid()?)?;
    let bytes_a_span = as_f64(counter.bytes()) / as_f64(counter.spans());
    let balance = agent.stop_balanced(bench).await?;
    ensure!(balance.lost == 0, "{balance:?}");
    Ok(Drained {
        spans_a_second: as_f64(spans) / took,
        cpu_ns_a_span: (after.cpu_ms - before.cpu_ms) * 1e6 / as_f64(spans),
        bytes_a_span,
    })
}

/// The OpenTelemetry SDK's path from a span to the same collector, on the same CPU.
async fn sdk(bench: &Bench, rivals: &Path) -> Result<Drained> {
    let counter = Counter::start().await?;
    let began = Instant::now();
    let mut child = Command::new("taskset")
        .args(["-c", "0"])
        .arg(rivals.join("sdk-path"))
        .args([counter.endpoint(), HELD.to_string()])
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot_run("taskset"))?;
    let pid = child.id().context("it has ended")?;
    counter.wait_for(TIMED, bench.bound(60)).await?;
    let (took, spans) = (began.elapsed().as_secs_f64(), counter.spans());
    let taken = Taken::read(pid)?;
    counter.wait_for(HELD, bench.bound(60)).await?;
    let status = child.wait().await?;
    ensure!(status.success(), "sdk-path ended with {status}");
    Ok(Drained {
        spans_a_second: as_f64(spans) / took,
        cpu_ns_a_span: taken.cpu_ms * 1e6 / as_f64(spans),
        bytes_a_span: as_f64(counter.bytes()) / as_f64(counter.spans()),
    })
}

/// The highest rate at which no round loses a span.
async fn without_loss(bench: &Bench, rounds: usize) -> Result<Option<u64>> {
    'rates: for rate in RATES {
        for _ in 0..rounds {
            eprintln!("throughput: {rate} spans/s");
            let counter = Counter::start().await?;
            let agent = start(bench, &counter.endpoint(), "8MiB", "none").await?;
            let began = Instant::now();
            flood(bench, 2 * rate, Some(rate))?
                .run_untold(bench)
                .await?;
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

/// What the agent uses at a steady rate, or what a forwarder behind the agent uses.
async fn steadily(bench: &Bench, rival: Option<(&Path, Kind)>) -> Result<Steady> {
    let counter = Counter::start().await?;
    let forwarder = match rival {
        Some((rivals, kind)) => {
            Some(Forwarder::start(bench, rivals, kind, &counter.endpoint()).await?)
        }
        None => None,
    };
    let endpoint = forwarder
        .as_ref()
        .map_or(counter.endpoint(), Forwarder::endpoint);
    let agent = start(bench, &endpoint, "8MiB", "gzip").await?;
    let pid = match &forwarder {
        Some(forwarder) => forwarder.pid()?,
        None => agent.pid()?,
    };
    let before = Taken::read(pid)?;
    let began = Instant::now();
    flood(bench, SECONDS * STEADY, Some(STEADY))?
        .run_untold(bench)
        .await?;
    let after = Taken::read(pid)?;
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    counter.wait_for(SECONDS * STEADY, bench.bound(30)).await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(balance.lost == 0, "{balance:?}");
    counter.wait_for(balance.exported, bench.bound(30)).await?;
    Ok(Steady {
        cpu_percent: (after.cpu_ms - before.cpu_ms) / took_ms * 100.0,
        rss_mib: after.rss_mib,
    })
}

pub(super) fn flood(bench: &Bench, calls: u64, rate: Option<u64>) -> Result<Workload> {
    let mut args = vec!["flood".to_owned(), (calls / 2).to_string()];
    args.extend(rate.map(|rate| rate.to_string()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Workload::new(bench.workload()?, &args)
}

/// Pins all threads of a process to this CPU.
async fn on_cpu(pid: u32, cpu: &str) -> Result<()> {
    run("taskset", &["-a", "-p", "-c", cpu, &pid.to_string()]).await
}
