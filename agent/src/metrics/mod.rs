//! Metrics: what is counted of every call, and of the agent itself.
//!
//! ```text
//!  capture thread                  tokio tasks
//!  QueueMetrics ──> exchange ──> Source ──> Collected ──> otlp ──> collector
//!                                  ^                └───> prometheus ──> /metrics
//!  kernel counters, Counters ──────┘
//! ```
//!
//! The numbers are summed here, so that they are exact whatever the sampling
//! of spans. The OpenTelemetry SDK takes single measurements only, and its
//! data types cannot be made from sums, so both outputs are made from
//! [`Collected`]: OTLP with the message types of opentelemetry-proto.
//!
//! What is counted how:
//! - A call counts when its return has left the ring buffer and passed the
//!   filters; those lost before that are in `mqspan.calls` alone.
//! - `posix_mq.blocked_callers` is every call between its entry and its
//!   return, on all queues: the kernel side knows of no queue before that. It
//!   counts calls that are about to return, too.
//! - Of more than [`queues::MAX_SERIES`] combinations of queue, namespace,
//!   operation and outcome, those met last share one series with the only
//!   attribute `otel.metric.overflow`; its counts are those of the calls that
//!   found no series of their own.

pub mod endpoint;
pub mod exchange;
pub mod exporter;
pub mod family;
mod hash;
pub mod histogram;
pub mod otlp;
pub mod own;
pub mod prometheus;
pub mod queue_families;
pub mod queues;
pub mod source;

pub use exporter::MetricsExporter;
pub use family::Collected;
pub use queues::QueueMetrics;
pub use source::Source;
