//! The `/healthz` and `/readyz` endpoints for orchestrators.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::pipeline::PipelineCounts;

/// The capture loop is stuck if it has not turned for this long. It normally
/// turns ten times a second. On a host where dozens of threads compete for each
/// CPU, its thread may wait ten seconds for one, and a restart would not help.
const STUCK: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Health {
    ready: Arc<AtomicBool>,
    counts: Arc<PipelineCounts>,
    /// The number of turns and when it was last seen to change; `None` before
    /// the loop starts.
    last_turn: Arc<Mutex<Option<(u64, Instant)>>>,
}

impl Health {
    /// Not ready at first. `counts.rounds` is the sign of life.
    pub fn new(counts: Arc<PipelineCounts>) -> Self {
        Self {
            ready: Arc::default(),
            counts,
            last_turn: Arc::default(),
        }
    }

    /// Pass true once every hook is attached, and false when stopping.
    pub fn set_ready(&self, ready: bool) {
        if ready {
            self.begin(Instant::now());
        }
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Starts to watch the loop. The start of the agent before that takes as
    /// long as the kernel needs to verify the programs.
    fn begin(&self, now: Instant) {
        let rounds = self.counts.rounds.load(Ordering::Relaxed);
        *self.lock_last_turn() = Some((rounds, now));
    }

    fn lock_last_turn(&self) -> MutexGuard<'_, Option<(u64, Instant)>> {
        self.last_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Whether the capture loop has turned lately. Compares with the previous
    /// request, so the first one after a long silence is lenient.
    fn is_alive(&self, now: Instant) -> bool {
        let rounds = self.counts.rounds.load(Ordering::Relaxed);
        let mut last_turn = self.lock_last_turn();
        let Some((seen, at)) = last_turn.as_mut() else {
            return true;
        };
        if *seen != rounds {
            (*seen, *at) = (rounds, now);
        }
        now.duration_since(*at) < STUCK
    }
}

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
    fn a_start_may_take_as_long_as_it_takes() {
        let health = Health::new(Arc::default());
        let start = Instant::now();
        assert!(health.is_alive(start + 2 * STUCK));
        health.begin(start + 3 * STUCK);
        assert!(health.is_alive(start + 3 * STUCK));
        assert!(!health.is_alive(start + 5 * STUCK));
    }

    #[test]
    fn a_loop_that_stands_still_is_not_alive() {
        let counts = Arc::new(PipelineCounts::default());
        let health = Health::new(Arc::clone(&counts));
        let start = Instant::now();
        health.begin(start);
        assert!(health.is_alive(start));
        assert!(!health.is_alive(start + 2 * STUCK));
        counts.rounds.store(1, Ordering::Relaxed);
        assert!(health.is_alive(start + 3 * STUCK));
    }
}
