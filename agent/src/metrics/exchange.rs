//! How numbers leave the capture thread: a reader asks, and the capture thread
//! answers at its next tick, within some 20 ms. The event path is not involved,
//! and a tick that nobody waits for costs one load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// How long a reader waits for an answer. After that it takes the last
/// snapshot, because the capture thread has stalled or not started.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Published<T> {
    /// Number of the last question that this answers.
    answers: u64,
    snapshot: Arc<T>,
}

/// The capture thread's half.
#[derive(Debug)]
pub struct Publisher<T> {
    questions: Arc<AtomicU64>,
    answered: u64,
    published: watch::Sender<Published<T>>,
}

/// The readers' half.
#[derive(Debug, Clone)]
pub struct Reader<T> {
    questions: Arc<AtomicU64>,
    published: watch::Receiver<Published<T>>,
}

/// Returns the publishing and the reading half.
pub fn exchange<T: Default>() -> (Publisher<T>, Reader<T>) {
    let questions = Arc::<AtomicU64>::default();
    let (sender, receiver) = watch::channel(Published::default());
    let publisher = Publisher {
        questions: Arc::clone(&questions),
        answered: 0,
        published: sender,
    };
    let reader = Reader {
        questions,
        published: receiver,
    };
    (publisher, reader)
}

impl<T> Publisher<T> {
    /// Whether a reader waits for an answer.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.questions.load(Ordering::Acquire) != self.answered
    }

    /// Publishes a snapshot, which answers all questions so far.
    pub fn publish(&mut self, snapshot: T) {
        self.answered = self.questions.load(Ordering::Acquire);
        self.published.send_replace(Published {
            answers: self.answered,
            snapshot: Arc::new(snapshot),
        });
    }
}

impl<T> Reader<T> {
    /// Returns the current numbers, or the last ones if the capture thread has ended.
    pub async fn read(&self) -> Arc<T> {
        let mut published = self.published.clone();
        let question = self.questions.fetch_add(1, Ordering::AcqRel) + 1;
        let answer = published.wait_for(|published| published.answers >= question);
        if let Ok(Ok(published)) = tokio::time::timeout(PATIENCE, answer).await {
            return Arc::clone(&published.snapshot);
        }
        Arc::clone(&self.published.borrow().snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::series::{QueueSnapshot, Series};
    use super::*;
    use crate::histogram::Forms;

    fn snapshot(sent: u64) -> QueueSnapshot {
        let mut series = Series::new(None, None, Forms::EXPLICIT);
        series.sent = sent;
        QueueSnapshot {
            series: vec![series],
            ..QueueSnapshot::default()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answer_is_newer_than_its_question() {
        let (mut publisher, reader) = exchange();
        publisher.publish(snapshot(1));
        assert!(!publisher.is_asked());
        let asking = tokio::spawn({
            let reader = reader.clone();
            async move { reader.read().await }
        });
        while !publisher.is_asked() {
            tokio::task::yield_now().await;
        }
        publisher.publish(snapshot(2));
        assert_eq!(asking.await.unwrap().series[0].sent, 2);
        drop(publisher);
        assert_eq!(reader.read().await.series[0].sent, 2);
    }

    #[tokio::test]
    async fn a_thread_that_stands_still_holds_nobody_up() {
        let (mut publisher, reader) = exchange();
        publisher.publish(snapshot(7));
        assert_eq!(reader.read().await.series[0].sent, 7);
    }
}
