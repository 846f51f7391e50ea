//! The agent and `strace -f` watch the same run of a program that this project did not write.
//!
//! ```text
//! program ── system calls ──> kernel ──> mqspan ── OTLP ──> collector
//!                                └─────> strace ── lines ──> compare, call by call
//! ```
//!
//! The program runs in an IPC namespace of its own, and the agent traces only that namespace. So
//! every span must have its line, and every line its span.

mod arguments;
mod compare;
mod expected;
mod numbers;
mod strace;
mod traced;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mqspan_testkit::collector::Collector;
use serde_json::json;

use crate::agent::{self, Agent};
use crate::{Backend, Bench};

/// Runs a program under strace while mqspan traces it, and compares every call.
#[derive(Parser)]
#[command(name = "mqspan-oracle")]
struct Args {
    /// The mqspan binary under test
    #[arg(long)]
    agent: PathBuf,
    #[arg(long, value_enum)]
    backend: Backend,
    /// What the report calls the program
    #[arg(long)]
    name: String,
    /// The program's ABI, as `posix_mq.abi` has it
    #[arg(long, value_parser = ["x86_64", "i386", "aarch64", "arm"])]
    abi: String,
    /// Fewer calls than this are a failure
    #[arg(long, default_value_t = 1)]
    calls_at_least: usize,
    /// An exit code of the program that is no failure of this test [repeatable]
    #[arg(long, default_values_t = [0])]
    exit_code: Vec<i32>,
    /// How long the program may take, in seconds
    #[arg(long, default_value_t = 60)]
    bound: u64,
    /// Multiplies every bound on waiting: for emulated machines
    #[arg(long, default_value_t = 1)]
    slow_factor: u32,
    /// The program and its arguments
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// Runs `mqspan-oracle`.
///
/// # Errors
///
/// When the two could not be compared at all. A difference makes a failing exit code.
pub async fn oracle() -> Result<ExitCode> {
    let args = Args::parse();
    let bench = Bench {
        slow_factor: args.slow_factor.max(1),
        ..Bench::new(&args.agent, args.backend)?
    };
    let stopped = traced::Stopped::new(&args.command).await?;
    let collector = Collector::start()?;
    let agent = Agent::start(
        &bench,
        agent::config(
            &bench,
            &collector.endpoint(),
            json!({
                "filter": {"include": {"namespaces": [stopped.ipc_namespace()]}},
                "traces": {"body_size": true},
            }),
        ),
    )
    .await?;
    let run = stopped.run(bench.bound(args.bound)).await?;
    agent.stop_well(&bench).await?;
    ensure!(
        run.code.is_some_and(|code| args.exit_code.contains(&code)),
        "{} ended with {:?}, not {:?}; it said:\n{}",
        args.name,
        run.code,
        args.exit_code,
        run.output
    );
    let calls = strace::parse(&run.strace).context("strace's output")?;
    let settings = expected::Settings {
        abi: &args.abi,
        sees_messages: args.backend.sees_messages(),
    };
    let result = compare::compare(&calls, &collector.spans(), &settings);
    print!("{}", result.report);
    if result.died > 0 {
        println!(
            "threads killed before strace saw a return: {}, of these before the call ran: {}",
            result.died, result.skipped
        );
    }
    println!(
        "{} {}: {} calls, {} differences",
        args.name, args.abi, result.calls, result.differences
    );
    if result.calls < args.calls_at_least {
        println!("fewer than the {} calls demanded", args.calls_at_least);
    }
    Ok(
        if result.differences == 0 && result.calls >= args.calls_at_least {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        },
    )
}
