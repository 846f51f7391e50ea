//! Configuration of the commands that show calls live. Precedence, lowest
//! first: defaults, environment, flags.

use anyhow::anyhow;

use super::Failure;
use crate::config::{self, Config, Env, Globs, LogLevel, Overrides};
use crate::kernel::Tracer;

pub(super) struct Flags<'a> {
    pub(super) pids: &'a [u32],
    pub(super) comms: &'a [String],
    pub(super) queues: &'a [String],
    pub(super) backend: Option<&'a str>,
}

pub(super) fn configure(flags: &Flags<'_>) -> Result<Config, Failure> {
    let mut overrides = Overrides::new();
    if let Some(backend) = flags.backend {
        overrides = overrides.set("--backend", "capture.backend", backend);
    }
    let env = Env::from_process();
    let mut config = config::load(None, &overrides, &env)?.config;
    let globs = |flag: &str, patterns: &[String]| {
        Globs::new(patterns).map_err(|error| Failure::Usage(format!("{flag}: {error}")))
    };
    // The terminal is for calls, not for life-cycle messages.
    if config.logs.level == LogLevel::Info {
        config.logs.level = LogLevel::Warn;
    }
    let include = &mut config.filter.include;
    include.pids.extend_from_slice(flags.pids);
    if !flags.comms.is_empty() {
        include.comms = globs("--comm", flags.comms)?;
    }
    if !flags.queues.is_empty() {
        include.queues = globs("--queue", flags.queues)?;
    }
    Ok(config)
}

/// Fails if a process id is unknown, because the filter would silently pass nothing.
pub(super) fn demand_known_pids(tracer: &Tracer) -> Result<(), Failure> {
    match tracer.unknown_pids() {
        [] => Ok(()),
        unknown => Err(Failure::Run(anyhow!(
            "--pid: no process {unknown:?} in this PID namespace; to name others run in the \
             host's (--pid=host, hostPID: true)"
        ))),
    }
}
