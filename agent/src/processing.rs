//! Follows what threads do with the messages they take: from the return of a
//! receive to the return of the last send that comes of it, or, if none does, to
//! the entry of the thread's next receive. In between the thread must have waited
//! for nothing, for which the kernel vouches (`CALL_NO_WAIT`): a pause is not
//! processing.
//!
//! The last send is known as such only later: once the thread takes another
//! message, or has made no call for [`PATIENCE`]. What comes of the message after
//! that is no part of it any more.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Times;
use crate::event::{Call, CallKey, copy_without_payload};
use crate::hash::KeyHasher;
use crate::process::Process;

/// Threads followed at a time. Each takes less than 1 KiB.
const MAX_THREADS: usize = 4096;
/// How long to wait for another send.
const PATIENCE: Duration = Duration::from_secs(5);
/// Buffers kept for reuse.
const MAX_SPARE: usize = 64;

/// What is known of the span of the receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveSpan {
    /// Not made yet: the receive is held until its send comes.
    Held,
    /// Not sampled, at least so far.
    Dropped { is_child: bool },
    /// Exported, as the child of its send or not.
    Exported { is_child: bool },
}

/// The processing of one message.
#[derive(Debug)]
pub struct Processing {
    /// The record of the receive, without the message.
    pub record: Vec<u8>,
    pub process: Arc<Process>,
    /// Of the receive.
    pub times: Times,
    /// Its end, ns since boot.
    pub end_ns: u64,
    pub receive_span: ReceiveSpan,
    /// Its span has room at the sink, and spans may have named it as their parent.
    pub is_promised: bool,
}

#[derive(Debug)]
struct Pending {
    receive: CallKey,
    processing: Processing,
    /// Whether `end_ns` of `processing` is an end.
    has_end: bool,
    /// When it ends if no call follows.
    due: Instant,
    /// It was due and had no end. It waits for its thread's next receive.
    is_aged: bool,
}

impl Pending {
    fn ended(self) -> Result<Processing, Vec<u8>> {
        if self.has_end {
            Ok(self.processing)
        } else {
            Err(self.processing.record)
        }
    }
}

#[derive(Debug, Default)]
pub struct Processings {
    /// By thread id.
    pending: HashMap<u32, Pending, BuildHasherDefault<KeyHasher>>,
    /// By the time when they are due; some are not pending any more.
    due: VecDeque<(Instant, CallKey)>,
    /// Those that were due without an end, oldest first; likewise.
    aged: VecDeque<CallKey>,
    spare: Vec<Vec<u8>>,
}

impl Processings {
    /// Takes the next call of a thread. Returns what it puts an end to.
    pub fn next_call(&mut self, now: Instant, call: &Call<'_>) -> Option<Processing> {
        let pending = self.pending.get_mut(&call.tid)?;
        if call.operation.is_send() {
            let cause = call.proven_cause().map(|cause| cause.call);
            if cause != Some(pending.receive) {
                // It goes on with something else.
                return self.take(call.tid);
            }
            pending.processing.end_ns = call.end_ns;
            pending.has_end = true;
            pending.due = now + PATIENCE;
            if std::mem::take(&mut pending.is_aged) {
                let due = (pending.due, pending.receive);
                self.due.push_back(due);
            }
        } else if call.operation.is_receive() {
            if !pending.has_end && call.no_wait {
                pending.processing.end_ns = call.start_ns;
                pending.has_end = true;
            }
            if call.takes_message() {
                return self.take(call.tid);
            }
        }
        None
    }

    /// Follows a thread that has taken a message. Returns the oldest one if there
    /// are too many.
    pub fn begin(
        &mut self,
        now: Instant,
        call: &Call<'_>,
        record: &[u8],
        process: &Arc<Process>,
        times: Times,
    ) -> Option<Processing> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        copy_without_payload(record, &mut buffer);
        let receive = call.key();
        let due = now + PATIENCE;
        let pending = Pending {
            receive,
            processing: Processing {
                record: buffer,
                process: Arc::clone(process),
                times,
                end_ns: call.end_ns,
                receive_span: ReceiveSpan::Held,
                is_promised: false,
            },
            has_end: false,
            due,
            is_aged: false,
        };
        // Keys of what is not pending any more must not pile up.
        let all = &self.pending;
        let is_pending = |key: &CallKey| all.get(&key.tid).is_some_and(|p| p.receive == *key);
        if self.due.len() > 2 * MAX_THREADS {
            self.due.retain(|(_, key)| is_pending(key));
        }
        if self.aged.len() > 2 * MAX_THREADS {
            self.aged.retain(is_pending);
        }
        self.due.push_back((due, receive));
        if let Some(replaced) = self.pending.insert(call.tid, pending) {
            // next_call() has ended it before.
            self.give_back(replaced.processing.record);
        }
        if self.pending.len() > MAX_THREADS {
            return self.take_oldest();
        }
        None
    }

    /// Notes what became of the span of a receive.
    pub fn set_receive_span(&mut self, receive: CallKey, span: ReceiveSpan) {
        if let Some(pending) = self.get_mut(receive) {
            pending.processing.receive_span = span;
        }
    }

    /// Whether the span of what follows this receive is sure to come. `reserve` asks
    /// for room the first time.
    pub fn promise(&mut self, receive: CallKey, reserve: impl FnOnce(&Process) -> bool) -> bool {
        let Some(pending) = self.get_mut(receive) else {
            return false;
        };
        let processing = &mut pending.processing;
        if !processing.is_promised {
            processing.is_promised = reserve(&processing.process);
        }
        processing.is_promised
    }

    /// One that has an end, and whose thread has made no call for a while.
    pub fn take_due(&mut self, now: Instant) -> Option<Processing> {
        while let Some(&(until, key)) = self.due.front()
            && until <= now
        {
            self.due.pop_front();
            let Some(pending) = self.get_mut(key) else {
                continue;
            };
            if pending.due > until {
                let due = pending.due;
                self.due.push_back((due, key));
            } else if pending.has_end {
                return self.take(key.tid);
            } else {
                pending.is_aged = true;
                self.aged.push_back(key);
            }
        }
        None
    }

    /// All that have an end. Follows none of the threads any longer.
    pub fn take_all(&mut self) -> Vec<Processing> {
        self.due.clear();
        self.aged.clear();
        let all = self.pending.drain();
        all.filter_map(|(_, pending)| pending.ended().ok())
            .collect()
    }

    /// Takes a buffer back that is not needed any more.
    pub fn give_back(&mut self, record: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(record);
        }
    }

    fn get_mut(&mut self, receive: CallKey) -> Option<&mut Pending> {
        let pending = self.pending.get_mut(&receive.tid)?;
        (pending.receive == receive).then_some(pending)
    }

    fn take(&mut self, tid: u32) -> Option<Processing> {
        match self.pending.remove(&tid)?.ended() {
            Ok(processing) => Some(processing),
            Err(record) => {
                self.give_back(record);
                None
            }
        }
    }

    fn take_oldest(&mut self) -> Option<Processing> {
        loop {
            let aged = self.aged.pop_front();
            let key = aged.or_else(|| self.due.pop_front().map(|(_, key)| key))?;
            if self.get_mut(key).is_some() {
                return self.take(key.tid);
            }
        }
    }
}

#[cfg(test)]
mod tests;
