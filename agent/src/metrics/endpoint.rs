//! `/metrics` for Prometheus.
//!
//! A collection walks over all threads of the host, and its text can reach
//! megabytes. So there is one collection at a time, at most one per second, and
//! concurrent requests share the answer. Answers that slow readers still hold
//! are bounded too: while there are [`MAX_HELD`], nothing new is collected.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::prometheus;
use super::source::MetricsSource;
use crate::config::Histograms;

/// How long an answer is reused.
const FRESH: Duration = Duration::from_secs(1);
/// Answers in memory, including the newest.
const MAX_HELD: usize = 4;

/// Serves `/metrics`.
pub fn router(source: Arc<MetricsSource>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state((source, Answers::default()))
}

async fn metrics(State((source, answers)): State<(Arc<MetricsSource>, Answers)>) -> Response {
    // It costs nothing to find out that there is no answer yet, so that is not kept.
    let answer = if source.is_ready() {
        answers.get(move || text(source)).await
    } else {
        None
    };
    match answer {
        Some(text) => ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the kernel's counters cannot be read yet\n",
        )
            .into_response(),
    }
}

async fn text(source: Arc<MetricsSource>) -> Option<Vec<u8>> {
    let metrics = source.collect(Histograms::Explicit, 0).await?;
    let writing = move || prometheus::text(&metrics, source.resource()).into_bytes();
    tokio::task::spawn_blocking(writing).await.ok()
}

/// The newest answer, and permits for all answers in memory.
#[derive(Clone)]
struct Answers {
    newest: Arc<Mutex<Option<Answer>>>,
    room: Arc<Semaphore>,
}

#[derive(Clone)]
struct Answer {
    made: Instant,
    text: Option<Bytes>,
}

/// A text that releases its permit with its last reader.
struct Held {
    text: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            newest: Arc::default(),
            room: Arc::new(Semaphore::new(MAX_HELD)),
        }
    }
}

impl Answers {
    /// Returns an answer that is no older than [`FRESH`], or an older one while
    /// slow readers hold all permits. A client that goes away does not end the
    /// collection, because others wait for it.
    async fn get<F>(&self, collect: impl FnOnce() -> F + Send + 'static) -> Option<Bytes>
    where
        F: Future<Output = Option<Vec<u8>>> + Send,
    {
        let mut newest = Arc::clone(&self.newest).lock_owned().await;
        let room = Arc::clone(&self.room);
        let permit = room.try_acquire_owned();
        let permit = match (newest.as_ref(), permit) {
            (Some(answer), Ok(_)) if answer.made.elapsed() < FRESH => return answer.text.clone(),
            (Some(answer), Err(_)) => return answer.text.clone(),
            (None, Err(_)) => return None,
            (_, Ok(permit)) => permit,
        };
        let answers = self.clone();
        let collection = async move {
            let text = collect().await.map(|text| {
                Bytes::from_owner(Held {
                    text,
                    _permit: permit,
                })
            });
            let made = Instant::now();
            *newest = Some(Answer {
                made,
                text: text.clone(),
            });
            drop(newest);
            tokio::spawn(answers.forget(made));
            text
        };
        tokio::spawn(collection).await.ok()?
    }

    /// Drops the answer made at `made` once it is stale, unless it is the only
    /// one that can be handed out.
    async fn forget(self, made: Instant) {
        tokio::time::sleep(FRESH).await;
        let mut newest = self.newest.lock().await;
        if self.room.available_permits() > 0 && newest.as_ref().is_some_and(|a| a.made == made) {
            *newest = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts collections, and lets them end when told.
    #[derive(Clone)]
    struct Collections {
        begun: Arc<AtomicUsize>,
        go: Arc<Semaphore>,
    }

    impl Collections {
        fn new() -> Self {
            Self {
                begun: Arc::default(),
                go: Arc::new(Semaphore::new(0)),
            }
        }

        fn collect(
            &self,
        ) -> impl FnOnce() -> futures_util::future::BoxFuture<'static, Option<Vec<u8>>> + Send + 'static
        {
            let collections = self.clone();
            move || {
                Box::pin(async move {
                    let number = collections.begun.fetch_add(1, Ordering::SeqCst);
                    collections.go.acquire().await.ok()?.forget();
                    Some(format!("answer {number}").into_bytes())
                })
            }
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }
    }

    async fn age(answers: &Answers) {
        if let Some(answer) = answers.newest.lock().await.as_mut() {
            answer.made -= FRESH;
        }
    }

    #[tokio::test]
    async fn those_who_ask_at_once_or_soon_share_one_collection() {
        let (answers, collections) = (Answers::default(), Collections::new());
        // The first gives up while its collection is under way.
        let first = tokio::spawn({
            let (answers, collect) = (answers.clone(), collections.collect());
            async move { answers.get(collect).await }
        });
        while collections.begun() == 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let others = (0..100).map(|_| answers.get(collections.collect()));
        let others = futures_util::future::join_all(others);
        collections.go.add_permits(1);
        for answer in others.await {
            assert_eq!(answer.unwrap(), "answer 0");
        }
        assert_eq!(collections.begun(), 1);
        age(&answers).await;
        collections.go.add_permits(1);
        let answer = answers.get(collections.collect()).await;
        assert_eq!(answer.unwrap(), "answer 1");
    }

    #[tokio::test]
    async fn slow_readers_hold_a_bounded_number_of_answers() {
        let (answers, collections) = (Answers::default(), Collections::new());
        collections.go.add_permits(100);
        let mut held = Vec::new();
        for _ in 0..10 * MAX_HELD {
            held.push(answers.get(collections.collect()).await.unwrap());
            age(&answers).await;
        }
        assert_eq!(collections.begun(), MAX_HELD);
        let last = format!("answer {}", MAX_HELD - 1);
        assert_eq!(held.last().unwrap(), last.as_bytes());
        drop(held);
        let answer = answers.get(collections.collect()).await;
        assert_eq!(answer.unwrap(), format!("answer {MAX_HELD}"));
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_let_go() {
        let (answers, collections) = (Answers::default(), Collections::new());
        collections.go.add_permits(1);
        answers.get(collections.collect()).await.unwrap();
        while answers.newest.lock().await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(answers.room.available_permits(), MAX_HELD);
    }
}
