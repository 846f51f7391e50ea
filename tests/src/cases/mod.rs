//! The cases by theme, and which of them a backend leaves out.

mod balance;
mod blocking;
mod calls;
mod chains;
mod clock;
mod command;
mod config;
mod container;
mod context;
mod delivery;
mod faults;
mod filter;
mod health;
mod hostile;
mod identity;
mod journeys;
mod limits;
mod logs;
mod metrics;
mod process_spans;
mod relation;
mod scenarios;
mod screen;
mod shares;
mod soak;
mod tls;
mod top;
mod weak_spots;

use std::future::Future;
use std::pin::Pin;

use anyhow::{Result, ensure};
use mqspan_testkit::collector::Collector;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::compare::{Comparison, Correlation, ReadFrom, is_of};
use crate::workload::Workload;
use crate::{Backend, Bench};

pub(crate) use scenarios::Scenarios;

type Run = fn(&'static Bench) -> Pin<Box<dyn Future<Output = Result<()>>>>;

/// One requirement on the agent.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) how: How,
}

pub(crate) enum How {
    /// Runs with an agent of its own, if it needs one.
    Alone(Run),
    /// Runs with the agent that all scenarios share.
    Shared(Scenario),
}

/// A scenario of the workload, traced by an agent with default settings.
pub(crate) struct Scenario {
    is_32_bit: bool,
    args: &'static [&'static str],
}

/// Every call of the workload with these `args`, built for `bits` bits, is one correct span.
fn scenario(name: &'static str, bits: u8, args: &'static [&'static str]) -> Case {
    Case {
        name,
        how: How::Shared(Scenario {
            is_32_bit: bits == 32,
            args,
        }),
    }
}

/// Makes a case of an async function that takes the bench.
macro_rules! case {
    ($name:literal, $run:expr) => {
        $crate::cases::Case {
            name: $name,
            how: $crate::cases::How::Alone(|bench| Box::pin($run(bench))),
        }
    };
}
use case;

pub(crate) fn all() -> Vec<Case> {
    [
        calls::cases(),
        clock::cases(),
        blocking::cases(),
        delivery::cases(),
        faults::cases(),
        tls::cases(),
        command::cases(),
        config::cases(),
        container::cases(),
        health::cases(),
        filter::cases(),
        relation::cases(),
        journeys::cases(),
        chains::cases(),
        process_spans::cases(),
        context::cases(),
        metrics::cases(),
        balance::cases(),
        top::cases(),
        screen::cases(),
        weak_spots::cases(),
        identity::cases(),
        limits::cases(),
        logs::cases(),
        shares::cases(),
        hostile::cases(),
        soak::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a backend cannot do by design. Everything else runs on every backend.
const EXCLUDED: [(Backend, &str, &str); 5] = [
    (Backend::Tracepoint, "tocttou_64", READS_THE_CALLERS),
    (Backend::Tracepoint, "tocttou_32", READS_THE_CALLERS),
    (
        Backend::Tracepoint,
        "limits_messages",
        "raw tracepoints show no messages",
    ),
    (
        Backend::Tracepoint,
        "limits_kretprobes",
        NO_RETURN_INSTANCES,
    ),
    (Backend::Fentry, "limits_kretprobes", NO_RETURN_INSTANCES),
];
const READS_THE_CALLERS: &str = "a raw tracepoint reads the caller's memory, not the kernel's copy";
const NO_RETURN_INSTANCES: &str = "only kprobes have instances for returns";

/// Why this case does not run on this backend or on this machine.
pub(crate) fn excluded(backend: Backend, own_machine: bool, name: &str) -> Option<&'static str> {
    if name.starts_with("clock_") && !own_machine {
        return Some("it sets the machine's clock: --own-machine");
    }
    EXCLUDED
        .iter()
        .find(|(for_backend, case, _)| *for_backend == backend && *case == name)
        .map(|(_, _, why)| *why)
}

/// Traces a workload with a running agent, stops the agent, and compares every span that arrived.
async fn run_and_compare(
    bench: &Bench,
    workload: &Workload,
    collector: &Collector,
    agent: Agent,
) -> Result<()> {
    let calls = workload.run(bench).await?;
    let arrived = collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await;
    // Surplus and late spans arrive by the end of the agent at the latest.
    let log = agent.log();
    agent.stop_well(bench).await?;
    let compared = comparison(bench, workload).check(&calls, &collector.spans());
    verdict(arrived, compared, &log)
}

/// Passes if the spans arrived in time and are correct.
fn verdict(arrived: Result<()>, compared: Result<()>, log: &str) -> Result<()> {
    match (arrived, compared) {
        (Err(missing), Err(differences)) => {
            Err(differences.context(format!("{missing}; the agent's log:\n{log}")))
        }
        (Err(late), Ok(())) => Err(late.context("the last spans came too late")),
        (Ok(()), compared) => compared,
    }
}

fn comparison<'a>(bench: &Bench, workload: &'a Workload) -> Comparison<'a> {
    Comparison {
        backend: bench.backend,
        program: workload.program(),
        read_from: ReadFrom::Export,
        correlation: Correlation::Parent,
        other_program: None,
        payload_max_bytes: None,
    }
}

/// No settings beyond those that every agent under test gets.
fn defaults() -> Value {
    json!({})
}

/// Checks that `text` contains `wanted` in any case. The error has the whole text.
fn ensure_contains(text: &str, wanted: &str, what: &str) -> Result<()> {
    ensure!(
        text.to_lowercase().contains(&wanted.to_lowercase()),
        "{what} does not say {wanted:?}:\n{text}"
    );
    Ok(())
}
