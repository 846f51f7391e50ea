//! `mqspan top`: a live screen of queues.
//!
//! ```text
//! capture thread: pipeline ──> TopSink ──> Tally        (counts, ten seconds)
//!                                            │ Stats, once an interval
//! display thread: keys ──> Ui <── Snapshot <── Source <── kernel: losses, blocked callers
//!                           └──> View ──> terminal or plain text
//! ```
//!
//! The display never blocks the capture. While the terminal accepts no output,
//! newer numbers replace those not yet shown.

mod batch;
mod blocked;
mod format;
mod interactive;
mod keys;
mod queue_tally;
#[cfg(test)]
mod samples;
mod sink;
mod snapshot;
mod source;
mod stats;
mod tally;
mod terminal;
mod theme;
mod ui;
mod view;
mod window;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::signal::unix::SignalKind;

use self::sink::{Handover, TopSink};
use self::source::Source;
use self::theme::Theme;
use self::ui::Ui;
use self::view::View;
use super::Failure;
use super::live::{self, Flags};
use super::signals::StopSignals;
use crate::capture;
use crate::cli::TopArgs;
use crate::config::{BackendChoice, Config};
use crate::host::Host;
use crate::kernel::{KernelSettings, Tracer};
use crate::logs::{self, say};
use crate::panics;
use crate::pipeline::{Pipeline, PipelineCounts, PipelineSettings};
use crate::process::Processes;

/// How long the display may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &TopArgs) -> Result<ExitCode, Failure> {
    if args.batch.is_none() && !terminal::is_capable() {
        return Err(Failure::Usage(
            "standard output is no terminal that can show a screen: `mqspan top --batch 1` \
             prints a plain table"
                .to_owned(),
        ));
    }
    let config = configure(args)?;
    // A log line would garble the screen.
    if args.batch.is_some() || !std::io::stderr().is_terminal() {
        logs::start(&config.logs)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    panics::stop_by(&stop);
    stop_on_signal(Arc::clone(&stop))?;
    // An agent on the same host must not be affected.
    let as_guest = config.capture.backend == BackendChoice::Auto;
    let mut tracer = Tracer::start(&KernelSettings::new(&config), as_guest)
        .map_err(|error| super::explain::attach_error(&error))?;
    live::demand_known_pids(&tracer)?;
    if let Some(warning) = tracer.backend().warning() {
        say!("{warning}; use --backend kprobe");
    }
    watch(args, &config, &mut tracer, &stop)?;
    Ok(ExitCode::SUCCESS)
}

/// Switches off sampling and payloads, because `top` only counts calls.
fn configure(args: &TopArgs) -> Result<Config, Failure> {
    let mut config = live::configure(&Flags {
        pids: &args.pid,
        comms: &args.comm,
        queues: &args.queue,
        backend: args.backend.as_deref(),
    })?;
    config.sampling.ratio = 1.0;
    config.capture.payload.enabled = false;
    Ok(config)
}

/// Counts on this thread and displays on another one, until the display ends or
/// `stop` is set.
fn watch(
    args: &TopArgs,
    config: &Config,
    tracer: &mut Tracer,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let host = Host::read();
    let counts = Arc::new(PipelineCounts::default());
    let handover = Arc::new(Handover::default());
    let mut theme = Theme::from_env(|name| std::env::var(name).ok());
    theme.colour &= args.batch.is_none();
    let view = View {
        host: host.node_name().to_owned(),
        backend: tracer.backend().name(),
        theme,
    };
    let source = Source {
        handover: Arc::clone(&handover),
        meters: tracer.meters().context("cannot keep the counters open")?,
        counts: Arc::clone(&counts),
        filter: config.filter.clone(),
    };
    // A table covers one interval; a screen appears at once.
    let mut first = Instant::now();
    if args.batch.is_some() {
        first += args.interval;
    }
    let pipeline = Pipeline::new(
        PipelineSettings::new(config, &host),
        Processes::new(host, &config.resource, &config.enrich),
        TopSink::new(handover, args.interval, first),
        &counts,
    );
    let display = start_display(args, source, view, Arc::clone(stop))?;
    let captured = panics::caught(|| {
        let captured = capture::run(tracer, pipeline, stop, |_, _| {});
        captured.context("cannot read the ring buffer")
    });
    stop.store(true, Ordering::Relaxed);
    end_display(display)?;
    captured.map(drop)
}

/// Sets the flag when dropped, so that a panic sets it too.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn start_display(
    args: &TopArgs,
    source: Source,
    view: View,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let ui = Ui::new(args.sort);
    let batch = args.batch;
    let display = move || {
        let stop = Stop(stop);
        match batch {
            Some(tables) => batch::print(&source, ui, &view, tables, &stop.0),
            None => interactive::show(&source, ui, &view, &stop.0),
        }
    };
    thread::Builder::new()
        .name("mqspan-display".to_owned())
        .spawn(display)
        .context("cannot start a thread")
}

/// Abandons a display that is blocked by a terminal that accepts no output (Ctrl-S).
fn end_display(display: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    let give_up = Instant::now() + PATIENCE;
    while !display.is_finished() {
        if Instant::now() >= give_up {
            terminal::abandon();
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    display
        .join()
        .map_err(|_| anyhow!("the thread of the display is gone"))?
}

/// Sets the flag at the first signal that asks for an end, including SIGHUP
/// when the terminal goes away.
fn stop_on_signal(stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let context = runtime.enter();
    let signals = StopSignals::heed(&[SignalKind::hangup(), SignalKind::quit()])?;
    drop(context);
    let wait = move || {
        runtime.block_on(signals.wait());
        stop.store(true, Ordering::Relaxed);
    };
    thread::Builder::new()
        .name("mqspan-signals".to_owned())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok(())
}
