//! Whole traces: when a slow call is kept whatever the share, so is the other
//! end of its message.
//!
//! Which of the two comes first is not known, and what has been dropped is
//! gone, so what was decided of messages is remembered for a while: those kept,
//! and the sends that were dropped and may still be wanted. Both are bounded;
//! what has been forgotten leaves a trace with one end.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use crate::clock::Times;
use crate::event::Call;
use crate::process::Process;

/// Messages remembered as kept.
const MAX_KEPT: usize = 16_384;
/// Bytes of records of sends that were dropped.
const MAX_DROPPED_BYTES: usize = 2 << 20;

/// A message, by the send that made it: thread and start of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageKey {
    tid: u32,
    start_ns: u64,
}

impl MessageKey {
    /// Of a send that made a message, or a receive that knows its sender.
    pub fn of(call: &Call<'_>) -> Option<Self> {
        if call.operation.is_send() {
            (call.ret >= 0).then_some(Self {
                tid: call.tid,
                start_ns: call.start_ns,
            })
        } else {
            call.sender.map(|sender| Self {
                tid: sender.tid,
                start_ns: sender.start_ns,
            })
        }
    }
}

/// A send that was dropped.
#[derive(Debug)]
pub struct DroppedSend {
    /// Its record, as it came out of the ring.
    pub record: Box<[u8]>,
    /// Who called.
    pub process: Arc<Process>,
    /// When it was.
    pub times: Times,
}

/// What was decided of messages lately.
#[derive(Debug)]
pub struct WholeTraces {
    kept: Recent<MessageKey, ()>,
    dropped: Recent<MessageKey, DroppedSend>,
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
    /// One end of this message is kept. Gives the other one if that is a send
    /// which has been dropped.
    pub fn keep(&mut self, message: MessageKey) -> Option<DroppedSend> {
        self.kept.insert(message, (), 1);
        self.dropped.remove(&message)
    }

    /// Has the other end of this message been kept?
    pub fn is_kept(&self, message: &MessageKey) -> bool {
        self.kept.contains(message)
    }

    /// Sends that are dropped unless they are asked for yet.
    pub fn undecided(&self) -> usize {
        self.dropped.entries.len()
    }

    /// A send is dropped, unless it is asked for yet.
    pub fn drop_send(&mut self, message: MessageKey, send: DroppedSend) {
        let weight = send.record.len();
        self.dropped.insert(message, send, weight);
    }
}

/// A map that forgets what came first when it becomes too heavy.
#[derive(Debug)]
struct Recent<K, V> {
    entries: HashMap<K, (V, usize)>,
    /// In the order of their coming; some are gone from the map.
    order: VecDeque<K>,
    weight: usize,
    max_weight: usize,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    fn new(max_weight: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            weight: 0,
            max_weight,
        }
    }

    fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        let (value, weight) = self.entries.remove(key)?;
        self.weight -= weight;
        Some(value)
    }

    /// A key comes but once.
    fn insert(&mut self, key: K, value: V, weight: usize) {
        if self.contains(&key) {
            return;
        }
        self.entries.insert(key, (value, weight));
        self.order.push_back(key);
        self.weight += weight;
        while self.weight > self.max_weight {
            match self.order.pop_front() {
                Some(first) => drop(self.remove(&first)),
                None => break,
            }
        }
        // Keys whose entry is gone must not pile up either.
        if self.order.len() > 2 * self.entries.len() + 16 {
            let Self { entries, order, .. } = self;
            order.retain(|key| entries.contains_key(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_forgotten() {
        let mut recent = Recent::new(10);
        for key in 0..5 {
            recent.insert(key, key, 3);
        }
        assert!(!recent.contains(&0) && !recent.contains(&1));
        assert_eq!(recent.remove(&2), Some(2));
        assert_eq!(recent.remove(&2), None);
        recent.insert(9, 9, 3);
        assert!(recent.contains(&3) && recent.contains(&4) && recent.contains(&9));
        recent.insert(10, 10, 100);
        assert_eq!((recent.entries.len(), recent.weight), (0, 0));
    }

    #[test]
    fn one_that_stays_is_not_forgotten_for_those_that_go() {
        let mut recent = Recent::new(1_000);
        recent.insert(0, (), 1);
        for key in 1..10_000 {
            recent.insert(key, (), 1);
            recent.remove(&key);
            assert!(recent.contains(&0), "{key}");
        }
    }

    #[test]
    fn keys_do_not_pile_up() {
        let mut recent = Recent::new(1_000);
        for key in 0..10_000 {
            recent.insert(key, (), 1);
            recent.remove(&key);
        }
        assert!(recent.order.len() < 32, "{}", recent.order.len());
    }
}
