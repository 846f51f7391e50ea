//! The agent's own log, on standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogLevel, Logs};
use crate::terminal::takes_colours;

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
    let filter = filter(level);
    let started = match logs.format {
        LogFormat::Text => {
            let builder = builder
                .with_ansi(takes_colours(&std::io::stderr()))
                .with_target(false);
            builder.finish().with(filter).try_init()
        }
        LogFormat::Json => builder.json().finish().with(filter).try_init(),
    };
    // A logger that is there already stays; there is nobody to tell.
    drop(started);
}

/// What the client of Kubernetes logs of each failed try, up to ERROR, is for
/// debugging only: `kubernetes` logs the first.
fn filter(level: LevelFilter) -> Targets {
    let of_client = if level >= LevelFilter::DEBUG {
        level
    } else {
        LevelFilter::OFF
    };
    Targets::new()
        .with_default(level)
        .with_target("kube_client", of_client)
        .with_target("kube_runtime", of_client)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn tries_of_the_client_are_for_debugging() {
        let info = filter(LevelFilter::INFO);
        assert!(info.would_enable("mqspan::kubernetes::watch", &Level::WARN));
        assert!(!info.would_enable("kube_client::client::builder", &Level::ERROR));
        assert!(!info.would_enable("kube_runtime::watcher", &Level::WARN));
        let debug = filter(LevelFilter::DEBUG);
        assert!(debug.would_enable("kube_client::client::builder", &Level::ERROR));
        assert!(!debug.would_enable("mqspan::kubernetes", &Level::TRACE));
    }
}
