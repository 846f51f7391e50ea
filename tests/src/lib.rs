//! End-to-end tests of the `mqspan` binary.
//!
//! ```text
//! workload ── system calls ──> kernel ──> mqspan ── OTLP ──> collector
//!     └── truth: one JSON line a call ──────────> compare <─────┘
//! ```
//!
//! `mqspan-oracle` replaces the truth with strace, for programs that know nothing of this project.
//! `mqspan-pipeline` replaces our collector, which is in `testkit/`, with a real Collector and a
//! Jaeger.
//!
//! The same binaries run on the machine itself and in the test kernels under QEMU. Nothing passes
//! by being skipped: a case runs or fails, and `cases` lists what a backend cannot do by design.

mod agent;
mod attack;
mod balance;
mod bench;
mod bpf_map;
mod cases;
mod cgroup;
mod compare;
mod expect;
mod oracle;
mod pipeline;
mod scrape;
mod server;
mod signal;
mod spawn;
mod tmux;
mod truth;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
pub use bench::bench;
use cases::{How, Scenarios};
use clap::{Parser, ValueEnum};
pub use oracle::oracle;
pub use pipeline::pipeline;
use regex::Regex;
use tokio::task::{JoinSet, LocalSet};

/// How the agent attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Tracepoint,
    Fentry,
    Kprobe,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Backend::Tracepoint => "tracepoint",
            Backend::Fentry => "fentry",
            Backend::Kprobe => "kprobe",
        }
    }

    /// Whether it sees a message pass from sender to receiver, and the kernel's own copies of what
    /// was in the caller's memory.
    pub(crate) fn sees_messages(self) -> bool {
        self != Backend::Tracepoint
    }
}

/// Runs mqspan against real workloads and compares every span with what really happened.
#[derive(Parser)]
#[command(name = "mqspan-e2e")]
struct Args {
    /// The mqspan binary under test
    #[arg(long)]
    agent: PathBuf,
    /// mqwork of this machine's native ABI
    #[arg(long)]
    workload: PathBuf,
    /// mqwork of the 32-bit ABI; without it the cases that need it fail
    #[arg(long)]
    workload32: Option<PathBuf>,
    #[arg(long, value_enum)]
    backend: Backend,
    /// Run only the cases in whose name this regular expression is found [repeatable: or this]
    #[arg(long, value_name = "REGEX")]
    filter: Vec<Regex>,
    /// Print the names of the cases, and what is left out for this backend and why
    #[arg(long)]
    list: bool,
    /// The machine is the tests' own: also run what changes it, such as its clock, and count on
    /// no other program using message queues
    #[arg(long)]
    own_machine: bool,
    /// Multiplies every bound on waiting: for emulated machines
    #[arg(long, default_value_t = 1)]
    slow_factor: u32,
    /// How many messages each of the three producers of the cases journeys_* sends
    #[arg(long, default_value_t = 1000)]
    messages: u32,
    /// How long each attack of the cases hostile_* goes on
    #[arg(long, default_value_t = 1)]
    hostile_seconds: u32,
    /// How long the case soak goes on
    #[arg(long, default_value_t = 10)]
    soak_seconds: u32,
    /// A shell command line that calls without a pause and ends by itself, for the case soak in the place of a
    /// program of its own [repeatable: all at once]
    #[arg(long, value_name = "COMMAND")]
    soak_command: Vec<String>,
    /// How many cases run at once
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// What every case works with.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) agent: PathBuf,
    pub(crate) backend: Backend,
    /// No other program on the machine uses message queues.
    pub(crate) own_machine: bool,
    /// Messages of each producer, in cases that send many.
    pub(crate) messages: u32,
    /// How long each attack goes on.
    pub(crate) hostile_seconds: u32,
    /// How long the case `soak` goes on, the same on slow machines.
    pub(crate) soak_seconds: u32,
    /// Shell command lines for the case `soak`. Without any, it runs an attack of ours.
    pub(crate) soak_commands: Vec<String>,
    workload: Option<PathBuf>,
    workload32: Option<PathBuf>,
    slow_factor: u32,
}

impl Bench {
    /// A bench with this agent, on a machine that others use too, and without a workload.
    fn new(agent: &Path, backend: Backend) -> Result<Bench> {
        Ok(Bench {
            agent: absolute(agent)?,
            backend,
            own_machine: false,
            messages: 0,
            hostile_seconds: 1,
            soak_seconds: 10,
            soak_commands: Vec::new(),
            workload: None,
            workload32: None,
            slow_factor: 1,
        })
    }

    /// How long to wait for something that takes at most `seconds` on a fast machine.
    pub(crate) fn bound(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds) * self.slow_factor
    }

    pub(crate) fn workload(&self) -> Result<PathBuf> {
        self.workload
            .clone()
            .ok_or_else(|| anyhow!("needs the workload: --workload"))
    }

    /// A program that is built next to the workload, for the same ABI.
    pub(crate) fn beside_workload(&self, name: &str) -> Result<PathBuf> {
        let workload = self.workload()?;
        let file = workload.file_name().unwrap_or_default().to_string_lossy();
        let path = workload.with_file_name(file.replace("mqwork", name));
        ensure!(
            path != workload && path.exists(),
            "{} is not built: make -C tests/hostile",
            path.display()
        );
        Ok(path)
    }

    /// Whether the machine is emulated, so that cases do less on it.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow_factor > 1
    }

    pub(crate) fn workload32(&self) -> Result<PathBuf> {
        self.workload32
            .clone()
            .ok_or_else(|| anyhow!("needs the 32-bit workload: --workload32"))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| path.display().to_string())
}

#[derive(Clone, Copy, Default)]
struct Sum {
    passed: usize,
    failed: usize,
}

impl Sum {
    fn add(&mut self, name: &str, took: Duration, result: &Result<()>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok ({took:.1?})");
            }
            Err(error) => {
                self.failed += 1;
                println!("test {name} ... FAILED ({took:.1?})");
                for cause in error.chain() {
                    for line in cause.to_string().lines() {
                        println!("    {line}");
                    }
                }
            }
        }
    }
}

async fn within<F: Future<Output = Result<()>>>(bench: &Bench, case: F) -> Result<()> {
    let bound = bench.bound(120 + u64::from(bench.hostile_seconds))
        + Duration::from_secs(bench.soak_seconds.into());
    tokio::time::timeout(bound, case)
        .await
        .map_err(|_| anyhow!("the case did not end within {bound:?}"))?
}

/// Runs the cases, up to `jobs` at once, and prints the result of each.
async fn run_all<F: Future<Output = Result<()>> + 'static>(
    bench: &'static Bench,
    cases: impl IntoIterator<Item = (&'static str, F)>,
    jobs: usize,
    sum: &mut Sum,
) -> Result<()> {
    let mut waiting = cases.into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < jobs
            && let Some((name, case)) = waiting.next()
        {
            running.spawn_local(async move {
                let began = Instant::now();
                let result = within(bench, case).await;
                (name, began.elapsed(), result)
            });
        }
        let Some(done) = running.join_next().await else {
            return Ok(());
        };
        let (name, took, result) = done?;
        sum.add(name, took, &result);
    }
}

/// Runs the scenarios with an agent of their own, whose start and end are cases too.
async fn run_scenarios(
    bench: &'static Bench,
    all: Vec<(&'static str, cases::Scenario)>,
    jobs: usize,
    sum: &mut Sum,
) -> Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let began = Instant::now();
    let started = Scenarios::start(bench).await;
    let scenarios = match started {
        Ok(scenarios) => Rc::new(scenarios),
        Err(error) => {
            sum.add("scenarios", began.elapsed(), &Err(error));
            return Ok(());
        }
    };
    let runs = all.into_iter().map(|(name, scenario)| {
        let scenarios = Rc::clone(&scenarios);
        (name, async move { scenarios.run(bench, &scenario).await })
    });
    run_all(bench, runs, jobs, sum).await?;
    let began = Instant::now();
    let scenarios = Rc::into_inner(scenarios).context("a scenario has not ended")?;
    let result = within(bench, scenarios.end(bench)).await;
    sum.add("scenarios", began.elapsed(), &result);
    Ok(())
}

/// Runs `mqspan-e2e`.
///
/// # Errors
///
/// When the cases cannot be run at all. A case that fails makes a failing exit code.
pub async fn e2e() -> Result<ExitCode> {
    let args = Args::parse();
    let selected: Vec<_> = cases::all()
        .into_iter()
        .filter(|case| {
            args.filter.is_empty() || args.filter.iter().any(|regex| regex.is_match(case.name))
        })
        .collect();
    let (excluded, runs): (Vec<_>, Vec<_>) = selected
        .into_iter()
        .partition(|case| cases::excluded(args.backend, args.own_machine, case.name).is_some());
    if args.list {
        for case in &runs {
            println!("{}", case.name);
        }
        for case in &excluded {
            let why =
                cases::excluded(args.backend, args.own_machine, case.name).unwrap_or_default();
            println!("{}: not for {}: {why}", case.name, args.backend.name());
        }
        return Ok(ExitCode::SUCCESS);
    }

    // Lives as long as the program, so that the cases' futures can borrow it freely.
    let bench: &'static Bench = Box::leak(Box::new(Bench {
        own_machine: args.own_machine,
        messages: args.messages,
        hostile_seconds: args.hostile_seconds,
        soak_seconds: args.soak_seconds,
        soak_commands: args.soak_command,
        workload: Some(absolute(&args.workload)?),
        workload32: args.workload32.as_deref().map(absolute).transpose()?,
        slow_factor: args.slow_factor.max(1),
        ..Bench::new(&args.agent, args.backend)?
    }));
    let jobs = args.jobs.max(1);
    let (mut alone, mut scenarios) = (Vec::new(), Vec::new());
    for case in runs {
        match case.how {
            How::Alone(run) => alone.push((case.name, run)),
            How::Shared(scenario) => scenarios.push((case.name, scenario)),
        }
    }
    let mut sum = Sum::default();
    LocalSet::new()
        .run_until(async {
            run_scenarios(bench, scenarios, jobs, &mut sum).await?;
            let alone = alone.into_iter().map(|(name, run)| (name, run(bench)));
            run_all(bench, alone, jobs, &mut sum).await
        })
        .await?;
    let Sum { passed, failed } = sum;
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
