//! `/healthz` and `/readyz` for orchestrators.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::pipeline::PipelineCounts;

/// The capture loop turns at least ten times a second; without a turn for this
/// long it is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// What the answers depend on.
#[derive(Clone)]
pub struct Health {
    ready: Arc<AtomicBool>,
    counts: Arc<PipelineCounts>,
    last_turn: Arc<std::sync::Mutex<(u64, Instant)>>,
}

impl Health {
    /// Not ready yet. `counts.rounds` is the sign of life.
    pub fn new(counts: Arc<PipelineCounts>) -> Self {
        Self {
            ready: Arc::default(),
            counts,
            last_turn: Arc::new(std::sync::Mutex::new((0, Instant::now()))),
        }
    }

    /// Every hook is attached, or, when stopping, not any more.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Has the capture loop turned lately? Judged from one request to the
    /// next, so the first one after a long silence is lenient.
    fn is_alive(&self, now: Instant) -> bool {
        let rounds = self.counts.rounds.load(Ordering::Relaxed);
        let Ok(mut last) = self.last_turn.lock() else {
            return false;
        };
        if last.0 != rounds {
            *last = (rounds, now);
        }
        now.duration_since(last.1) < STUCK
    }
}

/// The paths `/healthz` and `/readyz`.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
}

async fn healthz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.is_alive(Instant::now()) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the capture loop stands still\n",
        )
    }
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the hooks are not attached\n",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_not_alive() {
        let counts = Arc::new(PipelineCounts::default());
        let health = Health::new(Arc::clone(&counts));
        let start = Instant::now();
        assert!(health.is_alive(start));
        assert!(!health.is_alive(start + 2 * STUCK));
        counts.rounds.store(1, Ordering::Relaxed);
        assert!(health.is_alive(start + 3 * STUCK));
    }
}
