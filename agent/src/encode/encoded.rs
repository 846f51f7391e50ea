//! A request as it is sent and stored.

use bytes::Bytes;

/// A request, ready to be sent. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedBatch {
    /// An `ExportTraceServiceRequest`.
    pub bytes: Bytes,
    /// Spans in it.
    pub spans: u32,
}
