//! Batches taken from a queue, and the fill level of a queue.

use crate::encode::EncodedBatch;

/// A batch that was taken and must be given back with `BatchQueue::done`.
#[derive(Debug)]
pub struct Lease {
    pub batch: EncodedBatch,
    /// Position on disk; 0 in memory.
    pub(crate) position: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Bytes, including batches that are taken but not done.
    pub bytes: u64,
    /// Spans that wait to be taken.
    pub spans: u64,
    /// Limit on `bytes`.
    pub capacity_bytes: u64,
}
