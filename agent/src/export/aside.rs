//! Requests that the collector refuses for now. They wait beside the queue, so
//! that other requests go on.
//!
//! They keep their room in the queue. Once they take up half of it, the oldest
//! of those that were refused while the collector accepted others are given up:
//! the collector objects to them in particular, and new spans need the room.
//! While the collector refuses everything, nothing is given up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

/// When a request was first tried, and a sequence number. The oldest sort
/// first.
pub(super) type Key = (Instant, u64);

#[derive(Debug)]
pub(super) struct Aside {
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<Key, Waiting>,
    bytes: u64,
    number: u64,
}

#[derive(Debug)]
struct Waiting {
    bytes: u64,
    /// The collector accepted other requests in the meantime.
    is_singled_out: bool,
    given_up: oneshot::Sender<()>,
}

impl Aside {
    /// `max_bytes` is the limit on the queue's batches in memory.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request. The receiver completes if the request is given up for
    /// lack of room.
    pub(super) fn enter(
        &self,
        first_tried: Instant,
        bytes: u64,
        is_singled_out: bool,
    ) -> (Key, oneshot::Receiver<()>) {
        let (given_up, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.number += 1;
        let key = (first_tried, state.number);
        state.bytes += bytes;
        let waiting = Waiting {
            bytes,
            is_singled_out,
            given_up,
        };
        state.waiting.insert(key, waiting);
        while state.bytes > self.max_bytes / 2 {
            let mut oldest = state.waiting.iter();
            let Some(key) =
                oldest.find_map(|(key, waiting)| waiting.is_singled_out.then_some(*key))
            else {
                break;
            };
            drop(state.remove(key));
        }
        (key, receiver)
    }

    /// Removes a request. Returns false if it was given up.
    pub(super) fn leave(&self, key: Key) -> bool {
        self.lock().remove(key).is_some()
    }

    /// How many requests wait, and whether they use all the memory allowed for
    /// batches.
    pub(super) fn level(&self) -> (usize, bool) {
        let state = self.lock();
        (state.waiting.len(), state.bytes >= self.max_bytes)
    }
}

impl State {
    /// Dropping the returned sender wakes the task that waits.
    fn remove(&mut self, key: Key) -> Option<oneshot::Sender<()>> {
        let waiting = self.waiting.remove(&key)?;
        self.bytes -= waiting.bytes;
        Some(waiting.given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_that_were_singled_out_are_given_up_beyond_half() {
        let aside = Aside::new(100);
        let now = Instant::now();
        let (patient, _patient) = aside.enter(now, 10, false);
        let (oldest, given_up) = aside.enter(now, 20, true);
        let (young, _young) = aside.enter(now, 20, true);
        assert_eq!(aside.level(), (3, false));
        let (newest, _newest) = aside.enter(now, 20, true);
        assert!(given_up.await.is_err());
        assert!(!aside.leave(oldest));
        for key in [patient, young, newest] {
            assert!(aside.leave(key));
        }
        assert_eq!(aside.level(), (0, false));
    }

    #[tokio::test]
    async fn nothing_is_given_up_while_the_collector_refuses_all() {
        let aside = Aside::new(100);
        let now = Instant::now();
        let waiting: Vec<_> = (0..10).map(|_| aside.enter(now, 10, false)).collect();
        assert_eq!(aside.level(), (10, true));
        assert!(waiting.into_iter().all(|(key, _)| aside.leave(key)));
    }
}
