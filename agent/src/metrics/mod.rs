//! Metrics: what is counted of every call, and of the agent itself.
//!
//! ```text
//!  capture thread                  tokio tasks
//!  QueueMetrics ──> exchange ──> MetricsSource ──> Vec<Metric> ──> requests ──> collector
//!                                  ^                └─────> prometheus ──> /metrics
//!  kernel counters, Counters ──────┘
//! ```
//!
//! The agent's own figures are observable instruments of the OpenTelemetry SDK.
//! Those of queues are summed by the capture thread, exactly whatever the
//! sampling of spans, and join them as messages of opentelemetry-proto.
//!
//! What is counted how:
//! - A call counts when it has passed the filters, whether its span is kept or
//!   not. Of calls whose record finds no room in the ring buffer the kernel
//!   keeps count itself, unless the filter has something that only the agent
//!   can decide. What is lost before that, because entry or return were not
//!   seen, is in `mqspan.calls` alone.
//! - `posix_mq.blocked_callers` is read of the kernel's list of threads when it
//!   is asked for: those that sleep in a send or receive at that moment.
//! - Of more than [`queues::MAX_SERIES`] combinations of queue, namespace,
//!   operation and outcome, those met last share one series with the only
//!   attribute `otel.metric.overflow`; its counts are those of the calls that
//!   found no series of their own.

pub mod catalog;
pub mod endpoint;
pub mod exchange;
pub mod exporter;
pub mod instruments;
pub mod prometheus;
pub mod proto;
pub mod queue_metrics;
pub mod queues;
pub mod requests;
pub mod source;
pub mod state;

pub use exporter::MetricsExporter;
pub use queues::QueueMetrics;
pub use source::MetricsSource;
