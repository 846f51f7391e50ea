//! Encode: turns spans into OTLP bytes without a message type in between.
//!
//! [`Batch`] collects the spans of many processes into one request. The queue,
//! the disk and the wire carry [`EncodedBatch`]. [`json`] turns the same bytes
//! into OTLP/JSON. All layouts come from the protocol files of
//! opentelemetry-proto 1.x, against which the tests compare.

pub mod batch;
pub mod encoded;
mod entity;
pub mod json;
pub mod otlp;
mod proto;
pub mod resource;
mod spare;
pub mod split;
pub mod wire;

pub use batch::{Batch, Push};
pub use encoded::EncodedBatch;
pub use resource::{EncodedResource, resource};

pub const SCOPE_NAME: &str = "mqspan";
pub const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The semantic conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
