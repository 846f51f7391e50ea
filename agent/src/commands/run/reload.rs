//! Reload of the configuration on SIGHUP.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Context;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::{ExportSink, Outputs};
use crate::config::{self, Config, Env, Overrides};
use crate::host::Host;
use crate::kernel::{KernelSettings, Tracer};
use crate::kubernetes::Pods;
use crate::pipeline::{Pipeline, PipelineSettings};

pub(super) struct Reload {
    current: Config,
    host: Host,
    runtime: Handle,
    /// One message per SIGHUP; `None` if the new configuration is refused.
    coming: Receiver<Option<Config>>,
}

impl Reload {
    /// Reads the file again at each SIGHUP. An invalid file is refused, and the
    /// current configuration stays in use.
    pub(super) fn new(
        current: Config,
        path: Option<&Path>,
        host: Host,
        runtime: &Runtime,
    ) -> anyhow::Result<Self> {
        let (send, coming) = channel();
        let _context = runtime.enter();
        let hangup = signal(SignalKind::hangup()).context("cannot receive SIGHUP")?;
        runtime.spawn(read_at(hangup, path.map(Path::to_owned), send));
        Ok(Self {
            current,
            host,
            runtime: runtime.handle().clone(),
            coming,
        })
    }

    /// Handles the SIGHUPs since the last call: reopens the span file and
    /// applies the newest configuration.
    pub(super) fn look(
        &mut self,
        tracer: &mut Tracer,
        pipeline: &mut Pipeline<'_, ExportSink>,
        outputs: &mut Outputs<'_>,
    ) {
        let mut newest = None;
        for config in self.coming.try_iter() {
            outputs.reopen_file();
            newest = config.or(newest);
        }
        if let Some(config) = newest {
            self.apply(config, tracer, pipeline, outputs);
        }
    }

    /// Applies the sections that can change: filters, sampling, traces,
    /// resource, exporters. Calls in flight are kept. The old exporters send
    /// the spans that they hold.
    fn apply(
        &mut self,
        config: Config,
        tracer: &mut Tracer,
        pipeline: &mut Pipeline<'_, ExportSink>,
        outputs: &mut Outputs<'_>,
    ) {
        let mut config = config;
        let mut kept = Vec::new();
        keep(
            &mut config.exporters.otlp.enabled,
            &self.current.exporters.otlp.enabled,
            "exporters.otlp.enabled",
            &mut kept,
        );
        let new_pods = match self.new_pods(&config) {
            Ok(pods) => pods,
            Err(error) => {
                refused(&error);
                return;
            }
        };
        if config.exporters != self.current.exporters {
            let sink = pipeline.sink_mut();
            match outputs.replace(&self.current, &config, || sink.flush()) {
                Ok(sender) => sink.set_sender(sender),
                Err(not_replaced) => {
                    if let Some(sender) = not_replaced.sender {
                        sink.set_sender(*sender);
                    }
                    refused(&not_replaced.error);
                    return;
                }
            }
        }
        self.keep_what_needs_a_restart(&mut config, kept);
        if let Err(error) = tracer.set_filter(&KernelSettings::new(&config)) {
            tracing::error!(%error, "the kernel does not take the new filter");
        }
        pipeline.set_settings(PipelineSettings::new(&config, &self.host));
        if (&config.resource, &config.enrich) != (&self.current.resource, &self.current.enrich) {
            let processes = pipeline.processes_mut();
            processes.reconfigure(&config.resource, &config.enrich, new_pods);
        }
        let is_on = config.traces.application_context;
        pipeline.processes_mut().set_contexts(is_on);
        tracer.set_contexts(&pipeline.take_context_changes());
        warn_of_pids(tracer);
        self.current = config;
        tracing::info!("the new configuration is in use");
    }

    /// Restores the sections that need a restart, and logs their names.
    fn keep_what_needs_a_restart(&self, new: &mut Config, mut kept: Vec<&'static str>) {
        keep(
            &mut new.capture,
            &self.current.capture,
            "capture",
            &mut kept,
        );
        keep(
            &mut new.metrics,
            &self.current.metrics,
            "metrics",
            &mut kept,
        );
        keep(&mut new.health, &self.current.health, "health", &mut kept);
        keep(&mut new.logs, &self.current.logs, "logs", &mut kept);
        if !kept.is_empty() {
            tracing::warn!(
                sections = kept.join(", "),
                "changes that need a restart wait for it"
            );
        }
    }

    /// Starts a new watch if the settings for pods have changed; `None` keeps
    /// the old one.
    fn new_pods(&self, config: &Config) -> anyhow::Result<Option<Option<Pods>>> {
        let is_same = config.enrich.kubernetes == self.current.enrich.kubernetes;
        (!is_same)
            .then(|| Pods::watch(&config.enrich.kubernetes, &self.runtime))
            .transpose()
    }
}

fn refused(error: &anyhow::Error) {
    tracing::error!(
        error = format!("{error:#}"),
        "the new configuration is refused; the old one stays"
    );
}

/// Restores a section that was to change, and notes its name.
fn keep<T: PartialEq + Clone>(
    new: &mut T,
    old: &T,
    name: &'static str,
    kept: &mut Vec<&'static str>,
) {
    if new != old {
        new.clone_from(old);
        kept.push(name);
    }
}

async fn read_at(mut hangup: Signal, path: Option<PathBuf>, send: Sender<Option<Config>>) {
    while hangup.recv().await.is_some() {
        let loaded = config::load(path.as_deref(), &Overrides::new(), &Env::from_process());
        let config = match loaded {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                Some(loaded.config)
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration is refused; the old one stays");
                None
            }
        };
        if send.send(config).is_err() {
            return;
        }
    }
}

/// Warns of process ids in a filter that do not exist.
pub(super) fn warn_of_pids(tracer: &Tracer) {
    let unknown = tracer.unknown_pids();
    if !unknown.is_empty() {
        tracing::warn!(
            pids = ?unknown,
            "no such process in this PID namespace: filter.include.pids and filter.exclude.pids \
             take the ids that the agent sees; start it in the host's (hostPID: true, --pid=host) \
             to name others"
        );
    }
}
