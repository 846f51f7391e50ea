//! Knows which calls have a span, so that no span names a parent that is not
//! exported.
//!
//! The kernel reports with each receive what has become of the send, and names
//! as the cause of a send only a receive whose record it has sent. Calls that
//! the agent itself drops afterwards are remembered here. A receive that
//! overtook its send waits for it if the send may still be dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Times;
use crate::event::{Call, CallKey, SendFate};
use crate::process::Process;
use crate::recent::Recent;

/// Dropped calls remembered: twice the maximum number of messages in queues
/// with a known send.
const MAX_UNTOLD: usize = 131_072;
/// Sends to look back at when a receive in doubt arrives.
const LAST_TOLD: usize = 1024;
/// Receives that wait for their send.
const MAX_HELD: usize = 1024;
/// How long a receive waits. A send that was overtaken returns within
/// microseconds, unless its thread loses the CPU.
const PATIENCE: Duration = Duration::from_secs(1);

/// A call that becomes a span later.
#[derive(Debug)]
pub struct CallRecord {
    pub key: CallKey,
    /// The bytes from the ring.
    pub record: Box<[u8]>,
    pub process: Arc<Process>,
    /// Of the call.
    pub times: Times,
    /// Whether its parent was there, if it has one.
    pub has_parent: bool,
    /// Of the processing of the message that the call, a receive, took: its end.
    pub processed_ns: Option<u64>,
}

/// Whether the parent of a receive is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The send has a span, or will have one.
    There,
    /// The send has no span.
    NotThere,
    /// Not known yet: hold the receive.
    InDoubt,
}

#[derive(Debug)]
pub struct Sends {
    untold: Recent<CallKey, ()>,
    told: Vec<CallKey>,
    next_told: usize,
    held: VecDeque<(Instant, CallKey, CallRecord)>,
}

impl Default for Sends {
    fn default() -> Self {
        Self {
            untold: Recent::new(MAX_UNTOLD),
            told: Vec::with_capacity(LAST_TOLD),
            next_told: 0,
            held: VecDeque::new(),
        }
    }
}

impl Sends {
    /// Whether the span of this call's parent will exist. Without a parent, it
    /// will.
    pub fn parent(&mut self, call: &Call<'_>) -> Parent {
        let Some(parent) = call.parent().map(|cause| cause.call) else {
            return Parent::There;
        };
        let Some(sender) = call.sender else {
            // Other sends may come of the same receive.
            return match self.untold.contains(&parent) {
                true => Parent::NotThere,
                false => Parent::There,
            };
        };
        // A message is received only once.
        if self.untold.remove(&parent).is_some() {
            return Parent::NotThere;
        }
        match sender.fate {
            SendFate::Told | SendFate::InCall => Parent::There,
            SendFate::Untold => Parent::NotThere,
            SendFate::InDoubt if self.told.contains(&parent) => Parent::There,
            SendFate::InDoubt => Parent::InDoubt,
        }
    }

    /// Whether this call is known to have no span.
    pub fn is_untold(&self, call: CallKey) -> bool {
        self.untold.contains(&call)
    }

    /// Notes that the send of this message has a span.
    pub fn told(&mut self, message: CallKey) {
        match self.told.get_mut(self.next_told) {
            Some(place) => *place = message,
            None => self.told.push(message),
        }
        self.next_told = (self.next_told + 1) % LAST_TOLD;
    }

    /// Notes that this call has no span.
    pub fn untold(&mut self, call: CallKey) {
        self.untold.insert(call, (), 1);
    }

    /// Holds a receive until its send comes. Returns the oldest one if there
    /// are too many.
    pub fn hold(
        &mut self,
        now: Instant,
        message: CallKey,
        receive: CallRecord,
    ) -> Option<CallRecord> {
        self.held.push_back((now + PATIENCE, message, receive));
        if self.held.len() > MAX_HELD {
            self.held.pop_front().map(|(_, _, receive)| receive)
        } else {
            None
        }
    }

    /// The receive that waits for the send of this message.
    pub fn take_held(&mut self, message: &CallKey) -> Option<CallRecord> {
        let at = self
            .held
            .iter()
            .position(|(_, waits_for, _)| waits_for == message)?;
        self.held.remove(at).map(|(_, _, receive)| receive)
    }

    /// A receive that has waited long enough, or any if `now` is `None`.
    pub fn take_due(&mut self, now: Option<Instant>) -> Option<CallRecord> {
        let (until, _, _) = self.held.front()?;
        if now.is_some_and(|now| now < *until) {
            return None;
        }
        self.held.pop_front().map(|(_, _, receive)| receive)
    }
}
