//! Sends the metrics to the collector, by the way that spans go.
//!
//! A request that fails is not tried again: the numbers are cumulative, so the
//! next one brings what it would have. Nothing waits for it but this task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::Metric;
use prost::Message as _;
use tokio::time::MissedTickBehavior;

use super::requests::requests;
use super::source::MetricsSource;
use crate::config::Otlp;
use crate::export::grpc::Client;

/// The last export must not hold up the end of the process.
const LAST_EXPORT: Duration = Duration::from_secs(3);

/// The metrics' way to a collector.
pub struct MetricsExporter {
    source: Arc<MetricsSource>,
    client: Mutex<Arc<Client>>,
    interval: Duration,
    failing: AtomicBool,
}

impl MetricsExporter {
    /// Exports to the collector of the spans. Needs the runtime's context.
    ///
    /// # Errors
    /// A TLS file that cannot be used.
    pub fn new(
        source: Arc<MetricsSource>,
        config: Otlp,
        interval: Duration,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            source,
            client: Mutex::new(Arc::new(Client::of_metrics(config)?)),
            interval,
            failing: AtomicBool::new(false),
        })
    }

    /// Exports to another collector from now on. Needs the runtime's context.
    ///
    /// # Errors
    /// As [`Self::new`]; then the old one stays.
    pub fn set_collector(&self, config: Otlp) -> anyhow::Result<()> {
        let client = Arc::new(Client::of_metrics(config)?);
        *self.lock() = client;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exports once an interval, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once, when there is nothing to tell yet.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if let Some(metrics) = self.source.collect(0).await {
                self.export(metrics).await;
            }
        }
    }

    /// Exports for the last time; `left` as in [`MetricsSource::collect`].
    pub async fn finish(&self, left: u64) {
        let last = async {
            if let Some(metrics) = self.source.collect(left).await {
                self.export(metrics).await;
            }
        };
        if tokio::time::timeout(LAST_EXPORT, last).await.is_err() {
            self.failed("no answer to the last export");
        }
    }

    /// Sends the metrics in one or more requests; says once what is wrong.
    pub async fn export(&self, metrics: Vec<Metric>) {
        let client = Arc::clone(&self.lock());
        client.refresh();
        let mut rejected = 0;
        for request in requests(metrics, self.source.resource()) {
            match client.send_own(request.encode_to_vec()).await {
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
            let endpoint = self.lock().endpoint();
            tracing::warn!(endpoint, cause, "metrics cannot be exported");
        }
    }
}
