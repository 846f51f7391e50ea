//! Whole traces: if a slow or a failed call is kept, so is the rest of its trace,
//! whatever the share.
//!
//! What has been dropped is gone. So decisions on traces are remembered for a
//! while: the ones kept, and the calls that were dropped and may still be
//! wanted. Both are bounded. What is forgotten leaves a hole in the trace.

use crate::event::{Call, CallKey};
use crate::recent::Recent;
use crate::sends::CallRecord;

/// Traces remembered as kept.
const MAX_KEPT: usize = 16_384;
/// Bytes of records of dropped calls.
const MAX_DROPPED_BYTES: usize = 2 << 20;

/// Recent decisions on traces, by the first call in each.
#[derive(Debug)]
pub struct WholeTraces {
    /// Whether everything of the trace is kept.
    kept: Recent<CallKey, bool>,
    dropped: Recent<CallKey, Vec<CallRecord>>,
    dropped_count: usize,
}

/// What keeping a call means for the rest of its trace.
#[derive(Debug)]
pub struct Kept {
    /// Calls that were dropped, in their order, and are to be kept after all.
    pub after_all: Vec<CallRecord>,
    /// Whether each earlier call of the trace is kept.
    pub is_whole: bool,
}

impl Kept {
    /// Whether the parent of this call is kept, which came before it.
    pub fn has_parent_of(&self, call: &Call<'_>) -> bool {
        self.is_whole || call.parent().is_none_or(|cause| self.has(cause.call))
    }

    /// Whether the span of this call is among those that are kept after all.
    pub fn has(&self, call: CallKey) -> bool {
        let mut all = self.after_all.iter();
        all.any(|dropped| dropped.key == call && dropped.processed_ns.is_none())
    }

    /// Likewise that of the processing of the message which this call took.
    pub fn has_processing_of(&self, receive: CallKey) -> bool {
        let mut all = self.after_all.iter();
        all.any(|dropped| dropped.key == receive && dropped.processed_ns.is_some())
    }
}

impl Default for WholeTraces {
    fn default() -> Self {
        Self {
            kept: Recent::new(MAX_KEPT),
            dropped: Recent::new(MAX_DROPPED_BYTES),
            dropped_count: 0,
        }
    }
}

impl WholeTraces {
    /// Keeps the trace of this call, and the call.
    pub fn keep(&mut self, call: &Call<'_>) -> Kept {
        let root = call.root();
        if let Some(is_whole) = self.kept.get(&root) {
            return Kept {
                after_all: Vec::new(),
                is_whole: *is_whole,
            };
        }
        let after_all = self.dropped.remove(&root).unwrap_or_default();
        self.dropped_count -= calls(&after_all);
        let is_whole = root == call.key() || after_all.iter().any(|record| record.key == root);
        self.kept.insert(root, is_whole, 1);
        Kept {
            after_all,
            is_whole,
        }
    }

    /// Whether the trace of this call has been kept.
    pub fn is_kept(&self, call: &Call<'_>) -> bool {
        self.kept.contains(&call.root())
    }

    /// Number of dropped calls that may still be wanted.
    pub fn undecided(&self) -> usize {
        self.dropped_count
    }

    /// Drops a call, or what followed one, unless its trace is wanted later.
    pub fn drop_call(&mut self, root: CallKey, call: CallRecord) {
        let weight = call.record.len();
        self.dropped_count += usize::from(call.processed_ns.is_none());
        self.dropped.grow(root, weight, Vec::new).push(call);
        while let Some(forgotten) = self.dropped.pop_excess() {
            self.dropped_count -= calls(&forgotten);
        }
    }
}

/// How many of these are calls themselves.
fn calls(records: &[CallRecord]) -> usize {
    let calls = records
        .iter()
        .filter(|record| record.processed_ns.is_none());
    calls.count()
}
