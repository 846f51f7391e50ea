//! The agent's own log, on standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LogLevel, Logs};

/// Starts logging. Only the first call has an effect.
pub fn start(logs: &Logs) {
    let level = match logs.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let builder = fmt().with_max_level(level).with_writer(std::io::stderr);
    let started = match logs.format {
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            let colour = std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            builder.with_ansi(colour).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().try_init(),
    };
    // A logger that is there already stays; there is nobody to tell.
    drop(started);
}
