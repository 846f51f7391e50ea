//! Encode: spans become OTLP bytes, without a message type in between.
//!
//! [`Batch`] collects the spans of many processes into one request;
//! [`EncodedBatch`] is what the queue, the disk and the wire carry. [`json`]
//! turns the same bytes into OTLP/JSON. Source of all layouts: the protocol
//! files of opentelemetry-proto 1.x, against which the tests compare.

pub mod batch;
pub mod encoded;
pub mod json;
pub mod otlp;
pub mod resource;
mod spare;
pub mod split;
pub mod wire;

pub use batch::{Batch, Push};
pub use encoded::EncodedBatch;
pub use resource::{EncodedResource, resource};

/// Name of the instrumentation scope.
pub const SCOPE_NAME: &str = "mqspan";
/// Version of the instrumentation scope.
pub const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The semantic conventions that names follow.
pub const SCHEMA_URL: &str = opentelemetry_semantic_conventions::SCHEMA_URL;
