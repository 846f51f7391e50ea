//! Failures between the agent and the collector, in the middle of a flood: sent + counted losses =
//! seen.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join;
use mqspan_testkit::collector::{Answer, Collector};
use mqspan_testkit::free_address;
use mqspan_testkit::proxy::{Mode, TcpProxy};
use mqspan_testkit::span::Traced;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Case, case, comparison};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::balance::Balance;
use crate::cgroup::MemoryLimit;
use crate::compare::is_of;
use crate::scrape::{sum, wait_for_metrics};
use crate::spawn::cannot_run;
use crate::workload::Workload;

/// Calls of a flood, including mq_open and mq_unlink. They make 6 MB of spans.
const FLOOD: u64 = 10_002;
/// An endpoint where nothing listens.
const NOWHERE: &str = "http://127.0.0.1:1";

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("fault_collector_killed", collector_killed),
        case!("fault_reset_in_response", reset_in_response),
        case!("fault_mostly_unavailable", mostly_unavailable),
        case!("fault_stalled", stalled),
        case!("fault_memory_limit", memory_limit),
        case!("fault_agent_killed", agent_killed),
        case!("fault_disk_full", disk_full),
        case!("fault_disk_damaged", disk_damaged),
    ]
}

/// A configuration with room for a flood in the ring and short pauses between retries.
fn config(bench: &Bench, endpoint: &str, over: Value) -> Value {
    let mut config = agent::config(
        bench,
        endpoint,
        json!({
            "capture": {"ring_buffer_size": "32MiB"},
            "exporters": {"otlp": {"retry_on_failure": {"initial_interval": "50ms", "max_interval": "100ms"}}},
        }),
    );
    agent::merge(&mut config, over);
    config
}

fn flood(bench: &Bench) -> Result<Workload> {
    Workload::new(bench.workload()?, &["flood", "5000"])
}

/// Removes duplicates, which must be identical.
fn unique(spans: Vec<Traced>) -> Result<Vec<Traced>> {
    let mut by_id: HashMap<Vec<u8>, Traced> = HashMap::new();
    for traced in spans {
        match by_id.get(&traced.span.span_id) {
            None => {
                by_id.insert(traced.span.span_id.clone(), traced);
            }
            Some(first) if first.span == traced.span => {}
            Some(first) => bail!(
                "two spans of one id: {:?} and {:?}",
                first.span,
                traced.span
            ),
        }
    }
    Ok(by_id.into_values().collect())
}

/// Checks that all calls were seen and all their spans arrived.
fn ensure_all(balance: &Balance, collector: &Collector, calls: u64) -> Result<()> {
    let arrived = u64::try_from(unique(collector.spans())?.len())?;
    ensure!(
        balance.lost == 0 && balance.exported == arrived && balance.seen >= calls,
        "{arrived} spans of {calls} calls arrived: {balance:?}"
    );
    Ok(())
}

/// Every span of three floods arrives, although in each all connections break and new ones are
/// refused for a while.
async fn collector_killed(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let proxy = TcpProxy::start(collector.address).await?;
    let agent = Agent::start(bench, config(bench, &proxy.endpoint(), json!({}))).await?;
    for floods in 1..=3 {
        let flood = flood(bench)?;
        let before = collector.accepted_requests();
        let kill = async {
            let bound = bench.bound(30);
            collector
                .wait_until(bound, |seen| seen.accepted_requests > before)
                .await?;
            proxy.set(Mode::Reset);
            proxy.wait_for_resets(4, bound).await?;
            proxy.set(Mode::Open);
            Ok(())
        };
        try_join(flood.run_untold(bench), kill).await?;
        let calls = usize::try_from(floods * FLOOD)?;
        collector
            .wait_for_spans(calls, bench.bound(60), |_| true)
            .await?;
    }
    let balance = agent.stop_balanced(bench).await?;
    ensure_all(&balance, &collector, 3 * FLOOD)
}

/// When the collector takes the spans but its answer is cut off, they are sent again with the same
/// ids.
async fn reset_in_response(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let proxy = TcpProxy::start(collector.address).await?;
    let agent = Agent::start(bench, config(bench, &proxy.endpoint(), json!({}))).await?;
    proxy.set(Mode::ResetInResponse { after: 20 });
    let flood = flood(bench)?;
    let resets = async {
        proxy.wait_for_resets(5, bench.bound(30)).await?;
        proxy.set(Mode::Open);
        Ok(())
    };
    try_join(flood.run_untold(bench), resets).await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(
        u64::try_from(collector.spans().len())? > balance.exported,
        "no span came twice, so no answer was cut off: {balance:?}"
    );
    ensure_all(&balance, &collector, FLOOD)
}

/// Every span arrives at a collector that refuses seven requests in ten.
async fn mostly_unavailable(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let mut requests = 0;
    collector.answer(move |_| {
        requests += 1;
        if requests % 10 < 7 {
            Answer::unavailable()
        } else {
            Answer::Accept
        }
    });
    let agent = Agent::start(bench, config(bench, &collector.endpoint(), json!({}))).await?;
    flood(bench)?.run_untold(bench).await?;
    // Retries may take longer than a shutdown waits.
    let calls = usize::try_from(FLOOD)?;
    collector
        .wait_for_spans(calls, bench.bound(60), |_| true)
        .await?;
    let balance = agent.stop_balanced(bench).await?;
    let (taken, refused) = (collector.accepted_requests(), collector.refused_requests());
    ensure!(refused >= 2 * taken, "{refused} refused, {taken} taken");
    ensure_all(&balance, &collector, FLOOD)
}

/// If not a byte moves until the agent gives up waiting for an answer, every span still arrives
/// later.
async fn stalled(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let proxy = TcpProxy::start(collector.address).await?;
    let impatient = json!({"exporters": {"otlp": {"timeout": "300ms"}}});
    let agent = Agent::start(bench, config(bench, &proxy.endpoint(), impatient)).await?;
    proxy.set(Mode::Stalled);
    let workload = Workload::new(bench.workload()?, &["paced", "500"])?;
    let calls = workload.run(bench).await?;
    agent
        .wait_for_log("no answer within the timeout", bench.bound(30))
        .await?;
    proxy.set(Mode::Open);
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure_all(&balance, &collector, u64::try_from(calls.len())?)?;
    comparison(bench, &workload).check(&calls, &unique(collector.spans())?)
}

/// Without a collector, with a queue in memory that would be full ten times over and a memory limit
/// of 64 MiB, the agent survives and counts every span.
async fn memory_limit(bench: &'static Bench) -> Result<()> {
    let group = MemoryLimit::new(64 << 20)?;
    let bench_in_group = group.bench(bench)?;
    let small = json!({
        "capture": {"ring_buffer_size": "8MiB"},
        "exporters": {"otlp": {"sending_queue": {"queue_size": "4MiB"}}},
    });
    let agent = Agent::start(&bench_in_group, config(bench, NOWHERE, small)).await?;
    for _ in 0..8 {
        flood(bench)?.run_untold(bench).await?;
    }
    let balance = agent.stop_balanced(bench).await?;
    ensure!(
        balance.seen >= 8 * FLOOD && balance.lost_by("queue_full") > 4 * FLOOD,
        "{balance:?}"
    );
    ensure!(balance.exported == 0 && balance.pending == 0, "{balance:?}");
    Ok(())
}

fn on_disk(directory: &Path) -> Value {
    json!({"exporters": {"otlp": {
        "sending_queue": {"storage": {"directory": directory}},
        "batch": {"max_size": "16KiB"},
    }}})
}

/// The records in the queue's files, in order. agent/src/export/disk/record.rs defines the format.
fn records(directory: &Path) -> Result<Vec<Record>> {
    let mut files: Vec<_> = std::fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "spans")
    });
    files.sort();
    let mut records = Vec::new();
    for path in files {
        let bytes = std::fs::read(&path)?;
        let mut at = 0;
        while let Some(header) = bytes.get(at..at + 20) {
            ensure!(header.starts_with(b"mqr1"), "no record at {at}");
            let word = |from: usize| {
                let bytes = header.get(from..from + 4).and_then(|b| b.try_into().ok());
                bytes.map(u32::from_le_bytes).context("a word")
            };
            let len = usize::try_from(word(4)?)?;
            records.push(Record {
                path: path.clone(),
                at,
                end: at + 20 + len,
                spans: u64::from(word(8)?),
            });
            at += 20 + len;
        }
    }
    Ok(records)
}

struct Record {
    path: std::path::PathBuf,
    at: usize,
    end: usize,
    spans: u64,
}

fn spans_of(records: &[Record]) -> u64 {
    records.iter().map(|record| record.spans).sum()
}

/// Runs the workload without a collector, and kills the agent with SIGKILL once everything is in
/// its files.
async fn kill_with_all_on_disk(
    bench: &Bench,
    directory: &Path,
    workload: &Workload,
) -> Result<Vec<crate::truth::Call>> {
    let agent = Agent::start(bench, config(bench, NOWHERE, on_disk(directory))).await?;
    let calls = workload.run(bench).await?;
    let give_up = tokio::time::Instant::now() + bench.bound(30);
    let wanted = u64::try_from(calls.len())?;
    // A record that is still being written has no end yet.
    while records(directory).map_or(0, |records| spans_of(&records)) < wanted {
        ensure!(
            tokio::time::Instant::now() < give_up,
            "{} of {wanted} spans are in the files; the agent's log:\n{}",
            records(directory).map_or(0, |records| spans_of(&records)),
            agent.log()
        );
        tokio::time::sleep(agent::POLL).await;
    }
    agent.kill().await?;
    Ok(calls)
}

/// After SIGKILL without a collector, the next agent sends what is on disk, and nothing is missing.
async fn agent_killed(bench: &'static Bench) -> Result<()> {
    let directory = TempDir::with_prefix("mqspan-e2e")?;
    let workload = Workload::new(bench.workload()?, &["paced", "500"])?;
    let calls = kill_with_all_on_disk(bench, directory.path(), &workload).await?;
    let collector = Collector::start()?;
    let config = config(bench, &collector.endpoint(), on_disk(directory.path()));
    let agent = Agent::start(bench, config).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure_all(&balance, &collector, u64::try_from(calls.len())?)?;
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// With a bit flipped in one record and the last one cut off, what the two held is counted as lost,
/// and everything else arrives.
async fn disk_damaged(bench: &'static Bench) -> Result<()> {
    let directory = TempDir::with_prefix("mqspan-e2e")?;
    let workload = Workload::new(bench.workload()?, &["paced", "500"])?;
    kill_with_all_on_disk(bench, directory.path(), &workload).await?;

    let records = records(directory.path())?;
    let [_, flipped, .., torn] = records.as_slice() else {
        bail!("only {} records", records.len());
    };
    let mut bytes = std::fs::read(&flipped.path)?;
    let byte = bytes.get_mut((flipped.at + flipped.end) / 2);
    *byte.context("the middle of a record")? ^= 0x10;
    std::fs::write(&flipped.path, &bytes)?;
    let file = std::fs::OpenOptions::new().write(true).open(&torn.path)?;
    file.set_len(u64::try_from(torn.end - 10)?)?;

    let damaged = flipped.spans + torn.spans;
    let whole = spans_of(&records) - damaged;
    let collector = Collector::start()?;
    let prometheus = free_address()?;
    let mut config = config(bench, &collector.endpoint(), on_disk(directory.path()));
    agent::merge(
        &mut config,
        json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}}),
    );
    let agent = Agent::start(bench, config).await?;
    collector
        .wait_for_spans(usize::try_from(whole)?, bench.bound(30), |_| true)
        .await?;
    wait_for_metrics(bench, prometheus, 30, |text| {
        let lost = sum(
            text,
            "mqspan_call_count_total",
            &["mqspan_loss_reason=\"corrupt\""],
        );
        #[allow(clippy::cast_precision_loss)]
        let wanted = damaged as f64;
        (lost != wanted).then(|| format!("{lost} of {wanted} lost"))
    })
    .await?;
    let balance = agent.stop_balanced(bench).await?;
    let arrived = u64::try_from(collector.spans().len())?;
    ensure!(
        balance.lost == damaged && balance.lost_by("corrupt") == damaged,
        "{damaged} spans were damaged: {balance:?}"
    );
    ensure!(
        balance.exported == arrived && arrived >= whole,
        "{arrived} spans arrived, {whole} were whole: {balance:?}"
    );
    Ok(())
}

/// A tmpfs, mounted until dropped.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount(options: &str) -> Result<Tmpfs> {
        let directory = TempDir::with_prefix("mqspan-e2e")?;
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(directory.path()))?;
        Ok(Tmpfs(directory))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(self.0.path())) {
            eprintln!("{error:#}");
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .map_err(cannot_run(command.get_program()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {stderr}");
    Ok(())
}

/// On a disk of 1 MiB, a flood of several keeps what fits for the next agent and counts the rest.
async fn disk_full(bench: &'static Bench) -> Result<()> {
    let disk = Tmpfs::mount("size=1m")?;
    let directory = disk.0.path().join("queue");
    let agent = Agent::start(bench, config(bench, NOWHERE, on_disk(&directory))).await?;
    flood(bench)?.run_untold(bench).await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(
        balance.seen >= FLOOD && balance.lost_by("storage") > FLOOD / 2,
        "{balance:?}"
    );
    ensure!(balance.pending > 0 && balance.exported == 0, "{balance:?}");

    let collector = Collector::start()?;
    let config = config(bench, &collector.endpoint(), on_disk(&directory));
    let next = Agent::start(bench, config).await?;
    let kept = usize::try_from(balance.pending)?;
    collector
        .wait_for_spans(kept, bench.bound(30), |_| true)
        .await?;
    let balance = next.stop_balanced(bench).await?;
    ensure_all(&balance, &collector, u64::try_from(kept)?)
}
