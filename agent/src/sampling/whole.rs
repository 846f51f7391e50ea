//! Whole traces: if a slow call is kept, so is the other end of its message,
//! whatever the share.
//!
//! Either end can come first, and what has been dropped is gone. So decisions
//! on messages are remembered for a while: the ones kept, and the sends that
//! were dropped and may still be wanted. Both are bounded. A forgotten decision
//! leaves a trace with one end.

use crate::event::MessageKey;
use crate::recent::Recent;
use crate::sends::CallRecord;

/// Messages remembered as kept.
const MAX_KEPT: usize = 16_384;
/// Bytes of records of dropped sends.
const MAX_DROPPED_BYTES: usize = 2 << 20;

/// What is known of one end of a message when the other is kept.
#[derive(Debug)]
pub enum OtherEnd {
    /// It is a dropped send, which can still be kept.
    Dropped(CallRecord),
    Kept,
    /// It has not come yet, or has been forgotten.
    Unknown,
}

/// Recent decisions on messages.
#[derive(Debug)]
pub struct WholeTraces {
    kept: Recent<MessageKey, ()>,
    dropped: Recent<MessageKey, CallRecord>,
}

impl Default for WholeTraces {
    fn default() -> Self {
        Self {
            kept: Recent::new(MAX_KEPT),
            dropped: Recent::new(MAX_DROPPED_BYTES),
        }
    }
}

impl WholeTraces {
    /// Notes that one end of this message is kept. Returns what is known of the
    /// other end.
    pub fn keep(&mut self, message: MessageKey) -> OtherEnd {
        let is_kept = self.kept.contains(&message);
        self.kept.insert(message, (), 1);
        match self.dropped.remove(&message) {
            Some(send) => OtherEnd::Dropped(send),
            None if is_kept => OtherEnd::Kept,
            None => OtherEnd::Unknown,
        }
    }

    /// Whether the other end of this message has been kept.
    pub fn is_kept(&self, message: &MessageKey) -> bool {
        self.kept.contains(message)
    }

    /// Number of dropped sends that may still be wanted.
    pub fn undecided(&self) -> usize {
        self.dropped.count()
    }

    /// Drops a send, unless it is wanted later.
    pub fn drop_send(&mut self, message: MessageKey, send: CallRecord) {
        let weight = send.record.len();
        self.dropped.insert(message, send, weight);
    }
}
