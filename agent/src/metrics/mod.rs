//! Metrics of every call, and of the agent itself.
//!
//! ```text
//!  capture thread                  tokio tasks
//!  QueueMetrics ──> exchange ──> MetricsSource ──> Vec<Metric> ──> requests ──> collector
//!                                  ^                └─────> prometheus ──> /metrics
//!  kernel counters, Counters ──────┘
//! ```
//!
//! The agent's own metrics are observable instruments of the OpenTelemetry SDK.
//! The metrics of queues are summed by the capture thread, exactly and whatever
//! the sampling of spans, and are added as messages of opentelemetry-proto.
//!
//! What is counted:
//! - A call counts if it passes the filters, whether its span is kept or not.
//!   The kernel itself counts calls whose record finds no room in the ring
//!   buffer, unless the filter has something that only the agent can check.
//!   Calls lost before that, because their entry or return was not seen, are
//!   only in `mqspan.call.count`.
//! - `posix_mq.blocked_caller.count` is read from the kernel's list of threads on
//!   request: the threads that sleep in a send or receive at that moment.
//! - Beyond [`series::MAX_SERIES`] combinations of queue, namespace, operation
//!   and outcome, new ones share one series whose only attribute is
//!   `otel.metric.overflow`. It counts the calls that found no series of their
//!   own.

pub mod catalog;
pub mod endpoint;
pub mod exchange;
mod exemplars;
pub mod exporter;
pub mod instruments;
mod observed;
mod outcome;
pub mod prometheus;
pub mod proto;
pub mod queue_label;
pub mod queue_metrics;
pub mod queues;
pub mod requests;
mod sdk_metrics;
pub mod series;
pub mod source;
pub mod state;

pub use exporter::MetricsExporter;
pub use queues::QueueMetrics;
pub use source::MetricsSource;
