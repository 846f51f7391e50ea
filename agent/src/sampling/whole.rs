//! Whole traces: when a slow call is kept whatever the share, so is the other
//! end of its message.
//!
//! Which of the two comes first is not known, and what has been dropped is
//! gone, so what was decided of messages is remembered for a while: those kept,
//! and the sends that were dropped and may still be wanted. Both are bounded;
//! what has been forgotten leaves a trace with one end.

use crate::event::MessageKey;
use crate::recent::Recent;
use crate::sends::CallRecord;

/// Messages remembered as kept.
const MAX_KEPT: usize = 16_384;
/// Bytes of records of sends that were dropped.
const MAX_DROPPED_BYTES: usize = 2 << 20;

/// What has become of one end of a message, when the other is kept.
#[derive(Debug)]
pub enum OtherEnd {
    /// It is a send that was dropped, and can be kept after all.
    Dropped(CallRecord),
    /// It has been kept.
    Kept,
    /// It has not come yet, or is forgotten.
    Unknown,
}

/// What was decided of messages lately.
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
    /// One end of this message is kept. What is known of the other one?
    pub fn keep(&mut self, message: MessageKey) -> OtherEnd {
        let is_kept = self.kept.contains(&message);
        self.kept.insert(message, (), 1);
        match self.dropped.remove(&message) {
            Some(send) => OtherEnd::Dropped(send),
            None if is_kept => OtherEnd::Kept,
            None => OtherEnd::Unknown,
        }
    }

    /// Has the other end of this message been kept?
    pub fn is_kept(&self, message: &MessageKey) -> bool {
        self.kept.contains(message)
    }

    /// Sends that are dropped unless they are asked for yet.
    pub fn undecided(&self) -> usize {
        self.dropped.count()
    }

    /// A send is dropped, unless it is asked for yet.
    pub fn drop_send(&mut self, message: MessageKey, send: CallRecord) {
        let weight = send.record.len();
        self.dropped.insert(message, send, weight);
    }
}
