//! Sends the agent's own log to the collector of the spans.
//!
//! The SDK's batch processor collects the records that
//! opentelemetry-appender-tracing makes of events. The client that sends spans
//! sends them too. The exporter of opentelemetry-otlp uses `tonic::client::Grpc`
//! instead, which a collector can make panic (see `grpc.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{
    BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter, LogProcessor, SdkLogRecord,
    SdkLoggerProvider,
};
use prost::Message as _;
use tokio::runtime::Handle;

use super::operation::Exports;
use super::own::OwnExports;
use super::signal::Signal;
use crate::config::Otlp;
use crate::encode::SCHEMA_URL;
use crate::logs;
use crate::resource::Resource;

/// Records that may wait or be in flight.
const MAX_WAITING: usize = 2_000;
/// Records in one request.
const MAX_RECORDS: usize = 500;
/// Time between requests, unless enough records for a full one wait.
const DELAY: Duration = Duration::from_secs(1);
/// How long to wait for the last records, which must not hold up the end of the
/// process.
const LAST_RECORDS: Duration = Duration::from_secs(3);

pub struct LogsExporter {
    provider: SdkLoggerProvider,
    shared: Arc<Shared>,
}

/// Counts of log records.
#[derive(Debug, Clone, Default)]
pub struct LogCounts {
    /// Handed to the exporter.
    pub processed: u64,
    /// Dropped because too many records were waiting.
    pub queue_full: u64,
    /// Waiting to be exported.
    pub waiting: u64,
    /// Limit on the records that wait or are in flight.
    pub capacity: u64,
    /// What became of those handed to the exporter.
    pub exports: Vec<Exports>,
}

#[derive(Debug)]
struct Shared {
    collector: OwnExports,
    runtime: Handle,
    resource: ProtoResource,
    /// Records that wait or are in flight.
    waiting: AtomicUsize,
    in_flight: AtomicUsize,
    processed: AtomicU64,
    queue_full: AtomicU64,
    failing: AtomicBool,
}

impl LogsExporter {
    /// Starts to send the log to the collector as well. Must be called in the
    /// context of a Tokio runtime.
    ///
    /// # Errors
    /// If a TLS file cannot be used.
    pub fn start(config: Otlp, resource: &Resource) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            collector: OwnExports::new(config, Signal::Logs)?,
            runtime: Handle::current(),
            resource: resource.into(),
            waiting: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            processed: AtomicU64::new(0),
            queue_full: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        // Has room for everything that gets past [`Bounded`], which counts the
        // rest.
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING + 1)
            .with_max_export_batch_size(MAX_RECORDS)
            .with_scheduled_delay(DELAY)
            .build();
        let batches = BatchLogProcessor::builder(ByClient(Arc::clone(&shared)))
            .with_batch_config(config)
            .build();
        let provider = SdkLoggerProvider::builder()
            .with_log_processor(Bounded {
                batches,
                shared: Arc::clone(&shared),
            })
            .build();
        logs::send_to(&provider);
        Ok(Self { provider, shared })
    }

    /// Switches to another collector. Must be called in the context of a Tokio
    /// runtime.
    ///
    /// # Errors
    /// As [`Self::start`]. The old collector then stays.
    pub fn set_collector(&self, config: Otlp) -> anyhow::Result<()> {
        self.shared.collector.set_collector(config)
    }

    /// Returns a function that reads the counts from any thread.
    pub fn counts(&self) -> impl Fn() -> LogCounts + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || LogCounts {
            processed: shared.processed.load(Relaxed),
            queue_full: shared.queue_full.load(Relaxed),
            waiting: shared.queue_size() as u64,
            capacity: MAX_WAITING as u64,
            exports: shared.collector.counts(),
        }
    }

    /// Sends the remaining records and accepts no later ones. Blocks for
    /// `LAST_RECORDS` at most. The runtime must still be running.
    pub fn finish(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_RECORDS) {
            self.shared.tell_failure(&error.to_string());
        }
    }
}

impl Shared {
    fn queue_size(&self) -> usize {
        let in_flight = self.in_flight.load(Relaxed);
        self.waiting.load(Relaxed).saturating_sub(in_flight)
    }

    /// This message is not sent itself: [`logs`] leaves out events of this
    /// module.
    fn tell_failure(&self, cause: &str) {
        if !self.failing.swap(true, Relaxed) {
            let endpoint = self.collector.client().endpoint();
            tracing::warn!(endpoint, cause, "the log cannot be exported");
        }
    }

    fn tell_success(&self) {
        if self.failing.swap(false, Relaxed) {
            tracing::info!("the log is exported again");
        }
    }

    fn request(&self, batch: &LogBatch<'_>) -> ExportLogsServiceRequest {
        let none = ResourceAttributesWithSchema::default();
        let mut resource_logs = group_logs_by_resource_and_scope(batch, &none);
        for logs in &mut resource_logs {
            logs.resource = Some(self.resource.clone());
            SCHEMA_URL.clone_into(&mut logs.schema_url);
            let records = logs.scope_logs.iter_mut().flat_map(|s| &mut s.log_records);
            for record in records {
                // tracing names an event without a name after its place in the
                // source, which changes with each version.
                if record.event_name.starts_with("event ") {
                    record.event_name.clear();
                }
            }
        }
        ExportLogsServiceRequest { resource_logs }
    }

    /// Returns the number of records that the collector rejected.
    async fn send(&self, request: ExportLogsServiceRequest, records: u64) -> Result<u64, String> {
        let client = self.collector.client();
        // The thread of the batch processor does not belong to the runtime.
        let sending = async move { client.send(request.encode_to_vec(), records).await };
        let sending = self.runtime.spawn(sending);
        sending.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// Counts records that find no room, which the SDK's processor does not report.
#[derive(Debug)]
struct Bounded {
    batches: BatchLogProcessor,
    shared: Arc<Shared>,
}

impl LogProcessor for Bounded {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.shared.waiting.fetch_add(1, Relaxed) < MAX_WAITING {
            self.batches.emit(record, scope);
        } else {
            self.shared.waiting.fetch_sub(1, Relaxed);
            self.shared.queue_full.fetch_add(1, Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }
}

#[derive(Debug)]
struct ByClient(Arc<Shared>);

impl LogExporter for ByClient {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let shared = &self.0;
        let records = batch.iter().count();
        shared.in_flight.fetch_add(records, Relaxed);
        shared.processed.fetch_add(records as u64, Relaxed);
        let sent = shared.send(shared.request(&batch), records as u64).await;
        shared.waiting.fetch_sub(records, Relaxed);
        shared.in_flight.fetch_sub(records, Relaxed);
        match sent {
            Ok(0) => shared.tell_success(),
            Ok(rejected) => {
                shared.tell_failure(&format!("the collector rejected {rejected} records"));
            }
            Err(cause) => {
                shared.tell_failure(&cause);
                return Err(OTelSdkError::InternalFailure(cause));
            }
        }
        Ok(())
    }
}
