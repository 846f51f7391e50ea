//! Sends the metrics to the collector, with the settings for spans.
//!
//! A failed request is not retried: the numbers are cumulative, so the next
//! request makes up for it. Only this task waits for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::Metric;
use prost::Message as _;
use tokio::time::MissedTickBehavior;

use super::requests::{points_of, requests};
use super::source::MetricsSource;
use crate::config::{Histograms, Metrics, Otlp};
use crate::export::own::OwnExports;
use crate::export::signal::Signal;

/// Upper bound on the last export, which must not delay the end of the process.
const LAST_EXPORT: Duration = Duration::from_secs(3);

pub struct MetricsExporter {
    source: Arc<MetricsSource>,
    collector: Arc<OwnExports>,
    histograms: Histograms,
    interval: Duration,
    failing: AtomicBool,
}

impl MetricsExporter {
    /// Exports to the collector of the spans. Needs the runtime's context.
    ///
    /// # Errors
    /// When a TLS file cannot be used.
    pub fn new(
        source: Arc<MetricsSource>,
        config: Otlp,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let collector = Arc::new(OwnExports::new(config, Signal::Metrics)?);
        source.set_points(Arc::clone(&collector));
        Ok(Self {
            source,
            collector,
            histograms: metrics.histograms,
            interval: metrics.otlp.interval.0,
            failing: AtomicBool::new(false),
        })
    }

    /// Exports to another collector from now on. Needs the runtime's context.
    ///
    /// # Errors
    /// As for [`Self::new`]. The old collector then stays in use.
    pub fn set_collector(&self, config: Otlp) -> anyhow::Result<()> {
        self.collector.set_collector(config)
    }

    /// Exports once per interval, forever.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick fires at once, before there is anything to export.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if let Some(metrics) = self.source.collect(self.histograms, 0).await {
                self.export(metrics).await;
            }
        }
    }

    /// Exports for the last time; `left` as in [`MetricsSource::collect`].
    pub async fn finish(&self, left: u64) {
        let last = async {
            if let Some(metrics) = self.source.collect(self.histograms, left).await {
                self.export(metrics).await;
            }
        };
        if tokio::time::timeout(LAST_EXPORT, last).await.is_err() {
            self.failed("no answer to the last export");
        }
    }

    /// Sends the metrics in one or more requests. Logs a failure once.
    pub async fn export(&self, metrics: Vec<Metric>) {
        let client = self.collector.client();
        let mut rejected = 0;
        for request in requests(metrics, self.source.resource()) {
            let points = points_of(&request);
            match client.send(request.encode_to_vec(), points).await {
                Ok(points) => rejected += points,
                Err(cause) => return self.failed(&cause),
            }
        }
        if rejected != 0 {
            return self.failed(&format!("the collector rejected {rejected} points"));
        }
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("metrics are exported again");
        }
    }

    fn failed(&self, cause: &str) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            let endpoint = self.collector.client().endpoint();
            tracing::warn!(endpoint, cause, "metrics cannot be exported");
        }
    }
}
