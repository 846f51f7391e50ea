//! What is counted of one queue.

use std::collections::HashMap;
use std::sync::Arc;

use super::figures::{LastError, Limits, PeerFigures, QueueFigures, QueueId};
use super::window::{Second, Window, second_of};
use crate::commands::durations::Durations;
use crate::event::{Call, Operation, ProcessKey};

/// Processes that are told apart for each queue.
const MAX_PEERS: usize = 64;
/// After so many seconds without a call a process is forgotten, and a queue
/// that has no name any more or never had one.
const STALE_S: u64 = 60;

#[derive(Debug, Default)]
struct QueueSecond {
    sent: u32,
    received: u32,
    errors: u32,
    timeouts: u32,
    receive: Durations,
    send: Durations,
    in_queue: Durations,
}

impl Second for QueueSecond {
    fn clear(&mut self) {
        self.sent = 0;
        self.received = 0;
        self.errors = 0;
        self.timeouts = 0;
        self.receive.clear();
        self.send.clear();
        self.in_queue.clear();
    }
}

#[derive(Debug, Default)]
struct PeerSecond {
    sent: u32,
    received: u32,
}

impl Second for PeerSecond {
    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A process that sends or receives.
#[derive(Debug)]
struct Peer {
    program: Arc<str>,
    sends: bool,
    receives: bool,
    window: Window<PeerSecond>,
    /// Second of its latest call.
    seen: u64,
}

/// One queue.
#[derive(Debug, Default)]
pub(super) struct QueueTally {
    depth: Option<u32>,
    depth_at_ns: u64,
    limits: Option<Limits>,
    unlinked: bool,
    window: Window<QueueSecond>,
    peers: HashMap<ProcessKey, Peer>,
    /// Second in which a process last found no room.
    crowded: Option<u64>,
    last_error: Option<LastError>,
    /// Second of the latest call.
    seen: u64,
}

impl QueueTally {
    /// Counts one call.
    pub(super) fn call(&mut self, call: &Call<'_>, error: Option<&str>, program: &str) {
        let second = second_of(call.end_ns);
        self.seen = self.seen.max(second);
        if let Some(window) = self.window.second(second) {
            count(window, call, error);
        }
        match error {
            None => self.succeeded(call),
            Some("ETIMEDOUT") => {}
            Some(error) => self.failed(call, error),
        }
        // Records come nearly in the order of returns.
        if call.depth.is_some() && call.end_ns >= self.depth_at_ns {
            self.depth = call.depth;
            self.depth_at_ns = call.end_ns;
        }
        self.limits = call.queue.as_ref().map(Limits::of).or(self.limits);
        if call.operation.is_send() || call.operation.is_receive() {
            self.peer(call, error.is_none(), program, second);
        }
    }

    fn succeeded(&mut self, call: &Call<'_>) {
        match call.operation {
            Operation::MqUnlink => self.unlinked = true,
            Operation::MqOpen => {
                if self.unlinked {
                    // Another queue with the same name.
                    self.depth = None;
                }
                self.unlinked = false;
            }
            _ => {}
        }
    }

    fn failed(&mut self, call: &Call<'_>, error: &str) {
        // The strings are kept, so that a queue that fails often costs no
        // allocation each time.
        let last = self.last_error.get_or_insert_default();
        last.error.clear();
        last.error.push_str(error);
        last.comm.clear();
        last.comm.push_str(&call.comm);
        last.tid = call.tid;
    }

    fn peer(&mut self, call: &Call<'_>, success: bool, program: &str, second: u64) {
        if !self.peers.contains_key(&call.process) {
            if self.peers.len() >= MAX_PEERS {
                self.crowded = Some(second);
                return;
            }
            let peer = Peer {
                program: Arc::from(program),
                sends: false,
                receives: false,
                window: Window::default(),
                seen: second,
            };
            self.peers.insert(call.process, peer);
        }
        let Some(peer) = self.peers.get_mut(&call.process) else {
            return;
        };
        peer.seen = peer.seen.max(second);
        peer.sends |= call.operation.is_send();
        peer.receives |= call.operation.is_receive();
        if let Some(window) = peer.window.second(second).filter(|_| success) {
            window.sent += u32::from(call.operation.is_send());
            window.received += u32::from(call.operation.is_receive());
        }
    }

    /// Is it of no interest any more?
    pub(super) fn is_stale(&self, now: u64) -> bool {
        (self.unlinked || self.limits.is_none()) && self.seen + STALE_S < now
    }

    /// The numbers of the window that ends with the second `now`.
    pub(super) fn figures(&mut self, id: QueueId, now: u64) -> QueueFigures {
        self.peers.retain(|_, peer| peer.seen + STALE_S >= now);
        let mut figures = QueueFigures {
            id,
            depth: self.depth,
            limits: self.limits,
            unlinked: self.unlinked,
            peers: self
                .peers
                .iter()
                .map(|(key, peer)| peer.figures(key.pid, now))
                .collect(),
            is_crowded: self.crowded.is_some_and(|second| second + STALE_S >= now),
            last_error: self.last_error.clone(),
            ..QueueFigures::default()
        };
        for second in self.window.within(now) {
            figures.sent += u64::from(second.sent);
            figures.received += u64::from(second.received);
            figures.errors += u64::from(second.errors);
            figures.timeouts += u64::from(second.timeouts);
            figures.receive.add(&second.receive);
            figures.send.add(&second.send);
            figures.in_queue.add(&second.in_queue);
        }
        figures
    }
}

impl Peer {
    fn figures(&self, pid: u32, now: u64) -> PeerFigures {
        let sum = |count: fn(&PeerSecond) -> u32| {
            let window = self.window.within(now);
            window.map(|second| u64::from(count(second))).sum()
        };
        PeerFigures {
            program: Arc::clone(&self.program),
            pid,
            sends: self.sends,
            receives: self.receives,
            sent: sum(|second| second.sent),
            received: sum(|second| second.received),
        }
    }
}

fn count(second: &mut QueueSecond, call: &Call<'_>, error: Option<&str>) {
    match error {
        None => {}
        Some("ETIMEDOUT") => {
            second.timeouts += 1;
            return;
        }
        Some(_) => {
            second.errors += 1;
            return;
        }
    }
    let duration_ns = call.end_ns.saturating_sub(call.start_ns);
    if call.operation.is_send() {
        second.sent += 1;
        // How long a call has waited that began before the start is unknown.
        if !call.start_unknown {
            second.send.record(duration_ns);
        }
    } else if call.operation.is_receive() {
        second.received += 1;
        if !call.start_unknown {
            second.receive.record(duration_ns);
        }
        if let Some(sender) = call.sender {
            let waited_ns = call.end_ns.saturating_sub(sender.created_ns);
            second.in_queue.record(waited_ns);
        }
    }
}
