//! The commands. Exit codes: 0 success, 1 failure at run time, 2 wrong usage or
//! configuration.

mod config;
mod doctor;
mod durations;
mod explain;
mod generate;
mod launch;
mod listen;
mod live;
mod run;
mod signals;
mod text;
mod top;
mod trace;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::config::ConfigError;
use crate::{logs, panics};

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// To be fixed by another command line or configuration.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0:#}")]
    Run(#[from] anyhow::Error),
}

pub fn run(cli: Cli) -> ExitCode {
    let code = match panics::caught(|| Ok(dispatch(cli.command))) {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
            logs::say!("{failure}");
            match failure {
                Failure::Usage(_) | Failure::Config(_) => ExitCode::from(2),
                Failure::Run(_) => ExitCode::from(1),
            }
        }
        // The panic has been reported.
        Err(_) => ExitCode::from(1),
    };
    logs::flush();
    if panics::count() == 0 {
        code
    } else {
        ExitCode::from(1)
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
        Command::Launch(args) => launch::run(&args),
    }
}

/// Flushes the log and ends the process.
fn end(code: i32) -> ! {
    logs::flush();
    std::process::exit(code)
}
