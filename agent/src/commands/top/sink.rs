//! Counts every call on the capture thread and hands the numbers to the
//! display, for which the capture thread never waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stats::Stats;
use super::tally::Tally;
use crate::clock::Reading;
use crate::process::Process;
use crate::sink::SpanSink;
use crate::span::Span;

/// The latest numbers, until the display takes them.
#[derive(Debug, Default)]
pub(super) struct Handover {
    latest: Mutex<Option<Stats>>,
    put: Condvar,
}

impl Handover {
    fn lock(&self) -> MutexGuard<'_, Option<Stats>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces numbers that were not taken.
    fn put(&self, stats: Stats) {
        *self.lock() = Some(stats);
        self.put.notify_one();
    }

    /// Takes the latest numbers, or waits up to `at_most` for new ones.
    pub(super) fn wait(&self, at_most: Duration) -> Option<Stats> {
        let waited = self
            .put
            .wait_timeout_while(self.lock(), at_most, |latest| latest.is_none());
        let (mut latest, _) = waited.unwrap_or_else(PoisonError::into_inner);
        latest.take()
    }
}

#[derive(Debug)]
pub(super) struct TopSink {
    tally: Tally,
    handover: Arc<Handover>,
    interval: Duration,
    due: Instant,
}

impl TopSink {
    /// Hands over numbers at `first`, and again after each interval.
    pub(super) fn new(handover: Arc<Handover>, interval: Duration, first: Instant) -> Self {
        Self {
            tally: Tally::new(Reading::now().boot_ns),
            handover,
            interval,
            due: first,
        }
    }
}

impl SpanSink for TopSink {
    fn span(&mut self, process: &Process, span: &Span<'_>) {
        if span.is_process {
            return;
        }
        let error = span.failure.as_deref();
        self.tally.call(span.call, error, &process.name);
    }

    fn tick(&mut self, now: Instant) {
        if now >= self.due {
            self.due = now + self.interval;
            self.handover.put(self.tally.stats(Reading::now().boot_ns));
        }
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_come_once_an_interval_and_the_latest_counts() {
        let handover = Arc::new(Handover::default());
        let start = Instant::now();
        let interval = Duration::from_secs(2);
        let mut sink = TopSink::new(Arc::clone(&handover), interval, start);
        assert!(handover.wait(Duration::ZERO).is_none());
        sink.tick(start);
        assert!(handover.wait(Duration::ZERO).is_some());
        sink.tick(start + interval / 2);
        assert!(handover.wait(Duration::ZERO).is_none());
        sink.tick(start + interval);
        sink.tick(start + interval * 2);
        assert!(handover.wait(Duration::ZERO).is_some());
        assert!(handover.wait(Duration::ZERO).is_none());
        assert!(handover.wait(Duration::ZERO).is_none());
        sink.tick(start + interval * 3);
        assert!(handover.wait(Duration::ZERO).is_some());
    }
}
