//! A request as it is sent and stored.

use bytes::Bytes;

/// A request that is ready to send. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedBatch {
    /// An `ExportTraceServiceRequest`.
    pub bytes: Bytes,
    pub spans: u32,
}
