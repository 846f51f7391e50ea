//! The command `mqspan`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    mqspan::panics::install();
    mqspan::commands::run(mqspan::cli::Cli::parse())
}
