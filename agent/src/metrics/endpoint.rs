//! `/metrics` for Prometheus.
//!
//! A collection walks over all threads of the host, and its text can reach
//! megabytes. So there is one collection at a time for each of the two formats,
//! at most one per second, and concurrent requests share the answer. Answers that slow readers still hold
//! are bounded too: while there are [`MAX_HELD`], nothing new is collected.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::prometheus::{self, Format};
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
        .with_state(Scraped {
            source,
            text: Answers::default(),
            openmetrics: Answers::default(),
        })
}

#[derive(Clone)]
struct Scraped {
    source: Arc<MetricsSource>,
    text: Answers,
    openmetrics: Answers,
}

async fn metrics(State(scraped): State<Scraped>, headers: HeaderMap) -> Response {
    let (format, answers) = if accepts_openmetrics(&headers) {
        (Format::OpenMetrics, scraped.openmetrics)
    } else {
        (Format::Text, scraped.text)
    };
    let source = scraped.source;
    // It costs nothing to find out that there is no answer yet, so that is not kept.
    let answer = if source.is_ready() {
        answers.get(move || text(source, format)).await
    } else {
        None
    };
    match answer {
        Some(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the kernel's counters cannot be read yet\n",
        )
            .into_response(),
    }
}

/// Whether the client asks for OpenMetrics and prefers no plain text. One that
/// takes anything gets plain text.
fn accepts_openmetrics(headers: &HeaderMap) -> bool {
    let (mut openmetrics, mut plain) = (0.0, 0.0);
    let accepted = headers.get_all(header::ACCEPT).iter();
    let ranges = accepted.filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
        let get = |name: &str| {
            let mut found = parameters
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.trim())
        };
        let quality = get("q").map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            if get("version").is_none_or(|version| version == "1.0.0") {
                openmetrics = quality.max(openmetrics);
            }
        } else if media.eq_ignore_ascii_case("text/plain") {
            plain = quality.max(plain);
        }
    }
    openmetrics > 0.0 && openmetrics >= plain
}

async fn text(source: Arc<MetricsSource>, format: Format) -> Option<Vec<u8>> {
    let metrics = source.collect(Histograms::Explicit, 0).await?;
    let writing = move || prometheus::text(&metrics, source.resource(), format).into_bytes();
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

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        for (accept, expected) in [
            // Prometheus 3 and 2.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                true,
            ),
            (
                "application/openmetrics-text; version=1.0.0; q=0.5, text/plain",
                false,
            ),
            ("application/openmetrics-text", true),
            ("Application/OpenMetrics-Text; Version=1.0.0", true),
            ("application/openmetrics-text; version=2.0.0", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=nonsense", false),
            ("*/*", false),
            ("text/html, application/json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(accepts_openmetrics(&headers), expected, "{accept}");
        }
        assert!(!accepts_openmetrics(&HeaderMap::new()));
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
