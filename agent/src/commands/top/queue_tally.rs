//! The counts of one queue.

use std::collections::HashMap;

use super::stats::{Counts, LastError, Limits, PeerStats, QueueId, QueueStats};
use super::window::{Window, second_of};
use crate::event::{Call, Operation, ProcessKey};

/// Processes counted separately for each queue.
const MAX_PEERS: usize = 64;
/// A process is dropped after this many seconds without a call. So is a queue
/// that was unlinked or whose limits are unknown.
const STALE_S: u64 = 60;

#[derive(Debug)]
struct Peer {
    /// Everything but the counts.
    stats: PeerStats,
    /// Messages sent and received.
    window: Window<(u32, u32)>,
    /// Second of its latest call, since boot.
    seen: u64,
}

#[derive(Debug, Default)]
pub(super) struct QueueTally {
    depth: Option<u32>,
    depth_at_ns: u64,
    limits: Option<Limits>,
    unlinked: bool,
    window: Window<Counts>,
    peers: HashMap<ProcessKey, Peer>,
    /// Second in which a process last found no room in `peers`.
    crowded: Option<u64>,
    last_error: Option<LastError>,
    /// Second of the latest call, since boot.
    seen: u64,
}

impl QueueTally {
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
        // Records arrive nearly in the order of returns.
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
                    // It is a new queue with the same name.
                    self.depth = None;
                }
                self.unlinked = false;
            }
            _ => {}
        }
    }

    fn failed(&mut self, call: &Call<'_>, error: &str) {
        // Reuse the strings, so that repeated failures do not allocate.
        let last = self.last_error.get_or_insert_default();
        last.error.clear();
        last.error.push_str(error);
        last.comm.clear();
        last.comm.push_str(&call.comm);
        last.tid = call.tid;
    }

    fn peer(&mut self, call: &Call<'_>, success: bool, program: &str, second: u64) {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&call.process) {
            self.crowded = Some(second);
            return;
        }
        let peer = self.peers.entry(call.process).or_insert_with(|| Peer {
            stats: PeerStats {
                program: program.into(),
                pid: call.process.pid,
                ..PeerStats::default()
            },
            window: Window::default(),
            seen: second,
        });
        peer.seen = peer.seen.max(second);
        peer.stats.sends |= call.operation.is_send();
        peer.stats.receives |= call.operation.is_receive();
        if let Some(window) = peer.window.second(second).filter(|_| success) {
            window.0 += u32::from(call.operation.is_send());
            window.1 += u32::from(call.operation.is_receive());
        }
    }

    pub(super) fn is_stale(&self, now: u64) -> bool {
        (self.unlinked || self.limits.is_none()) && self.seen + STALE_S < now
    }

    /// The counts of the window that ends with the second `now`.
    pub(super) fn stats(&mut self, id: &QueueId, now: u64) -> QueueStats {
        self.peers.retain(|_, peer| peer.seen + STALE_S >= now);
        let mut counts = Counts::default();
        for second in self.window.within(now) {
            counts.add(second);
        }
        let peers = self.peers.values();
        QueueStats {
            id: id.clone(),
            depth: self.depth,
            limits: self.limits,
            unlinked: self.unlinked,
            blocked: 0,
            counts,
            peers: peers.map(|peer| peer.stats(now)).collect(),
            is_crowded: self.crowded.is_some_and(|second| second + STALE_S >= now),
            last_error: self.last_error.clone(),
        }
    }
}

impl Peer {
    fn stats(&self, now: u64) -> PeerStats {
        let seconds = self.window.within(now);
        let (sent, received) = seconds.fold((0, 0), |(sent, received), second| {
            (sent + u64::from(second.0), received + u64::from(second.1))
        });
        PeerStats {
            sent,
            received,
            ..self.stats.clone()
        }
    }
}

fn count(second: &mut Counts, call: &Call<'_>, error: Option<&str>) {
    match error {
        None => {}
        Some("ETIMEDOUT") => return second.timeouts += 1,
        Some(_) => return second.errors += 1,
    }
    let durations = if call.operation.is_send() {
        second.sent += 1;
        &mut second.send
    } else if call.operation.is_receive() {
        second.received += 1;
        if let Some(sender) = call.sender {
            let waited_ns = call.end_ns.saturating_sub(sender.created_ns);
            second.in_queue.record(waited_ns);
        }
        &mut second.receive
    } else {
        return;
    };
    // The duration of a call that began before the start is unknown.
    if !call.start_unknown {
        durations.record(call.end_ns.saturating_sub(call.start_ns));
    }
}
