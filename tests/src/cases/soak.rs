//! Everything at once and for a long time: calls without a pause, new processes, reloads, a
//! collector that goes away and comes back, and, where the machine is the tests' own, a clock that
//! is set.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use futures_util::try_join;
use mqspan_testkit::collector::Collector;
use mqspan_testkit::free_address;
use mqspan_testkit::proxy::{Mode, TcpProxy};
use serde_json::{Value, json};
use tokio::process::Command;

use super::clock::{CLOCK_WAS_SET, set_clock, unix_seconds};
use super::filter::RELOADED;
use super::hostile::{FIRST_HOSTILE_USER, memory_of};
use super::{Case, case};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::attack::Attack;
use crate::cgroup::{CHART_MEMORY, MemoryLimit};
use crate::scrape::scrape;

/// Time from one disturbance to the next.
const PAUSE: Duration = Duration::from_secs(2);
/// How far the clock is set forward and back again.
const STEP_SECONDS: i64 = 3600;
/// How often memory is sampled, whatever the length of the run.
const SAMPLES: u32 = 120;
/// A run this long shows whether memory grows. In a shorter one, what can fill up is still filling.
const LONG_SECONDS: u32 = 1200;
/// How much more a quarter of a long run may use than the one before it.
const MAX_GROWTH_BYTES: f64 = 2.0 * 1024.0 * 1024.0;

pub(super) fn cases() -> Vec<Case> {
    vec![case!("soak", soak)]
}

/// The final tally adds up, and memory stays within its limit and, in a long run, does not grow.
async fn soak(bench: &'static Bench) -> Result<()> {
    let group = MemoryLimit::new(CHART_MEMORY)?;
    let collector = Collector::start()?;
    collector.keep_only(|_| false);
    let proxy = TcpProxy::start(collector.address).await?;
    let prometheus = free_address()?;
    let configs = configs(bench, &proxy.endpoint(), prometheus);
    let agent = Agent::start(&group.bench(bench)?, configs[0].clone()).await?;
    let ends = Instant::now() + Duration::from_secs(bench.soak_seconds.into());
    let ((), (), done, resident) = try_join!(
        calls(bench, ends),
        repeat(bench, Attack::new("flood-forks", 1), ends),
        disturb(bench, &agent, &proxy, &configs, ends),
        sample(bench, &agent, prometheus, ends),
    )
    .with_context(|| agent.log())?;
    let balance = agent.stop_balanced(bench).await?;
    let peak_mib = group.peak_bytes().map(|bytes| bytes >> 20);
    let took_seconds = f64::from(bench.soak_seconds);
    let [_, _, third, fourth] = quarters(&resident);
    println!(
        "soak: {took_seconds} s, {done}; seen {}, exported {}, lost {}; resident {:.1} MiB in the third quarter, {:.1} in \
         the last, {:+.2} an hour; its group {} at most",
        balance.seen,
        balance.exported,
        balance.lost,
        mib(third),
        mib(fourth),
        mib(slope(&resident) * 3600.0 / took_seconds),
        peak_mib.map_or_else(|| "?".to_owned(), |mib| format!("{mib} MiB")),
    );
    ensure!(
        collector.passed_over() >= balance.exported && balance.exported > 0,
        "{} spans arrived: {balance:?}",
        collector.passed_over()
    );
    ensure!(
        bench.soak_seconds < LONG_SECONDS || fourth - third < MAX_GROWTH_BYTES,
        "memory grows: {resident:?}"
    );
    Ok(())
}

/// The agent's configurations in turn: all calls, half of them, and those of this program's
/// children.
fn configs(bench: &Bench, endpoint: &str, prometheus: SocketAddr) -> [Value; 3] {
    [
        json!({}),
        json!({"sampling": {"ratio": 0.5}, "filter": {"exclude": {"comms": ["nobody"]}}}),
        json!({"filter": {"include": {"pids": [std::process::id()]}}}),
    ]
    .map(|over| {
        let mut config = agent::config(bench, endpoint, over);
        agent::merge(
            &mut config,
            json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}}),
        );
        config
    })
}

/// Runs the commands that were given, which end by themselves, or an attack of ours.
async fn calls(bench: &Bench, ends: Instant) -> Result<()> {
    if bench.soak_commands.is_empty() {
        return repeat(bench, Attack::new("flood-exchange", 1), ends).await;
    }
    let bound = Duration::from_secs(bench.soak_seconds.into()) + bench.bound(60);
    let all = bench.soak_commands.iter().map(async |line| {
        let child = Command::new("sh")
            .args(["-c", &format!("exec {line}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = tokio::time::timeout(bound, child.wait_with_output())
            .await
            .with_context(|| format!("{line} did not end within {bound:?}"))??;
        ensure!(output.status.success(), "{line}: {output:?}");
        Ok(())
    });
    try_join_all(all).await?;
    Ok(())
}

async fn repeat(bench: &Bench, attack: Attack, ends: Instant) -> Result<()> {
    while Instant::now() < ends {
        attack.run_for(bench, FIRST_HOSTILE_USER, 1).await?;
    }
    Ok(())
}

/// How often each disturbance was made.
#[derive(Default)]
struct Disturbances {
    reloads: usize,
    restarts: usize,
    clock_steps: usize,
}

impl std::fmt::Display for Disturbances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} reloads, {} restarts of the collector, {} steps of the clock",
            self.reloads, self.restarts, self.clock_steps
        )
    }
}

async fn disturb(
    bench: &Bench,
    agent: &Agent,
    proxy: &TcpProxy,
    configs: &[Value],
    ends: Instant,
) -> Result<Disturbances> {
    let mut done = Disturbances::default();
    let bound = bench.bound(30);
    let mut forward = STEP_SECONDS;
    for config in configs.iter().cycle().skip(1) {
        tokio::time::sleep(PAUSE).await;
        if Instant::now() > ends {
            break;
        }
        agent.reload(config.clone())?;
        done.reloads += 1;
        agent.wait_for_logs(RELOADED, done.reloads, bound).await?;
        proxy.set(Mode::Reset);
        tokio::time::sleep(PAUSE).await;
        proxy.set(Mode::Open);
        done.restarts += 1;
        if bench.own_machine {
            set_clock(unix_seconds()? + forward)?;
            forward = -forward;
            done.clock_steps += 1;
            agent
                .wait_for_logs(CLOCK_WAS_SET, done.clock_steps, bound)
                .await?;
        }
    }
    Ok(done)
}

/// Samples the agent's resident memory in bytes at even intervals, and scrapes its metrics as
/// often.
async fn sample(
    bench: &Bench,
    agent: &Agent,
    prometheus: SocketAddr,
    ends: Instant,
) -> Result<Vec<f64>> {
    let every = Duration::from_secs(bench.soak_seconds.into()) / SAMPLES;
    let mut ticks = tokio::time::interval(every);
    let mut resident = Vec::new();
    while Instant::now() < ends {
        ticks.tick().await;
        scrape(prometheus).await?;
        #[allow(clippy::cast_precision_loss)]
        resident.push(memory_of(agent.pid()?, "VmRSS:")? as f64);
        if resident.len() % (SAMPLES as usize / 12) == 0 {
            let now = resident.last().copied().unwrap_or_default();
            println!("soak: {:.1} MiB resident", mib(now));
        }
    }
    Ok(resident)
}

fn mib(bytes: f64) -> f64 {
    bytes / 1024.0 / 1024.0
}

/// The mean of each quarter.
fn quarters(samples: &[f64]) -> [f64; 4] {
    let size = samples.len() / 4;
    [0, 1, 2, 3].map(|quarter| {
        let part = samples.iter().skip(quarter * size).take(size);
        #[allow(clippy::cast_precision_loss)]
        let count = size.max(1) as f64;
        part.sum::<f64>() / count
    })
}

/// The slope of a least-squares line through the second half: how much a run of this length would
/// add.
fn slope(samples: &[f64]) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let points: Vec<_> = (samples.iter().enumerate())
        .skip(samples.len() / 2)
        .map(|(at, value)| (at as f64 / samples.len() as f64, *value))
        .collect();
    #[allow(clippy::cast_precision_loss)]
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance = (points.iter()).map(|(x, y)| (x - mean_x) * (y - mean_y));
    let variance = points.iter().map(|(x, _)| (x - mean_x).powi(2));
    covariance.sum::<f64>() / variance.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_second_half() {
        let rising: Vec<_> = (0..100).map(f64::from).collect();
        assert!((slope(&rising) - 100.0).abs() < 1e-6);
        let flat_at_last: Vec<_> = (0..100).map(|at| f64::from(at.min(50))).collect();
        assert!(slope(&flat_at_last).abs() < 1e-6);
    }

    #[test]
    fn quarters_are_means() {
        let rising: Vec<_> = (0..8).map(f64::from).collect();
        for (quarter, wanted) in quarters(&rising).into_iter().zip([0.5, 2.5, 4.5, 6.5]) {
            assert!((quarter - wanted).abs() < 1e-9, "{quarter}, not {wanted}");
        }
    }
}
