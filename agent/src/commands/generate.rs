//! `mqspan completions` and `mqspan man`, generated from the definition of the
//! command line.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use super::Failure;
use crate::cli::{Cli, CompletionsArgs, ManArgs};

/// Writes the script to standard output at once.
pub(super) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mqspan", &mut script);
    std::io::stdout()
        .write_all(&script)
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Writes `mqspan.1`, `mqspan-run.1`, … to the directory.
pub(super) fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    clap_mangen::generate_to(Cli::command(), &args.directory)
        .with_context(|| format!("cannot write manual pages to {}", args.directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
