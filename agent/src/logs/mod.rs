//! What the agent writes to standard error: its log, and what its commands tell
//! their user. Nothing here panics, and the log never waits for a reader (see
//! [`lossy`]).

mod lossy;

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use tracing::Event;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use self::lossy::Lossy;
use crate::config::{LogFormat, LogLevel, Logs};
use crate::terminal::takes_colours;

/// How long the process waits for the last lines when it ends.
const LAST_LINES: Duration = Duration::from_secs(1);

static LINES: OnceLock<Lossy> = OnceLock::new();
static RECORDS: OnceLock<OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>> =
    OnceLock::new();

/// Standard error without the lock of `std::io::stderr()`, which a thread that
/// is stuck in a write would hold.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging. Only the first call has an effect.
///
/// # Errors
/// If the writer thread cannot be started.
pub fn start(logs: &Logs) -> anyhow::Result<()> {
    if LINES.get().is_some() {
        return Ok(());
    }
    let tell = |lines| tracing::warn!(lines, "log lines were lost");
    let lossy = Lossy::start(Stderr, tell).context("cannot start the thread of the log")?;
    let lossy = LINES.get_or_init(|| lossy);
    let level = match logs.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // The layer would print its own errors to standard error with a macro that
    // panics.
    let layer = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(move || lossy.clone());
    let layer = match logs.format {
        LogFormat::Text => layer
            .with_ansi(takes_colours(&io::stderr()))
            .with_target(false)
            .boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    let records = logs
        .otlp
        .enabled
        .then(|| Records.with_filter(of_agent(level)));
    let registry = tracing_subscriber::registry().with(layer).with(records);
    // If a logger is already set, it stays, and there is nobody to tell.
    drop(registry.with(filter(level)).try_init());
    Ok(())
}

/// Turns events into log records as well, if `logs.otlp` is enabled. Only the
/// first call has an effect.
pub(crate) fn send_to(provider: &SdkLoggerProvider) {
    RECORDS.get_or_init(|| OpenTelemetryTracingBridge::new(provider));
}

/// Turns events into records once [`send_to`] has been called.
struct Records;

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Records {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(bridge) = RECORDS.get() {
            bridge.on_event(event, context);
        }
    }
}

/// Whether [`start`] has been called. Until then nobody takes events.
pub(crate) fn is_started() -> bool {
    LINES.get().is_some()
}

/// Lines of the log lost so far.
pub fn lost() -> u64 {
    LINES.get().map_or(0, Lossy::lost)
}

/// Tells the user something that is not an event of the log. It follows the
/// lines logged so far, and is lost where a line would be.
pub(crate) fn tell(text: fmt::Arguments<'_>) {
    let line = format!("{text}\n");
    match LINES.get().cloned() {
        Some(mut lines) => lines.write_all(line.as_bytes()),
        None => Stderr.write_all(line.as_bytes()),
    }
    .unwrap_or_default();
}

/// Writes a text that is the point of the command and may be large. Waits for
/// its reader.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    flush();
    Stderr
        .write_all(text.to_string().as_bytes())
        .unwrap_or_default();
}

/// Waits until the lines so far are written, but at most a second.
pub(crate) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST_LINES);
    }
}

/// Like `eprintln!`, but starts with the program's name and never panics.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::logs::tell(format_args!("mqspan: {}", format_args!($($text)*)))
    };
}
pub(crate) use say;

/// What is sent over OTLP: the agent's own events. Events of its libraries, and
/// events about the export of the log, would create more of themselves.
fn of_agent(level: LevelFilter) -> Targets {
    Targets::new()
        .with_target("mqspan", level)
        .with_target("mqspan::export::logs", LevelFilter::OFF)
}

/// Hides what the Kubernetes client logs of each failed try, at levels up to
/// ERROR, unless debugging. `kubernetes` logs the first failure.
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

    #[test]
    fn an_export_of_the_log_makes_no_records() {
        let trace = of_agent(LevelFilter::TRACE);
        assert!(trace.would_enable("mqspan::export::deliver", &Level::TRACE));
        for target in ["mqspan::export::logs", "h2::client", "hyper_util", "rustls"] {
            assert!(!trace.would_enable(target, &Level::ERROR), "{target}");
        }
    }
}
