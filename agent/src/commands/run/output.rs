//! The exporters of a running agent, which a reload can replace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::metrics::Metrics;
use crate::config::{Config, Exporters};
use crate::event::CallKey;
use crate::export::counters::SinkCounts;
use crate::export::logs::LogsExporter;
use crate::export::{Exporter, Left, Sink, SpanSender};
use crate::owner::OwnerLosses;
use crate::process::Process;
use crate::sink::SpanSink;
use crate::span::Span;

/// Time limit for sending the queued spans after SIGTERM. Kubernetes kills
/// after 30 s (`terminationGracePeriodSeconds`).
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The exporters in use, and replaced ones that are still sending what they hold.
pub(super) struct Outputs<'a> {
    runtime: &'a Runtime,
    current: Exporter,
    retired: Vec<Retired>,
    metrics: Metrics,
    logs: Option<Arc<LogsExporter>>,
}

impl<'a> Outputs<'a> {
    pub(super) fn start(
        config: &Config,
        runtime: &'a Runtime,
        metrics: Metrics,
        logs: Option<Arc<LogsExporter>>,
    ) -> anyhow::Result<(SpanSender, Self)> {
        let (sender, current) = Exporter::start(&config.exporters, runtime.handle())?;
        metrics.source.add_exporter(&current);
        let outputs = Self {
            runtime,
            current,
            retired: Vec::new(),
            metrics,
            logs,
        };
        Ok((sender, outputs))
    }

    /// Starts exporters for another configuration and retires the old ones,
    /// which send what they hold. `flush` first empties the sender of the old
    /// ones. A queue on disk has one owner: if both configurations have one,
    /// the old exporters end first, and start again if the new ones cannot.
    ///
    /// # Errors
    /// When the new exporters cannot start. The old configuration then stays in use.
    pub(super) fn replace(
        &mut self,
        old: &Config,
        new: &Config,
        flush: impl FnOnce(),
    ) -> Result<SpanSender, NotReplaced> {
        if !(has_disk_queue(old) && has_disk_queue(new)) {
            let (sender, exporter) = self.start_another(new).map_err(NotReplaced::from)?;
            flush();
            self.metrics.source.add_exporter(&exporter);
            self.follow(new);
            let retired = std::mem::replace(&mut self.current, exporter);
            self.retire(retired, SHUTDOWN_DEADLINE);
            return Ok(sender);
        }
        flush();
        let mut none = Exporters::default();
        none.otlp.enabled = false;
        let (_, idle) = Exporter::start(&none, self.runtime.handle()).map_err(NotReplaced::from)?;
        let retired = std::mem::replace(&mut self.current, idle);
        self.retire(retired, Duration::ZERO);
        if let Some(Retired { left, ending, .. }) = self.retired.last_mut()
            && left.is_none()
        {
            *left = Some(self.runtime.block_on(ending).unwrap_or_default());
        }
        let (sender, exporter, refused) = match self.start_another(new) {
            Ok((sender, exporter)) => (sender, exporter, None),
            Err(error) => match self.start_another(old) {
                Ok((sender, exporter)) => (sender, exporter, Some(error)),
                Err(worse) => return Err(worse.into()),
            },
        };
        self.metrics.source.add_exporter(&exporter);
        self.current = exporter;
        match refused {
            None => {
                self.follow(new);
                Ok(sender)
            }
            Some(error) => Err(NotReplaced {
                error,
                sender: Some(Box::new(sender)),
            }),
        }
    }

    /// Points metrics and the log at the new collector.
    fn follow(&self, config: &Config) {
        self.metrics.follow(config, self.runtime);
        let Some(logs) = &self.logs else {
            return;
        };
        let _context = self.runtime.enter();
        if let Err(error) = logs.set_collector(config.exporters.otlp.clone()) {
            // Unlikely: the span exporter has just accepted the same settings.
            tracing::error!(%error, "the log stays with the old collector");
        }
    }

    /// Reopens the span file, if there is one.
    pub(super) fn reopen_file(&self) {
        self.current.reopen_file();
    }

    fn start_another(&self, config: &Config) -> anyhow::Result<(SpanSender, Exporter)> {
        Exporter::start(&config.exporters, self.runtime.handle())
    }

    fn retire(&mut self, exporter: Exporter, deadline: Duration) {
        self.retired.push(Retired {
            sink: exporter.primary().cloned(),
            is_of_file: exporter.otlp().is_none(),
            ending: self.runtime.spawn(exporter.shutdown(deadline)),
            left: None,
        });
    }

    /// Ends all exporters. Returns the sum of their counters, and the number of
    /// spans lost because the deadline passed.
    pub(super) fn shutdown(mut self) -> (SinkCounts, u64) {
        let mut all = std::mem::take(&mut self.retired);
        all.push(Retired {
            sink: self.current.primary().cloned(),
            is_of_file: self.current.otlp().is_none(),
            ending: self.runtime.spawn(self.current.shutdown(SHUTDOWN_DEADLINE)),
            left: None,
        });
        let mut total = SinkCounts::default();
        let mut lost = 0;
        for retired in all {
            let left = match retired.left {
                Some(left) => left,
                None => self.runtime.block_on(retired.ending).unwrap_or_default(),
            };
            if let Some(sink) = retired.sink {
                total.add(&sink.counters());
                lost += match (retired.is_of_file, left.otlp_kept) {
                    (true, _) => left.file_spans,
                    (false, true) => 0,
                    (false, false) => left.otlp_spans,
                };
            }
        }
        self.runtime.block_on(self.metrics.finish(lost));
        (total, lost)
    }
}

pub(super) struct NotReplaced {
    pub(super) error: anyhow::Error,
    /// Replaces the old sender if that one no longer works.
    pub(super) sender: Option<Box<SpanSender>>,
}

impl From<anyhow::Error> for NotReplaced {
    fn from(error: anyhow::Error) -> Self {
        Self {
            error,
            sender: None,
        }
    }
}

/// A replaced exporter that is still sending what it holds.
struct Retired {
    sink: Option<Sink>,
    is_of_file: bool,
    ending: JoinHandle<Left>,
    /// What could not be sent, once that is known.
    left: Option<Left>,
}

fn has_disk_queue(config: &Config) -> bool {
    let storage = &config.exporters.otlp.sending_queue.storage;
    config.exporters.otlp.enabled && !storage.directory.as_os_str().is_empty()
}

/// Hands the capture thread's spans to the exporters.
pub(super) struct ExportSink {
    sender: SpanSender,
    owners: Arc<OwnerLosses>,
    /// Time of the last tick, so that the clock is not read for every span.
    now: Instant,
}

impl ExportSink {
    /// `owners` counts the spans that find no room, by owner.
    pub(super) fn new(mut sender: SpanSender, owners: Arc<OwnerLosses>) -> Self {
        sender.set_owners(Arc::clone(&owners));
        Self {
            sender,
            owners,
            now: Instant::now(),
        }
    }

    /// Hands on the current batch before it is full.
    pub(super) fn flush(&mut self) {
        self.sender.flush();
    }

    pub(super) fn set_sender(&mut self, mut sender: SpanSender) {
        sender.set_owners(Arc::clone(&self.owners));
        self.sender = sender;
    }
}

impl SpanSink for ExportSink {
    fn span(&mut self, process: &Process, span: &Span<'_>) {
        self.sender.push(
            self.now,
            (process.key, process.owner),
            &process.encoded,
            span,
        );
    }

    fn reserve(&mut self, process: &Process) -> bool {
        self.sender.reserve(process.owner)
    }

    fn take_untold(&mut self) -> Vec<CallKey> {
        self.sender.take_untold()
    }

    fn tick(&mut self, now: Instant) {
        self.now = now;
        self.sender.flush_if_due(now);
    }

    fn finish(&mut self) {
        self.sender.flush();
    }
}
