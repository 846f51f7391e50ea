//! What goes out of a queue, and how full it is.

use crate::encode::EncodedBatch;

/// A batch that was taken and is to be given back by `Queue::done`.
#[derive(Debug)]
pub struct Lease {
    /// The batch.
    pub batch: EncodedBatch,
    /// Where it is on disk; 0 in memory.
    pub(crate) position: u64,
}

/// What a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Bytes, batches taken but not done included.
    pub bytes: u64,
    /// Spans that wait to be taken.
    pub spans: u64,
    /// Limit on the bytes.
    pub capacity_bytes: u64,
}
