//! What mqspan costs a traced program, beside doing nothing and beside other tracers.
//!
//! Everything that is compared runs in turn, round after round, in one run: machines are shared, and what they
//! do differs from minute to minute. Shown are medians.

mod cost;
mod figures;
mod observer;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

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
    /// tests/bench/mq.bt
    #[arg(long)]
    bpftrace_script: PathBuf,
    #[arg(long, value_enum, default_value = "tracepoint")]
    backend: Backend,
    /// Rounds; medians are of so many
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the table goes, besides standard output
    #[arg(long)]
    output: Option<PathBuf>,
}

/// The whole of `mqspan-bench`.
///
/// # Errors
///
/// When something cannot be measured; nothing is left out in silence.
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
    cost::of_mq_calls(&bench, &tools, args.rounds, &mut table).await?;
    cost::of_other_calls(&bench, &tools, args.rounds, &mut table).await?;
    figures::of_agent(&bench, args.rounds, &mut table).await?;
    let text = table.to_string();
    println!("{text}");
    if let Some(path) = args.output {
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}
