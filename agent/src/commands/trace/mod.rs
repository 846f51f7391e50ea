//! `mqspan trace`: live spans on the terminal.

mod chains;
mod child;
mod colours;
mod json;
mod pretty;
mod summary;

use std::io::{BufWriter, Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, anyhow};

use self::child::Child;
use self::colours::Colours;
use self::summary::Summary;
use super::Failure;
use super::live::{self, Flags};
use super::signals::StopSignals;
use crate::capture;
use crate::cli::{Output, TraceArgs};
use crate::config::{Config, HumanDuration};
use crate::host::Host;
use crate::kernel::{KernelCounts, KernelMeters, KernelSettings, Tracer};
use crate::logs::{self, say};
use crate::panics;
use crate::pipeline::{Pipeline, PipelineCounts, PipelineSettings};
use crate::process::Processes;
use crate::sink::SpanSink;

pub(super) fn run(args: &TraceArgs) -> Result<ExitCode, Failure> {
    let mut config = configure(args)?;
    logs::start(&config.logs)?;
    let child = match args.command.as_slice() {
        [] => None,
        command => {
            let child = Child::prepare(command).context("cannot start the command")?;
            config.filter.include.pids.push(child.pid());
            Some(child)
        }
    };
    let mut tracer = Tracer::start(&KernelSettings::new(&config), false)
        .map_err(|error| super::explain::attach_error(&error))?;
    live::demand_known_pids(&tracer)?;
    let meters = tracer.meters().context("cannot keep the counters open")?;
    let backend = tracer.backend();
    if args.chains && !backend.knows_messages() {
        return Err(anyhow!(
            "--chains: the {backend} backend does not see which message is which; fentry and kprobe do"
        )
        .into());
    }
    say!("tracing by {backend}");
    if let Some(warning) = tracer.backend().warning() {
        say!("{warning}; use --backend kprobe");
    }

    let out = BufWriter::with_capacity(1 << 16, stdout().lock());
    let counts = PipelineCounts::default();
    let mut traced = Traced {
        tracer: &mut tracer,
        config: &config,
        counts: &counts,
        child,
    };
    let colours = Colours::new(args.color);
    let code = match (args.output, args.summary) {
        _ if args.chains => traced.follow(chains::Chains::new(out, colours)),
        (Output::Pretty, false) => traced.follow(pretty::Printer::new(out, colours)),
        (Output::Pretty, true) => traced.follow(Summary::new(pretty::Printer::new(out, colours))),
        (Output::Json, false) => traced.follow(json::Lines::new(out)),
        (Output::Json, true) => traced.follow(Summary::new(json::Lines::new(out))),
    }?;
    report(&meters, &counts)?;
    Ok(code)
}

fn configure(args: &TraceArgs) -> Result<Config, Failure> {
    let mut config = live::configure(&Flags {
        pids: &args.pid,
        comms: &args.comm,
        queues: &args.queue,
        backend: args.backend.as_deref(),
    })?;
    if let Some(min_duration) = args.min_duration {
        config.filter.min_duration = HumanDuration(min_duration);
    }
    config.filter.errors_only |= args.errors;
    Ok(config)
}

struct Traced<'a> {
    tracer: &'a mut Tracer,
    config: &'a Config,
    counts: &'a PipelineCounts,
    child: Option<Child>,
}

impl Traced<'_> {
    /// Traces until the command ends or a signal arrives.
    fn follow<S: SpanSink>(&mut self, sink: S) -> Result<ExitCode, Failure> {
        let host = Host::read();
        let pipeline = Pipeline::new(
            PipelineSettings::new(self.config, &host),
            Processes::new(host, &self.config.resource, &self.config.enrich)
                .with_contexts(self.config.traces.application_context),
            sink,
            self.counts,
        );
        let stop = Arc::new(AtomicBool::new(false));
        panics::stop_by(&stop);
        let (tracer, child) = (&mut *self.tracer, self.child.take());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let code = wait_for_end(child);
                stop.store(true, Ordering::Relaxed);
                code
            });
            let captured = panics::caught(|| {
                let captured = capture::run(tracer, pipeline, &stop, |_, _| {});
                captured.context("cannot read the ring buffer")
            });
            if let Err(error) = captured {
                say!("{error:#}");
                // Exit now: the other thread still waits for a signal.
                super::end(1);
            }
            waiting
                .join()
                .map_err(|_| anyhow!("the thread that waits for the end is gone"))?
        })
    }
}

/// Waits for the command, or for a signal if there is none. Returns the exit code.
fn wait_for_end(child: Option<Child>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let end = runtime.block_on(async {
        if let Some(child) = child {
            return child.run().await.map(ExitCode::from);
        }
        StopSignals::heed(&[])?.wait().await;
        Ok(ExitCode::SUCCESS)
    });
    Ok(end?)
}

/// Reports what is missing from the output.
fn report(meters: &KernelMeters, counts: &PipelineCounts) -> Result<(), Failure> {
    let kernel = meters.counts().context("cannot read the counters")?;
    let KernelCounts {
        ring_full,
        in_flight_full,
        entry_missed,
        return_missed,
        ..
    } = kernel;
    let undecodable = counts.undecodable.load(Ordering::Relaxed);
    let lost = kernel.lost() + undecodable;
    if lost != 0 {
        say!(
            "{lost} of {} calls are missing: ring buffer full {ring_full}, \
             in-flight table full {in_flight_full}, entry missed {entry_missed}, \
             return missed {return_missed}, undecodable {undecodable}",
            kernel.seen()
        );
    }
    let open = kernel.in_flight();
    if open != 0 {
        say!("{open} calls had not returned yet");
    }
    Ok(())
}

/// Writes whole lines. A closed pipe (`| head`) ends the process, as it would
/// any filter.
struct LineOutput<W> {
    out: W,
    unflushed: bool,
}

impl<W: Write> LineOutput<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            unflushed: false,
        }
    }

    fn line(&mut self, bytes: &[u8]) {
        end_on_error(self.out.write_all(bytes));
        self.unflushed = true;
    }

    fn flush(&mut self) {
        if self.unflushed {
            end_on_error(self.out.flush());
            self.unflushed = false;
        }
    }
}

fn end_on_error(result: std::io::Result<()>) {
    if let Err(error) = result {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            say!("cannot write to standard output: {error}");
        }
        super::end(1);
    }
}
