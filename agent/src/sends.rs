//! Which sends have a span, for the receives that would be their children: no
//! span names a parent that is not exported.
//!
//! The kernel says with each receive what had become of the send. What the agent
//! itself drops afterwards is remembered here; and a receive that overtook its
//! send, where that one may yet be dropped, waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Times;
use crate::event::{MessageKey, SendFate, Sender};
use crate::process::Process;
use crate::recent::Recent;

/// Dropped sends remembered: twice as many as there can be messages in queues
/// whose send is known.
const MAX_UNTOLD: usize = 131_072;
/// Sends looked back at, when a receive comes that was in doubt.
const LAST_TOLD: usize = 1024;
/// Receives that wait for their send.
const MAX_HELD: usize = 1024;
/// A send that was overtaken returns within microseconds, unless its thread
/// loses the CPU.
const PATIENCE: Duration = Duration::from_secs(1);

/// A call that becomes a span later.
#[derive(Debug)]
pub struct CallRecord {
    /// As it came out of the ring.
    pub record: Box<[u8]>,
    /// Who called.
    pub process: Arc<Process>,
    /// When it was.
    pub times: Times,
}

/// The parent of a receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// It has a span, or will have one.
    There,
    /// It has none.
    NotThere,
    /// The receive is to be held.
    InDoubt,
}

/// What is known of sends.
#[derive(Debug)]
pub struct Sends {
    untold: Recent<MessageKey, ()>,
    told: Vec<MessageKey>,
    next_told: usize,
    held: VecDeque<(Instant, MessageKey, CallRecord)>,
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
    /// Will the span of this sender be there? A message is received but once.
    pub fn parent(&mut self, sender: &Sender) -> Parent {
        let message = sender.message();
        if self.untold.remove(&message).is_some() {
            return Parent::NotThere;
        }
        match sender.fate {
            SendFate::Told | SendFate::InCall => Parent::There,
            SendFate::Untold => Parent::NotThere,
            SendFate::InDoubt if self.told.contains(&message) => Parent::There,
            SendFate::InDoubt => Parent::InDoubt,
        }
    }

    /// The send of this message has a span.
    pub fn told(&mut self, message: MessageKey) {
        match self.told.get_mut(self.next_told) {
            Some(place) => *place = message,
            None => self.told.push(message),
        }
        self.next_told = (self.next_told + 1) % LAST_TOLD;
    }

    /// The send of this message has none.
    pub fn untold(&mut self, message: MessageKey) {
        self.untold.insert(message, (), 1);
    }

    /// Keeps a receive until its send comes. Gives back one for which there is
    /// no room any more.
    pub fn hold(
        &mut self,
        now: Instant,
        message: MessageKey,
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
    pub fn take_held(&mut self, message: &MessageKey) -> Option<CallRecord> {
        let at = self
            .held
            .iter()
            .position(|(_, waits_for, _)| waits_for == message)?;
        self.held.remove(at).map(|(_, _, receive)| receive)
    }

    /// A receive that has waited long enough; all of them at the end.
    pub fn take_due(&mut self, now: Option<Instant>) -> Option<CallRecord> {
        let (until, _, _) = self.held.front()?;
        if now.is_some_and(|now| now < *until) {
            return None;
        }
        self.held.pop_front().map(|(_, _, receive)| receive)
    }
}
