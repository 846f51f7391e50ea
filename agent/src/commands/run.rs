//! `mqspan run`: the agent.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::listen::listen;
use super::{Failure, settings};
use crate::balance::Balance;
use crate::capture;
use crate::cli::RunArgs;
use crate::config::{self, Config, Env, Overrides};
use crate::export::{Exporter, SpanSender};
use crate::filter::NameFilter;
use crate::health::Health;
use crate::host::Host;
use crate::kernel::{AttachError, Capabilities, HookState, Tracer};
use crate::logs;
use crate::metrics::exchange::exchange;
use crate::metrics::{MetricsExporter, QueueMetrics, Source};
use crate::pipeline::{Pipeline, PipelineCounts};
use crate::process::Process;
use crate::sink::SpanSink;
use crate::span::Span;

/// What is queued at SIGTERM must be sent within this time. Kubernetes kills
/// after 30 s (`terminationGracePeriodSeconds`).
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

pub(super) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let loaded = config::load(
        args.config.as_deref(),
        &Overrides::new(),
        &Env::from_process(),
    )?;
    let config = loaded.config;
    logs::start(&config.logs);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("mqspan-export")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(Agent::start(&config, &runtime)?.run(&config, &runtime)?)
}

/// Everything that runs beside the capture loop.
struct Agent {
    tracer: Tracer,
    counts: Arc<PipelineCounts>,
    health: Health,
    sender: SpanSender,
    exporter: Exporter,
    metrics: Metrics,
    stop: Arc<AtomicBool>,
}

impl Agent {
    fn start(config: &Config, runtime: &Runtime) -> anyhow::Result<Self> {
        let counts = Arc::new(PipelineCounts::default());
        let health = Health::new(Arc::clone(&counts));
        let (sender, exporter) = Exporter::start(settings::export(config), runtime.handle())?;
        let metrics = Metrics::new(config, runtime, &counts, &exporter)?;
        listen(config, runtime, health.clone(), &metrics.source)?;
        let stop = Arc::new(AtomicBool::new(false));
        runtime.spawn(stop_on_signal(Arc::clone(&stop), health.clone()));
        let tracer = Tracer::start(
            settings::backend(config.capture.backend),
            &settings::kernel(config),
        )
        .map_err(|error| explain(&error))?;
        announce(&tracer);
        let meters = tracer.meters().context("cannot keep the counters open")?;
        metrics.source.set_kernel(meters);
        health.set_ready(true);
        Ok(Self {
            tracer,
            counts,
            health,
            sender,
            exporter,
            metrics,
            stop,
        })
    }

    fn run(mut self, config: &Config, runtime: &Runtime) -> anyhow::Result<ExitCode> {
        let host = Host::read();
        let pipeline = Pipeline::new(
            settings::span(config, &host),
            NameFilter::new(&config.filter),
            settings::processes(config, host),
            ExportSink {
                sender: self.sender,
                now: Instant::now(),
            },
            &self.counts,
        )
        .with_metrics(self.metrics.queues.take());
        let captured = capture::run(&mut self.tracer, pipeline, &self.stop);
        self.health.set_ready(false);
        drop(captured.context("cannot read the ring buffer")?);

        let sink = self
            .exporter
            .otlp()
            .or_else(|| self.exporter.file())
            .cloned();
        let left = runtime.block_on(self.exporter.shutdown(SHUTDOWN_DEADLINE));
        let kernel = self.tracer.counts().context("cannot read the counters")?;
        let left = if left.otlp_kept { 0 } else { left.otlp_spans };
        let sink = sink.map(|sink| sink.counters()).unwrap_or_default();
        runtime.block_on(self.metrics.finish(left));
        let balance = Balance::new(&kernel, self.counts.decoded(), &sink, left);
        if balance.is_even() {
            tracing::info!(%balance, "stopped");
        } else {
            tracing::error!(%balance, "stopped; the sum does not come out even");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The agent's metrics.
struct Metrics {
    /// The capture thread's part; `None` when nobody would read it.
    queues: Option<QueueMetrics>,
    source: Arc<Source>,
    otlp: Option<(Arc<MetricsExporter>, JoinHandle<()>)>,
}

impl Metrics {
    fn new(
        config: &Config,
        runtime: &Runtime,
        counts: &Arc<PipelineCounts>,
        exporter: &Exporter,
    ) -> anyhow::Result<Self> {
        let (publisher, reader) = exchange();
        let counts = Arc::clone(counts);
        let source = Arc::new(Source::new(reader, move || counts.decoded(), exporter));
        let settings = &config.metrics;
        let otlp = if settings.otlp.enabled {
            let _context = runtime.enter();
            let collector = settings::otlp(&config.exporters.otlp);
            let interval = settings.otlp.interval;
            let exporter = MetricsExporter::new(Arc::clone(&source), collector, interval)?;
            let exporter = Arc::new(exporter);
            let task = runtime.spawn(Arc::clone(&exporter).run());
            Some((exporter, task))
        } else {
            None
        };
        let is_read = otlp.is_some() || settings.prometheus_address.is_some();
        Ok(Self {
            queues: is_read.then(|| QueueMetrics::new(publisher)),
            source,
            otlp,
        })
    }

    /// The last export; `left` spans were not sent.
    async fn finish(self, left: u64) {
        if let Some((exporter, task)) = self.otlp {
            task.abort();
            exporter.finish(left).await;
        }
    }
}

/// The capture thread's way out.
struct ExportSink {
    sender: SpanSender,
    /// Of the last tick: the clock is not asked for every span.
    now: Instant,
}

impl SpanSink for ExportSink {
    fn span(&mut self, process: &Process, span: &Span<'_>) {
        self.sender
            .push(self.now, process.key, &process.encoded, span);
    }

    fn tick(&mut self, now: Instant) {
        self.now = now;
        self.sender.flush_if_due(now);
    }

    fn finish(&mut self) {
        self.sender.flush();
    }
}

/// Says which backend was taken, why not a cheaper one, and what is missing.
fn announce(tracer: &Tracer) {
    for error in tracer.passed_over() {
        tracing::info!(%error, "backend passed over");
    }
    let attached = tracer
        .hooks()
        .iter()
        .filter(|status| status.state == HookState::Attached)
        .count();
    let backend = tracer.backend();
    tracing::info!(%backend, hooks = attached, "tracing");
    if !backend.knows_messages() {
        tracing::info!(
            "this backend cannot tell which message came from whom: receives are not \
             connected with their sends"
        );
    }
    if let Some(error) = tracer.few_instances() {
        tracing::warn!(
            %error,
            "tracefs cannot be used: of the calls that block at once, those beyond max(10, \
             2 x CPUs) are lost and counted; mount tracefs or set capture.backend: fentry"
        );
    }
    for status in tracer.hooks() {
        if status.state == HookState::Absent {
            tracing::info!(
                symbol = status.hook.target.symbol(),
                "not in this kernel, so not traced"
            );
        }
    }
}

/// Resolves at SIGTERM or SIGINT.
pub(super) async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn stop_on_signal(stop: Arc<AtomicBool>, health: Health) {
    if let Err(error) = stop_signal().await {
        tracing::error!(%error, "signals cannot be received");
    }
    tracing::info!("stopping");
    health.set_ready(false);
    stop.store(true, Ordering::Relaxed);
}

/// Why nothing attaches, with the mend where it is one of privileges.
pub(super) fn explain(error: &AttachError) -> anyhow::Error {
    let missing = Capabilities::of_self()
        .map(|all| all.missing_to_trace())
        .unwrap_or_default();
    if missing.is_empty() {
        anyhow!("{error}\n`mqspan doctor` tells what this machine allows")
    } else {
        anyhow!(
            "tracing needs {}: run as root (sudo), or grant the capabilities\n{error}",
            missing.join(" and ")
        )
    }
}
