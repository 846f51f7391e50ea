//! A collector that is away, or does not answer, for minutes while calls continue.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mqspan_testkit::free_address;
use mqspan_testkit::proxy::{Mode, TcpProxy};
use serde_json::json;
use tempfile::TempDir;

use super::counter::Counter;
use super::figures::Taken;
use super::table::Table;
use super::throughput::{STEADY, flood};
use crate::Bench;
use crate::agent::{self, Agent};

/// Room for the spans of the longest outage asked for, with some to spare.
const ON_DISK: &str = "8GiB";

/// The rows about outages. They are measured once, not in rounds, because they take long.
pub(super) async fn of_collector(bench: &Bench, seconds: u64, table: &mut Table) -> Result<()> {
    table.section(&[
        &format!("collector in trouble, at {STEADY} spans/s"),
        "lost",
        "sent after",
        "highest resident",
    ]);
    eprintln!("outage: the collector is away for {seconds} s");
    let away = away(bench, seconds).await?;
    table.row(away.row(&format!("away for {seconds} s, queue on disk")));
    let seconds = (seconds / 5).max(1);
    eprintln!("outage: the collector stalls for {seconds} s");
    let stalled = stalled(bench, seconds).await?;
    table.row(stalled.row(&format!(
        "silent for {seconds} s, queue of 512 MiB in memory"
    )));
    Ok(())
}

struct Outage {
    seen: u64,
    lost: u64,
    caught_up: Duration,
    peak_mib: f64,
}

impl Outage {
    fn row(&self, what: &str) -> Vec<String> {
        vec![
            what.to_owned(),
            format!("{} of {}", self.lost, self.seen),
            format!("{:.1} s", self.caught_up.as_secs_f64()),
            format!("{:.1} MiB", self.peak_mib),
        ]
    }

    /// Waits until all spans of the calls have arrived, once the collector is well again.
    async fn over(bench: &Bench, agent: Agent, counter: &Counter, calls: u64) -> Result<Outage> {
        let began = Instant::now();
        counter.wait_for(calls, bench.bound(300)).await?;
        let caught_up = began.elapsed();
        let peak_mib = Taken::read(agent.pid()?)?.peak_mib;
        let balance = agent.stop_balanced(bench).await?;
        // Spans whose answer was cut off arrive twice.
        ensure!(
            balance.exported <= counter.spans() && balance.pending == 0,
            "{} arrived: {balance:?}",
            counter.spans()
        );
        Ok(Outage {
            seen: balance.seen,
            lost: balance.lost,
            caught_up,
            peak_mib,
        })
    }
}

async fn away(bench: &Bench, seconds: u64) -> Result<Outage> {
    let directory = TempDir::with_prefix("mqspan-bench")?;
    let address = free_address()?;
    let storage = json!({"directory": directory.path().join("queue"), "max_size": ON_DISK});
    let over = json!({"exporters": {"otlp": {"sending_queue": {"storage": storage}}}});
    let config = agent::config(bench, &format!("http://{address}"), over);
    let agent = Agent::start(bench, config).await?;
    let calls = seconds * STEADY;
    flood(bench, calls, Some(STEADY))?
        .run_for(bench, Duration::from_secs(seconds + 60))
        .await?;
    let counter = Counter::start_on(address).await?;
    Outage::over(bench, agent, &counter, calls).await
}

async fn stalled(bench: &Bench, seconds: u64) -> Result<Outage> {
    let counter = Counter::start().await?;
    let proxy = TcpProxy::start(counter.address()).await?;
    let over = json!({"exporters": {"otlp": {"sending_queue": {"queue_size": "512MiB"}}}});
    let agent = Agent::start(bench, agent::config(bench, &proxy.endpoint(), over)).await?;
    let calls = seconds * STEADY;
    proxy.set(Mode::Stalled);
    flood(bench, calls, Some(STEADY))?
        .run_for(bench, Duration::from_secs(seconds + 60))
        .await?;
    proxy.set(Mode::Open);
    Outage::over(bench, agent, &counter, calls).await
}
