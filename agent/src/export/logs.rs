//! Sends the agent's own log to the collector of the spans.
//!
//! The SDK's batch processor collects the records that
//! opentelemetry-appender-tracing makes of events. [`Client`] sends them, as it
//! does spans. The exporter of opentelemetry-otlp uses `tonic::client::Grpc`
//! instead, which a collector can make panic (see `grpc.rs`).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

use super::client::Client;
use super::signal::Signal;
use crate::config::{Otlp, Protocol};
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

/// Log records by outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogCounts {
    /// By each protocol that was in use.
    pub sent: Vec<SentLogs>,
    /// Dropped because too many records were waiting.
    pub queue_full: u64,
}

/// Log records that went to the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentLogs {
    /// `otel.component.type` of the exporter.
    pub exporter: &'static str,
    /// Accepted by the collector.
    pub exported: u64,
    /// Rejected by the collector, or sent without an answer.
    pub failed: u64,
}

#[derive(Debug)]
struct Shared {
    client: Mutex<Arc<Client>>,
    runtime: Handle,
    resource: ProtoResource,
    waiting: AtomicUsize,
    sent: Mutex<Vec<SentLogs>>,
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
            client: Mutex::new(Arc::new(Client::new(config, Signal::Logs)?)),
            runtime: Handle::current(),
            resource: resource.into(),
            waiting: AtomicUsize::new(0),
            sent: Mutex::default(),
            queue_full: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        shared.count(shared.client().protocol(), 0, 0);
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
        let client = Arc::new(Client::new(config, Signal::Logs)?);
        *self.shared.lock() = client;
        Ok(())
    }

    /// Returns a function that reads the counts from any thread.
    pub fn counts(&self) -> impl Fn() -> LogCounts + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || LogCounts {
            sent: shared.sent().clone(),
            queue_full: shared.queue_full.load(Relaxed),
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
    fn lock(&self) -> MutexGuard<'_, Arc<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.lock())
    }

    fn sent(&self) -> MutexGuard<'_, Vec<SentLogs>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, protocol: Protocol, exported: u64, failed: u64) {
        let exporter = match protocol {
            Protocol::Grpc => "otlp_grpc_log_exporter",
            Protocol::HttpProtobuf => "otlp_http_log_exporter",
        };
        let mut all = self.sent();
        match all.iter_mut().find(|sent| sent.exporter == exporter) {
            Some(sent) => {
                sent.exported += exported;
                sent.failed += failed;
            }
            None => all.push(SentLogs {
                exporter,
                exported,
                failed,
            }),
        }
    }

    /// This message is not sent itself: [`logs`] leaves out events of this
    /// module.
    fn tell_failure(&self, cause: &str) {
        if !self.failing.swap(true, Relaxed) {
            let endpoint = self.client().endpoint();
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
    async fn send(
        &self,
        client: Arc<Client>,
        request: ExportLogsServiceRequest,
    ) -> Result<u64, String> {
        // The thread of the batch processor does not belong to the runtime.
        let sending = self.runtime.spawn(async move {
            client.refresh();
            client.send_own(request.encode_to_vec()).await
        });
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
        let client = shared.client();
        let protocol = client.protocol();
        let sent = shared.send(client, shared.request(&batch)).await;
        shared.waiting.fetch_sub(records, Relaxed);
        let records = records as u64;
        let rejected = sent.as_ref().map_or(records, |rejected| *rejected);
        let rejected = rejected.min(records);
        shared.count(protocol, records - rejected, rejected);
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
