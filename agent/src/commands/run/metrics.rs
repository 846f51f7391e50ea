//! Connects the agent's metrics to their sources and exporters.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::config::{Config, Histograms};
use crate::histogram::Forms;
use crate::metrics::exchange::exchange;
use crate::metrics::{MetricsExporter, MetricsSource, QueueMetrics};
use crate::pipeline::PipelineCounts;

pub(super) struct Metrics {
    pub(super) source: Arc<MetricsSource>,
    otlp: Option<(Arc<MetricsExporter>, JoinHandle<()>)>,
}

impl Metrics {
    /// Also returns the capture thread's part, or `None` if nothing reads the metrics.
    pub(super) fn start(
        config: &Config,
        runtime: &Runtime,
        counts: &Arc<PipelineCounts>,
    ) -> anyhow::Result<(Self, Option<QueueMetrics>)> {
        let (publisher, reader) = exchange();
        let counts = Arc::clone(counts);
        let attributes = &config.resource.attributes;
        let source = MetricsSource::new(reader, attributes, move || counts.decoded());
        let source = Arc::new(source);
        let metrics = &config.metrics;
        let otlp = if metrics.otlp.enabled && config.exporters.otlp.enabled {
            let _context = runtime.enter();
            let collector = config.exporters.otlp.clone();
            let exporter = MetricsExporter::new(Arc::clone(&source), collector, metrics)?;
            let exporter = Arc::new(exporter);
            let task = runtime.spawn(Arc::clone(&exporter).run());
            Some((exporter, task))
        } else {
            None
        };
        let is_read = otlp.is_some() || metrics.prometheus.address.0.is_some();
        // Keep a series long enough for one more export after its last call.
        let heard = if metrics.otlp.enabled {
            metrics.otlp.interval.0 + Duration::from_secs(1)
        } else {
            Duration::ZERO
        };
        let keep = metrics.series_timeout.0.max(heard);
        let is_scraped = metrics.prometheus.address.0.is_some();
        let is_explicit = metrics.histograms == Histograms::Explicit;
        let forms = Forms {
            explicit: is_scraped || is_explicit,
            exponential: otlp.is_some() && !is_explicit,
        };
        let queues = is_read.then(|| QueueMetrics::new(publisher, keep, forms));
        Ok((Self { source, otlp }, queues))
    }

    /// Exports to the collector of this configuration from now on.
    pub(super) fn follow(&self, config: &Config, runtime: &Runtime) {
        let Some((exporter, _)) = &self.otlp else {
            return;
        };
        let _context = runtime.enter();
        if let Err(error) = exporter.set_collector(config.exporters.otlp.clone()) {
            // Unlikely: the span exporter has just accepted the same settings.
            tracing::error!(%error, "metrics stay with the old collector");
        }
    }

    /// Exports a last time. `left` is the number of spans that were not sent.
    pub(super) async fn finish(self, left: u64) {
        if let Some((exporter, task)) = self.otlp {
            task.abort();
            exporter.finish(left).await;
        }
    }
}
