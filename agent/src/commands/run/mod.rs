//! `mqspan run`: the agent.

mod metrics;
mod output;
mod reload;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use self::metrics::Metrics;
use self::output::{ExportSink, Outputs};
use self::reload::Reload;
use super::Failure;
use super::explain::attach_error;
use super::listen::listen;
use super::signals::StopSignals;
use crate::balance::Balance;
use crate::capture;
use crate::cli::RunArgs;
use crate::config::{self, Config, Env, Overrides};
use crate::export::SpanSender;
use crate::export::logs::LogsExporter;
use crate::health::Health;
use crate::host::Host;
use crate::kernel::{HookState, KernelMeters, KernelSettings, Tracer};
use crate::kubernetes::Pods;
use crate::logs;
use crate::memory;
use crate::metrics::{MetricsSource, QueueMetrics};
use crate::panics;
use crate::pipeline::{Pipeline, PipelineCounts, PipelineSettings};
use crate::process::Processes;

/// How long tasks may take to end once all spans are accounted for.
const LEFTOVER_TASKS: Duration = Duration::from_secs(1);
/// Minimum time between two reads of the kernel's tables of lost calls.
const BETWEEN_LOSSES: Duration = Duration::from_secs(1);

pub(super) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let env = Env::from_process();
    let loaded = config::load(args.config.as_deref(), &Overrides::new(), &env)?;
    let config = loaded.config;
    logs::start(&config.logs)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    memory::return_large_buffers();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("mqspan-export")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome =
        Agent::start(&config, &runtime).and_then(|agent| agent.run(config, args.config.as_deref()));
    // A stuck blocking task, for example in a disk read, must not delay the exit.
    runtime.shutdown_timeout(LEFTOVER_TASKS);
    Ok(outcome?)
}

/// Everything that runs beside the capture loop.
struct Agent<'a> {
    runtime: &'a Runtime,
    tracer: Tracer,
    meters: Arc<KernelMeters>,
    calls_were_lost: Arc<Notify>,
    counts: Arc<PipelineCounts>,
    health: Health,
    outputs: Outputs<'a>,
    sender: SpanSender,
    queue_metrics: Option<QueueMetrics>,
    source: Arc<MetricsSource>,
    stop: Arc<AtomicBool>,
    pods: Option<Pods>,
    log: Option<Arc<LogsExporter>>,
}

impl<'a> Agent<'a> {
    fn start(config: &Config, runtime: &'a Runtime) -> anyhow::Result<Self> {
        // First, so that most pods are known before the first call arrives.
        let pods = Pods::watch(&config.enrich.kubernetes, runtime.handle())?;
        let counts = Arc::new(PipelineCounts::default());
        let health = Health::new(Arc::clone(&counts));
        let (metrics, queue_metrics) = Metrics::start(config, runtime, &counts)?;
        let source = Arc::clone(&metrics.source);
        listen(config, runtime, health.clone(), &source)?;
        let log = send_log(config, runtime, &source)?;
        let (sender, outputs) = Outputs::start(config, runtime, metrics, log.clone())?;
        let stop = Arc::new(AtomicBool::new(false));
        panics::stop_by(&stop);
        runtime.spawn(stop_on_signal(Arc::clone(&stop), health.clone()));
        let tracer = Tracer::start(&KernelSettings::new(config), false)
            .map_err(|error| attach_error(&error))?;
        announce(&tracer);
        reload::warn_of_pids(&tracer);
        let meters = tracer.meters().context("cannot keep the counters open")?;
        let meters = Arc::new(meters);
        source.set_kernel(Arc::clone(&meters));
        let calls_were_lost = Arc::new(Notify::new());
        runtime.spawn(make_room_for_losses(
            Arc::clone(&meters),
            Arc::clone(&calls_were_lost),
        ));
        Ok(Self {
            runtime,
            tracer,
            meters,
            calls_were_lost,
            counts,
            health,
            outputs,
            sender,
            queue_metrics,
            source,
            stop,
            pods,
            log,
        })
    }

    fn run(mut self, config: Config, path: Option<&Path>) -> anyhow::Result<ExitCode> {
        let host = Host::read();
        let processes = Processes::new(host.clone(), &config.resource, &config.enrich)
            .with_pods(self.pods.take())
            .with_owners(Arc::clone(self.meters.owner_losses()))
            .with_contexts(config.traces.application_context);
        self.source.set_lookups(processes.lookup_losses());
        let pipeline = Pipeline::new(
            PipelineSettings::new(&config, &host),
            processes,
            ExportSink::new(self.sender, Arc::clone(self.meters.owner_losses())),
            &self.counts,
        )
        .with_metrics(
            self.queue_metrics.take(),
            Arc::clone(self.meters.pending_losses()),
        );
        let mut reload = Reload::new(config, path, host, self.runtime)?;
        memory::release_heap();
        if let Err(error) = memory::release_program_pages() {
            tracing::debug!(%error, "the memory of the start is kept");
        }
        self.health.set_ready(true);
        let captured = panics::caught(|| {
            let between_rounds = |tracer: &mut Tracer, pipeline: &mut Pipeline<'_, ExportSink>| {
                if tracer.take_calls_were_lost() {
                    self.calls_were_lost.notify_one();
                }
                reload.look(tracer, pipeline, &mut self.outputs);
            };
            capture::run(&mut self.tracer, pipeline, &self.stop, between_rounds)
                .context("cannot read the ring buffer")
        });
        self.health.set_ready(false);
        // Dropping the sink hands over the last batch. Deliver it, whatever
        // ended the capture.
        let captured = captured.map(drop);
        self.tracer.detach();
        let (sink, left) = self.outputs.shutdown();
        let kernel = self.meters.counts().context("cannot read the counters")?;
        let balance = Balance::new(&kernel, self.counts.decoded(), &sink, left);
        if balance.is_even() {
            tracing::info!(%balance, "stopped");
        } else {
            tracing::error!(%balance, "stopped; the sum does not come out even");
        }
        if let Some(log) = self.log {
            log.finish();
        }
        captured.map(|()| ExitCode::SUCCESS)
    }
}

/// Starts sending the log to the collector, if enabled.
fn send_log(
    config: &Config,
    runtime: &Runtime,
    source: &MetricsSource,
) -> anyhow::Result<Option<Arc<LogsExporter>>> {
    if !(config.logs.otlp.enabled && config.exporters.otlp.enabled) {
        return Ok(None);
    }
    let _context = runtime.enter();
    let log = LogsExporter::start(config.exporters.otlp.clone(), source.resource())?;
    source.set_logs(log.counts());
    Ok(Some(Arc::new(log)))
}

/// Empties the kernel's tables of lost calls, which are small. Runs while calls
/// are being lost, at most once a second.
async fn make_room_for_losses(meters: Arc<KernelMeters>, calls_were_lost: Arc<Notify>) {
    loop {
        calls_were_lost.notified().await;
        let meters = Arc::clone(&meters);
        // Blocks on the kernel.
        match tokio::task::spawn_blocking(move || meters.take_losses()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "lost calls cannot be read"),
            Err(error) => tracing::error!(%error, "lost calls are not read"),
        }
        tokio::time::sleep(BETWEEN_LOSSES).await;
    }
}

/// Logs the chosen backend, why cheaper ones were passed over, and what is missing.
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
    if let Some(warning) = backend.warning() {
        tracing::warn!("{warning}; set capture.backend: kprobe");
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

async fn stop_on_signal(stop: Arc<AtomicBool>, health: Health) {
    match StopSignals::heed(&[]) {
        Ok(signals) => signals.wait().await,
        Err(error) => tracing::error!(%error, "signals cannot be received"),
    }
    tracing::info!("stopping");
    health.set_ready(false);
    stop.store(true, Ordering::Relaxed);
}
