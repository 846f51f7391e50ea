//! The configuration of the commands that show calls live: what their flags
//! say, over what the environment says, over the defaults.

use anyhow::anyhow;

use super::Failure;
use crate::config::{self, Config, Env, Globs, LogLevel, Overrides};
use crate::host::is_initial_pid_namespace;

/// The flags that these commands share.
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
    // The terminal is for calls: the life cycle is of no interest here.
    if config.logs.level == LogLevel::Info {
        config.logs.level = LogLevel::Warn;
    }
    let include = &mut config.filter.include;
    include.pids.extend_from_slice(flags.pids);
    if !flags.pids.is_empty() {
        demand_initial_pid_namespace()?;
    }
    if !flags.comms.is_empty() {
        include.comms = globs("--comm", flags.comms)?;
    }
    if !flags.queues.is_empty() {
        include.queues = globs("--queue", flags.queues)?;
    }
    Ok(config)
}

/// Elsewhere a filter by process ids would silently let nothing pass, or calls
/// of others.
pub(super) fn demand_initial_pid_namespace() -> Result<(), Failure> {
    if is_initial_pid_namespace() {
        return Ok(());
    }
    Err(Failure::Run(anyhow!(
        "process ids in this PID namespace are not those that the kernel's programs see, so neither \
         --pid nor a command can be traced here; run in the host's PID namespace (--pid=host, \
         hostPID: true), or take --comm or --queue"
    )))
}
