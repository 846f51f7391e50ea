//! What mqspan costs a traced program, compared with no tracer and with other tracers.
//!
//! Everything that is compared runs in turn, round after round, in one run, because machines are
//! shared and their speed changes from minute to minute. The table shows medians over the rounds.
//! For the cost of a call, each round counts the fastest of many runs.

mod cost;
mod counter;
mod encoder;
mod figures;
mod forwarder;
mod observer;
mod outage;
mod table;
mod throughput;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use self::observer::Tools;
use self::table::Table;
use crate::{Backend, Bench, absolute};

/// Measures what mqspan costs, beside its rivals
#[derive(Parser)]
#[command(name = "mqspan-bench")]
struct Args {
    /// The mqspan binary
    #[arg(long)]
    agent: PathBuf,
    /// mqwork of this machine's native ABI
    #[arg(long)]
    workload: PathBuf,
    /// tests/bench/floor.c, compiled
    #[arg(long)]
    floor: PathBuf,
    /// agent/benches/encode.rs, compiled
    #[arg(long)]
    encoder: PathBuf,
    /// tests/bench/mq.bt
    #[arg(long)]
    bpftrace_script: PathBuf,
    /// Where tests/bench/rivals.sh put its collectors
    #[arg(long)]
    rivals: PathBuf,
    #[arg(long, value_enum, default_value = "tracepoint")]
    backend: Backend,
    /// Rounds; medians are of so many
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long the collector is away, in seconds
    #[arg(long, default_value_t = 300)]
    outage: u64,
    /// Measure this part alone [repeatable: or this]
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Where the table goes, besides standard output
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Some of the rows.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What a send or a receive costs, beside other tracers
    Calls,
    /// What other system calls cost
    Others,
    /// What the agent itself takes
    Agent,
    /// Spans to bytes
    Encoder,
    /// Spans a second to a collector
    Throughput,
    /// A collector that is away
    Outage,
}

/// Runs `mqspan-bench`.
///
/// # Errors
///
/// When something cannot be measured. Nothing is left out silently.
pub async fn bench() -> Result<ExitCode> {
    let args = Args::parse();
    let bench = Bench {
        workload: Some(absolute(&args.workload)?),
        ..Bench::new(&args.agent, args.backend)?
    };
    let tools = Tools {
        floor: absolute(&args.floor)?,
        bpftrace_script: absolute(&args.bpftrace_script)?,
    };
    let mut table = Table::new(args.rounds)?;
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Calls) {
        cost::of_mq_calls(&bench, &tools, args.rounds, &mut table).await?;
    }
    if wanted(Part::Others) {
        cost::of_other_calls(&bench, &tools, args.rounds, &mut table).await?;
    }
    if wanted(Part::Agent) {
        figures::of_agent(&bench, args.rounds, &mut table).await?;
    }
    if wanted(Part::Encoder) {
        encoder::of_span(&absolute(&args.encoder)?, &mut table).await?;
    }
    if wanted(Part::Throughput) {
        throughput::of_agent(&bench, &absolute(&args.rivals)?, args.rounds, &mut table).await?;
    }
    if wanted(Part::Outage) {
        outage::of_collector(&bench, args.outage, &mut table).await?;
    }
    let text = table.to_string();
    println!("{text}");
    if let Some(path) = args.output {
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
