//! Queues of batches on their way to a sink: bounded, with many consumers and a
//! push that never waits.
//!
//! A new batch that does not fit is given up and the queue stays as it is, like
//! the Collector's sending queue. The oldest batch leaves first. A batch holds
//! its room until it is done, not until it is taken, so requests in flight and
//! between tries count.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::encode::EncodedBatch;

use super::disk::DiskQueue;
pub use super::lease::{Lease, Level};
use crate::loss::Loss;

#[derive(Debug)]
pub enum BatchQueue {
    Memory(MemoryQueue),
    Disk(DiskQueue),
}

impl BatchQueue {
    /// Adds a batch, from any thread, without waiting for a consumer.
    ///
    /// # Errors
    /// The reason why the batch was given up. The caller must count its spans.
    pub fn push(&self, batch: EncodedBatch) -> Result<(), Loss> {
        match self {
            Self::Memory(queue) => queue.push(batch),
            Self::Disk(queue) => queue.push(batch),
        }
    }

    /// Waits for a batch and takes the oldest; `None` once the queue is closed
    /// and empty.
    pub async fn pop(&self) -> Option<Lease> {
        match self {
            Self::Memory(queue) => queue.pop().await,
            Self::Disk(queue) => queue.pop().await,
        }
    }

    /// Frees the room of a batch, whatever its outcome.
    pub fn done(&self, lease: Lease) {
        match self {
            Self::Memory(queue) => queue.done(&lease),
            Self::Disk(queue) => queue.done(&lease),
        }
    }

    /// Gives back a batch that is not done at the end. Its spans were reported
    /// as left.
    pub fn abandon(&self, lease: Lease) {
        match self {
            Self::Memory(queue) => queue.done(&lease),
            Self::Disk(queue) => queue.abandon(&lease),
        }
    }

    /// Ends the queue after its consumers have ended. Blocks for as long as the
    /// disk takes. Returns the spans that are left and in no other count.
    pub fn finish(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Disk(queue) => queue.finish(),
        }
    }

    /// Whether its contents outlive the process.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    /// Refuses batches from now on.
    pub fn close(&self) {
        match self {
            Self::Memory(queue) => queue.close(),
            Self::Disk(queue) => queue.close(),
        }
    }

    pub fn level(&self) -> Level {
        match self {
            Self::Memory(queue) => queue.level(),
            Self::Disk(queue) => queue.level(),
        }
    }
}

/// A queue in memory. The lock is held for a few instructions per batch.
#[derive(Debug)]
pub struct MemoryQueue {
    capacity_bytes: u64,
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<EncodedBatch>,
    level: Level,
    closed: bool,
}

impl MemoryQueue {
    pub fn new(capacity_bytes: u64) -> Self {
        Self {
            capacity_bytes,
            state: Mutex::default(),
            ready: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, batch: EncodedBatch) -> Result<(), Loss> {
        let mut state = self.lock();
        if state.closed {
            return Err(Loss::Closed);
        }
        let bytes = state.level.bytes + batch.bytes.len() as u64;
        if bytes > self.capacity_bytes {
            return Err(Loss::QueueFull);
        }
        state.level.bytes = bytes;
        state.level.spans += u64::from(batch.spans);
        state.batches.push_back(batch);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    async fn pop(&self) -> Option<Lease> {
        loop {
            // Registers before it looks, so that no push between the look and
            // the wait is missed.
            let mut ready = pin!(self.ready.notified());
            ready.as_mut().enable();
            {
                let mut state = self.lock();
                if let Some(batch) = state.batches.pop_front() {
                    state.level.spans -= u64::from(batch.spans);
                    if !state.batches.is_empty() {
                        self.ready.notify_one();
                    }
                    return Some(Lease { batch, position: 0 });
                }
                if state.closed {
                    return None;
                }
            }
            ready.await;
        }
    }

    fn done(&self, lease: &Lease) {
        let mut state = self.lock();
        let bytes = lease.batch.bytes.len() as u64;
        state.level.bytes = state.level.bytes.saturating_sub(bytes);
    }

    fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_waiters();
    }

    fn level(&self) -> Level {
        Level {
            capacity_bytes: self.capacity_bytes,
            ..self.lock().level
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn batch(bytes: usize, spans: u32) -> EncodedBatch {
        EncodedBatch {
            bytes: vec![7; bytes].into(),
            spans,
        }
    }

    #[tokio::test]
    async fn room_is_held_until_done() {
        let queue = BatchQueue::Memory(MemoryQueue::new(100));
        assert_eq!(queue.push(batch(60, 1)), Ok(()));
        assert_eq!(queue.push(batch(41, 2)), Err(Loss::QueueFull));
        assert_eq!(queue.push(batch(40, 4)), Ok(()));
        let level = queue.level();
        assert_eq!((level.bytes, level.spans), (100, 5));
        let lease = queue.pop().await.unwrap();
        assert_eq!(lease.batch.spans, 1);
        assert_eq!(queue.push(batch(1, 1)), Err(Loss::QueueFull));
        queue.done(lease);
        assert_eq!(queue.push(batch(60, 1)), Ok(()));
    }

    #[tokio::test]
    async fn a_closed_queue_gives_what_it_has_and_ends() {
        let queue = BatchQueue::Memory(MemoryQueue::new(100));
        assert_eq!(queue.push(batch(1, 1)), Ok(()));
        queue.close();
        assert_eq!(queue.push(batch(1, 1)), Err(Loss::Closed));
        assert!(queue.pop().await.is_some());
        assert!(queue.pop().await.is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_batch_goes_to_one_consumer() {
        let queue = Arc::new(BatchQueue::Memory(MemoryQueue::new(u64::MAX)));
        let consumers: Vec<_> = (0..4)
            .map(|_| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move {
                    let mut spans = 0;
                    while let Some(lease) = queue.pop().await {
                        spans += u64::from(lease.batch.spans);
                        queue.done(lease);
                    }
                    spans
                })
            })
            .collect();
        let producer = Arc::clone(&queue);
        std::thread::spawn(move || {
            for spans in 1..=2_000 {
                producer.push(batch(10, spans)).unwrap();
            }
            producer.close();
        })
        .join()
        .unwrap();
        let mut sum = 0;
        for consumer in consumers {
            sum += consumer.await.unwrap();
        }
        assert_eq!(sum, 2_000 * 2_001 / 2);
        assert_eq!(queue.level().bytes, 0);
    }
}
