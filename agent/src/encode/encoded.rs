//! A request as it is sent and stored.

use bytes::Bytes;

/// A request that is ready to send. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedBatch {
    /// An `ExportTraceServiceRequest`.
    pub bytes: Bytes,
    /// Of calls. What is no call is in no balance, so spans of processing do not
    /// count.
    pub spans: u32,
}
