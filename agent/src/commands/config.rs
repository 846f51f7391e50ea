//! `mqspan config check` and `mqspan config print`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use super::Failure;
use crate::cli::ConfigCommand;
use crate::config::{self, Env, Overrides};
use crate::logs::say;

pub(super) fn run(command: &ConfigCommand) -> Result<ExitCode, Failure> {
    let env = Env::from_process();
    match command {
        ConfigCommand::Check { file } => {
            let loaded = config::check(file, &env)?;
            warn(&loaded.warnings);
            say(&format!("{}: the configuration is valid\n", file.display()))
        }
        ConfigCommand::Print { config } => {
            let loaded = config::load(config.as_deref(), &Overrides::new(), &env)?;
            warn(&loaded.warnings);
            say(&config::print::to_yaml(&loaded.config))
        }
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        say!("warning: {warning}");
    }
}

fn say(text: &str) -> Result<ExitCode, Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
