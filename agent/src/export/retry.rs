//! Decides which failures are worth another try, and when.
//!
//! Source: "Failures" under OTLP/gRPC and OTLP/HTTP in the OTLP specification,
//! with one deliberate difference. The specification lets clients give up on
//! `RESOURCE_EXHAUSTED` without `RetryInfo`; here it is retried within the
//! limits of the queue. A collector under pressure, for example its memory
//! limiter, gives this answer without saying when to come back, and giving up
//! would lose what waiting saves.
//! [`super::counters::SinkCounts::exhausted_retries`] counts these retries.

use std::time::Duration;

use crate::config::Retry;

use super::refusal::{Refusal, code};
use super::too_large::is_too_large;

/// The longest wait that a collector can ask for.
const MAX_ASKED: Duration = Duration::from_secs(3_600);

/// What to do with a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again, after this long at the earliest.
    Retry(Option<Duration>),
    /// Send as two halves.
    Split,
    /// Do not try again.
    Reject,
}

impl Refusal {
    /// Decides by code and message.
    pub fn verdict(&self) -> Verdict {
        if is_too_large(self) {
            return Verdict::Split;
        }
        match self.code {
            code::CANCELLED
            | code::DEADLINE_EXCEEDED
            | code::RESOURCE_EXHAUSTED
            | code::ABORTED
            | code::OUT_OF_RANGE
            | code::UNAVAILABLE
            | code::DATA_LOSS => Verdict::Retry(self.retry_after.map(|wait| wait.min(MAX_ASKED))),
            _ => Verdict::Reject,
        }
    }
}

/// Computes the pauses between the tries of one request.
#[derive(Debug, Clone)]
pub struct Backoff {
    config: Retry,
    interval: Duration,
}

impl Backoff {
    pub fn new(config: Retry) -> Self {
        Self {
            interval: config.initial_interval.0,
            config,
        }
    }

    /// The pause before the next try, or `None` to give up. `elapsed` is the
    /// time since the first try, `asked` the delay that the collector asked
    /// for, and `random` a random number from 0 to 1.
    pub fn next(
        &mut self,
        elapsed: Duration,
        asked: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        let config = &self.config;
        if !config.enabled {
            return None;
        }
        let spread = config.randomization_factor;
        let factor = 1.0 - spread + 2.0 * spread * random.clamp(0.0, 1.0);
        let pause = scale(self.interval, factor).max(asked.unwrap_or_default());
        self.interval = scale(self.interval, config.multiplier).min(config.max_interval.0);
        let limit = config.max_elapsed_time.unless_zero();
        let is_over = limit.is_some_and(|limit| elapsed.saturating_add(pause) > limit);
        (!is_over).then_some(pause)
    }
}

fn scale(interval: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(interval.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HumanDuration;

    fn refusal(code: u8, message: &str) -> Refusal {
        Refusal {
            code,
            message: message.to_owned(),
            ..Refusal::default()
        }
    }

    #[test]
    fn codes_are_decided_by_the_specification() {
        let retryable = [1, 4, 8, 10, 11, 14, 15];
        for code in 0..=16 {
            let expected = if retryable.contains(&code) {
                Verdict::Retry(None)
            } else {
                Verdict::Reject
            };
            assert_eq!(refusal(code, "no").verdict(), expected, "code {code}");
        }
    }

    #[test]
    fn nobody_can_ask_for_more_than_an_hour() {
        for (asked, expected) in [(7, 7), (3_600, 3_600), (u64::MAX, 3_600)] {
            let refusal = Refusal {
                retry_after: Some(Duration::from_secs(asked)),
                ..refusal(code::UNAVAILABLE, "later")
            };
            let expected = Some(Duration::from_secs(expected));
            assert_eq!(refusal.verdict(), Verdict::Retry(expected));
        }
    }

    #[test]
    fn pauses_grow_to_the_limit_within_the_spread() {
        let mut backoff = Backoff::new(Retry::default());
        let middle: Vec<_> = (0..12)
            .filter_map(|_| backoff.next(Duration::ZERO, None, 0.5))
            .map(|pause| pause.as_millis())
            .collect();
        assert_eq!(
            middle.get(..4),
            Some([1_000, 1_500, 2_250, 3_375].as_slice())
        );
        assert_eq!(middle.last(), Some(&30_000));
        for (random, millis) in [(0.0, 500), (1.0, 1_500)] {
            let mut backoff = Backoff::new(Retry::default());
            let pause = backoff.next(Duration::ZERO, None, random);
            assert_eq!(pause, Some(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn the_collector_may_ask_for_longer_only() {
        for (asked, expected) in [(7, 7), (0, 1)] {
            let mut backoff = Backoff::new(Retry::default());
            let pause = backoff.next(Duration::ZERO, Some(Duration::from_secs(asked)), 0.5);
            assert_eq!(pause, Some(Duration::from_secs(expected)));
        }
    }

    #[test]
    fn it_ends_when_the_time_is_up_or_retrying_is_off() {
        let limited = Retry {
            max_elapsed_time: HumanDuration::seconds(10),
            ..Retry::default()
        };
        let mut backoff = Backoff::new(limited);
        assert!(backoff.next(Duration::from_secs(9), None, 0.5).is_some());
        assert_eq!(backoff.next(Duration::from_secs(9), None, 0.5), None);
        let off = Retry {
            enabled: false,
            ..Retry::default()
        };
        assert_eq!(Backoff::new(off).next(Duration::ZERO, None, 0.5), None);
        let mut for_ever = Backoff::new(Retry::default());
        assert!(for_ever.next(Duration::MAX, None, 0.5).is_some());
    }
}
