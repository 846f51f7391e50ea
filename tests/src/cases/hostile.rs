//! What users without privileges can do to the agent while it traces a well-behaved program of
//! another user.
//!
//! The agent runs in a control group with the memory limit of the chart. Whatever the attack, it
//! stays alive, it answers its orchestrator, the good program's spans are all there and correct,
//! and the final tally adds up.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::future::try_join_all;
use mqspan_testkit::collector::Collector;
use mqspan_testkit::free_address;
use mqspan_testkit::http;
use serde_json::json;

use super::{Case, case};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::attack::Attack;
use crate::balance::Balance;
use crate::cgroup::{CHART_MEMORY, MemoryLimit};
use crate::compare::{Comparison, Correlation, ReadFrom, is_of};
use crate::scrape::{scrape, sum, wait_for_metrics};
use crate::truth::Call;
use crate::workload::{Held, Workload};

/// The metric that says whose calls were lost.
pub(super) const LOST_BY_OWNER: &str = "mqspan_owner_call_lost_total";
/// The user of the good program, whose calls must not suffer.
pub(super) const GOOD_USER: u32 = 64_000;
/// The first user of the attacks. Further attacks run as the users after it.
pub(super) const FIRST_HOSTILE_USER: u32 = 65_000;
/// Threads that make one call and stay.
const THREADS: u32 = 10_000;

/// A case for one attack, with this many workers.
macro_rules! attack {
    ($case:literal, $name:literal, $workers:literal) => {
        case!($case, |bench| attacked(
            bench,
            const { &[Attack::new($name, $workers)] }
        ))
    };
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        attack!("hostile_environ_huge", "environ-huge", 4),
        attack!("hostile_environ_fuse", "environ-fuse", 1),
        attack!("hostile_environ_values", "environ-values", 4),
        attack!("hostile_flood_getsetattr_1", "flood-getsetattr", 1),
        attack!("hostile_flood_getsetattr_8", "flood-getsetattr", 8),
        attack!("hostile_flood_unlink_1", "flood-unlink", 1),
        attack!("hostile_flood_unlink_8", "flood-unlink", 8),
        attack!("hostile_flood_exchange_1", "flood-exchange", 1),
        attack!("hostile_flood_exchange_8", "flood-exchange", 8),
        attack!("hostile_flood_forks_1", "flood-forks", 1),
        attack!("hostile_flood_forks_8", "flood-forks", 8),
        attack!("hostile_flood_exec_1", "flood-exec", 1),
        attack!("hostile_flood_exec_8", "flood-exec", 8),
        attack!("hostile_flood_threads_1", "flood-threads", 1),
        attack!("hostile_flood_threads_8", "flood-threads", 8),
        attack!("hostile_threads_many", "threads-many", 2),
        attack!("hostile_threads_blocked", "threads-blocked", 2),
        attack!("hostile_names", "names", 2),
        attack!("hostile_elf_odd", "elf-odd", 2),
        attack!("hostile_signals", "signals", 2),
        attack!("hostile_namespaces", "namespaces", 2),
        attack!("hostile_container", "container", 2),
        case!("hostile_all", |bench| attacked(bench, &ALL)),
    ]
}

const ALL: [Attack; 16] = [
    Attack::new("environ-huge", 1),
    Attack::new("environ-fuse", 1),
    Attack::new("environ-values", 1),
    Attack::new("flood-getsetattr", 1),
    Attack::new("flood-unlink", 1),
    Attack::new("flood-exchange", 1),
    Attack::new("flood-forks", 1),
    Attack::new("flood-exec", 1),
    Attack::new("flood-threads", 1),
    Attack::new("threads-many", 1),
    Attack::new("threads-blocked", 1),
    Attack::new("names", 1),
    Attack::new("elf-odd", 1),
    Attack::new("signals", 1),
    Attack::new("namespaces", 1),
    Attack::new("container", 1),
];

/// Scales an attack to what this machine can bear.
fn scaled(bench: &Bench, mut attack: Attack) -> Attack {
    if bench.is_slow() {
        attack.workers = attack.workers.min(2);
    }
    match (attack.name, bench.is_slow()) {
        ("threads-many" | "threads-blocked", true) => attack.with_count(1000),
        ("threads-many", false) => attack.with_count(THREADS),
        _ => attack,
    }
}

/// The good program, the agent that traces it, and where its spans go.
struct Watched {
    group: MemoryLimit,
    collector: Collector,
    prometheus: SocketAddr,
    agent: Agent,
    steady: Workload,
    held: Held,
}

impl Watched {
    async fn start(bench: &Bench) -> Result<Watched> {
        let group = MemoryLimit::new(CHART_MEMORY)?;
        let collector = Collector::start()?;
        let prometheus = free_address()?;
        let config = json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}});
        let config = agent::config(bench, &collector.endpoint(), config);
        let agent = Agent::start(&group.bench(bench)?, config).await?;
        let rate = if bench.is_slow() { "200" } else { "1000" };
        let steady =
            Workload::new(bench.beside_workload("steady")?, &[rate])?.with_user(GOOD_USER)?;
        let held = steady.hold_once(bench, "steady").await?;
        let pid = i64::from(held.pid()?);
        collector.keep_only(move |traced| traced.pid().or_else(|| traced.tid()) == Some(pid));
        Ok(Watched {
            group,
            collector,
            prometheus,
            agent,
            steady,
            held,
        })
    }

    /// Fails as soon as the agent is not healthy or the good program's spans stop arriving.
    async fn stays_healthy(&self, bench: &Bench) -> Result<()> {
        let bound = bench.bound(10);
        let mut grew = (0, Instant::now());
        loop {
            // Where an attack has the CPUs, a connection takes long and the agent cuts it. A prober
            // would ask again.
            let answered = async {
                loop {
                    if let Ok(response) = http::get(self.agent.health, "/healthz").await {
                        return response;
                    }
                    tokio::time::sleep(agent::POLL).await;
                }
            };
            let response = tokio::time::timeout(bound, answered)
                .await
                .map_err(|_| anyhow!("/healthz did not answer within {bound:?}"))
                .with_context(|| self.what_became_of_agent())?;
            ensure!(
                response.status == 200,
                "/healthz: {}: {}",
                response.status,
                response.body
            );
            let came = self.collector.count();
            if came > grew.0 {
                grew = (came, Instant::now());
            }
            ensure!(
                grew.1.elapsed() < bound,
                "after {came} spans of the good program none came for {bound:?}; {}",
                self.what_became_of_agent()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn what_became_of_agent(&self) -> String {
        let killed = self.group.killed().unwrap_or(0);
        format!(
            "processes of the agent killed for want of memory: {killed}; its log:\n{}",
            self.agent.log()
        )
    }

    /// Runs `doing` while the good program goes on and the agent stays healthy.
    async fn during<T>(&self, bench: &Bench, doing: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = doing => done,
            health = self.stays_healthy(bench) => {
                health?;
                bail!("the agent's health ended")
            }
        }
    }

    /// Checks that every call of the good program is one correct span. With `may_lose`, where more
    /// users attack than have a share each, calls may be lost if that is reported.
    async fn end(self, bench: &Bench, may_lose: bool) -> Result<End> {
        let Watched {
            group,
            collector,
            prometheus,
            agent,
            steady,
            held,
        } = self;
        held.release(bench).await?;
        let calls = steady.truth()?;
        let arrived = if may_lose {
            all_arrived_or_told(bench, &collector, prometheus, calls.len()).await
        } else {
            let bound = bench.bound(30);
            collector
                .wait_for_spans(calls.len(), bound, is_of(&calls))
                .await
        };
        let resident_bytes = memory_of(agent.pid()?, "VmHWM:")?;
        ensure_no_children(agent.pid()?)?;
        let metrics = scrape(prometheus).await?;
        let peak_bytes = group.peak_bytes();
        let may_miss = agent.may_miss();
        ensure_readable(&metrics, &agent.log())?;
        let balance = agent.stop_balanced(bench).await?;
        let end = End {
            resident_bytes,
            peak_bytes,
            metrics,
            balance,
            good: calls.len(),
            passed_over: collector.passed_over(),
            may_miss,
            is_slow: bench.is_slow(),
        };
        arrived.with_context(|| format!("of the good program: {end}"))?;
        if may_lose && collector.spans().len() < calls.len() {
            end.ensure_told(collector.spans().len())?;
            return Ok(end);
        }
        compare(bench, &steady, &calls, &collector).with_context(|| format!("after: {end}"))?;
        Ok(end)
    }
}

/// Each call of the good program is a span, or a loss that is reported as its own.
async fn all_arrived_or_told(
    bench: &Bench,
    collector: &Collector,
    prometheus: SocketAddr,
    calls: usize,
) -> Result<()> {
    let wrong = |text: &str| {
        let (arrived, told) = (collector.spans().len(), lost_by_user(text, GOOD_USER));
        let missed = missed_by_the_kernel(text);
        #[allow(clippy::cast_precision_loss)]
        let is_all = arrived as f64 + told + missed >= calls as f64;
        (!is_all).then(|| {
            format!("{arrived} spans and {told} losses of {calls} calls, {missed} missed of all")
        })
    };
    wait_for_metrics(bench, prometheus, 30, wrong).await
}

/// The label of a user's losses.
pub(super) fn of_user(uid: u32) -> String {
    format!("process_user_id=\"{uid}\"")
}

fn lost_by_user(metrics: &str, uid: u32) -> f64 {
    sum(metrics, LOST_BY_OWNER, &[&of_user(uid)])
}

/// Calls by anyone at which no BPF program ran. Whose they were is not known.
fn missed_by_the_kernel(metrics: &str) -> f64 {
    ["entry_missed", "return_missed"]
        .map(|reason| {
            sum(
                metrics,
                "mqspan_call_count_total",
                &[&format!("\"{reason}\"")],
            )
        })
        .iter()
        .sum()
}

fn compare(bench: &Bench, steady: &Workload, calls: &[Call], collector: &Collector) -> Result<()> {
    let comparison = Comparison {
        backend: bench.backend,
        program: steady.program(),
        other_program: None,
        read_from: ReadFrom::Export,
        correlation: Correlation::Parent,
        payload_max_bytes: None,
    };
    comparison.check(calls, &collector.spans())
}

/// Whatever others call their queues and threads, each line of the metrics is a sample or a
/// comment, and the log has no control characters.
fn ensure_readable(metrics: &str, log: &str) -> Result<()> {
    let is_sample = |line: &str| {
        let value = line.rsplit(' ').next().unwrap_or_default();
        line.starts_with(|c: char| c.is_ascii_lowercase()) && value.parse::<f64>().is_ok()
    };
    let wrong = metrics
        .lines()
        .find(|line| !line.starts_with("# ") && !is_sample(line));
    ensure!(wrong.is_none(), "no line of metrics: {wrong:?}");
    let control = log.chars().find(|c| c.is_control() && *c != '\n');
    ensure!(control.is_none(), "{control:?} in the log: {log:?}");
    Ok(())
}

/// Checks that nothing made the agent start another program.
fn ensure_no_children(pid: u32) -> Result<()> {
    let parent = format!("PPid:\t{pid}\n");
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path().join("status");
        // An entry that is no process, or has ended, has no status.
        let status = std::fs::read_to_string(path).unwrap_or_default();
        ensure!(!status.contains(&parent), "a child of the agent:\n{status}");
    }
    Ok(())
}

/// Memory of a process in bytes, by the kernel's count: resident now (`VmRSS:`) or at its peak
/// (`VmHWM:`).
pub(super) fn memory_of(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).context(path)?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("no {field}"))?;
    Ok(kibibytes.parse::<u64>()? << 10)
}

/// What is known at the end.
struct End {
    resident_bytes: u64,
    /// Peak of the agent's group, where the kernel reports it.
    peak_bytes: Option<u64>,
    metrics: String,
    balance: Balance,
    /// Calls of the good program.
    good: usize,
    /// Spans of the other programs.
    passed_over: u64,
    may_miss: bool,
    is_slow: bool,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        write!(
            f,
            "resident {} MiB at most, its group {} of {} MiB; {} good calls, {} spans of others, seen {}, lost {}",
            mib(self.resident_bytes),
            self.peak_bytes
                .map_or_else(|| "?".to_owned(), |bytes| mib(bytes).to_string()),
            mib(CHART_MEMORY),
            self.good,
            self.passed_over,
            self.balance.seen,
            self.balance.lost
        )?;
        let mut reasons = String::new();
        for (reason, count) in &self.balance.reasons {
            write!(reasons, " {reason} {count}")?;
        }
        let of_owners = self.metrics.lines();
        for owner in of_owners.filter(|line| line.starts_with(LOST_BY_OWNER)) {
            write!(reasons, "\n{owner}")?;
        }
        write!(f, "{reasons}")
    }
}

impl End {
    /// Checks that nearly all spans of the good program arrived, and that those missing are
    /// reported as its own. While the queue fills, which takes some seconds, the floods that came
    /// first have more than their share. On an emulated machine, where the agent shares one CPU with all of them, the number of
    /// missing spans does not matter.
    fn ensure_told(&self, arrived: usize) -> Result<()> {
        const LONG: usize = 30_000;
        let missing = self.good - arrived;
        let few = self.good / if self.good < LONG { 2 } else { 10 };
        let told = lost_by_user(&self.metrics, GOOD_USER);
        #[allow(clippy::cast_precision_loss)]
        let untold = missing as f64 - told;
        let is_told = (0.0..=missed_by_the_kernel(&self.metrics)).contains(&untold);
        ensure!(
            is_told && (self.is_slow || missing <= few),
            "{missing} spans of the good program are missing, {told} are told: {self}"
        );
        Ok(())
    }

    /// Only those who took more than their share have lost calls by it.
    fn ensure_fair(&self, attacks: &[Attack]) -> Result<()> {
        let shed = self.balance.lost_by("ring_full") + self.balance.lost_by("queue_full");
        let lost_by = |uid| lost_by_user(&self.metrics, uid);
        ensure!(
            lost_by(GOOD_USER) == 0.0,
            "calls of the good user were shed: {self}"
        );
        // Root of a container becomes one user after another, so its container is what identifies
        // it.
        let of_containers = sum(&self.metrics, LOST_BY_OWNER, &["container_id=\""]);
        let told = (FIRST_HOSTILE_USER..)
            .take(attacks.len())
            .map(lost_by)
            .sum::<f64>()
            + of_containers;
        ensure!(
            shed == 0 || told > 0.0,
            "{shed} calls were shed, and no metric says whose they were: {self}"
        );
        Ok(())
    }
}

/// The agent withstands all these attacks at once.
async fn attacked(bench: &'static Bench, attacks: &'static [Attack]) -> Result<()> {
    let watched = Watched::start(bench).await?;
    let attack = try_join_all(
        attacks
            .iter()
            .zip(FIRST_HOSTILE_USER..)
            .map(async |(attack, uid)| scaled(bench, *attack).run(bench, uid).await),
    );
    let made: u64 = watched.during(bench, attack).await?.iter().sum();
    // Sixteen attacks at once are more users than have a share each.
    let crowded = attacks.len() > 1;
    let end = watched.end(bench, crowded).await?;
    println!("    {}: {end}", title(attacks));
    let made = made + u64::try_from(end.good)?;
    // An attack that is killed in the middle may have counted a call that was never made.
    ensure!(
        end.may_miss || end.balance.seen >= made / 100 * 95,
        "{made} calls were made: {end}"
    );
    ensure!(end.resident_bytes <= CHART_MEMORY, "{end}");
    if crowded {
        return Ok(());
    }
    end.ensure_fair(attacks)
}

fn title(attacks: &[Attack]) -> String {
    match attacks {
        [attack] => format!("{} by {}", attack.name, attack.workers),
        _ => format!("{} attacks at once", attacks.len()),
    }
}
