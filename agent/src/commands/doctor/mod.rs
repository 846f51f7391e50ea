//! `mqspan doctor`: reports what this kernel and these privileges allow.

mod checks;
mod collector;
mod places;
mod report;

use std::process::ExitCode;

use super::Failure;
use crate::cli::{DoctorArgs, Output};
use crate::config::{self, Env, Overrides};
use crate::kernel::KernelSettings;
use crate::logs::say;

pub(super) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let env = Env::from_process();
    let loaded = config::load(args.config.as_deref(), &Overrides::new(), &env)?;
    let config = loaded.config;
    for warning in &loaded.warnings {
        say!("warning: {warning}");
    }
    let mut findings = checks::of_machine();
    findings.extend(checks::of_backends(&KernelSettings::new(&config)));
    let otlp = &config.exporters.otlp;
    if otlp.enabled {
        findings.push(collector::of_collector(otlp)?);
    }
    findings.extend(places::of_places(&config)?);
    findings.extend(checks::of_kubernetes(&config.enrich.kubernetes)?);
    match args.output {
        Output::Pretty => report::pretty(&findings)?,
        Output::Json => report::json(&findings)?,
    }
    Ok(if findings.iter().any(checks::Finding::stops_run) {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}
