//! Decides which failures are worth another try, and when.
//!
//! Source: "Failures" under OTLP/gRPC in the OTLP specification, with one
//! deliberate difference. The specification lets clients give up on
//! `RESOURCE_EXHAUSTED` without `RetryInfo`; here it is retried within the
//! limits of the queue. A collector under pressure, for example its memory
//! limiter, gives this answer without saying when to come back, and giving up
//! would lose what waiting saves.
//! [`super::counters::SinkCounts::exhausted_retries`] counts these retries.

use std::time::Duration;

use crate::config::Retry;
use crate::encode::wire::Fields;

use super::refusal::{Refusal, code};
use super::too_large::is_too_large;

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
    /// Decides by code, details and message.
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
            | code::DATA_LOSS => Verdict::Retry(retry_delay(&self.details)),
            _ => Verdict::Reject,
        }
    }
}

/// `google.rpc.RetryInfo.retry_delay` in the details of a `google.rpc.Status`;
/// `None` if it is missing or negative.
pub fn retry_delay(details: &[u8]) -> Option<Duration> {
    let find = |message, number| -> Vec<&[u8]> {
        Fields::new(message)
            .filter_map(Result::ok)
            .filter(|field| field.number == number)
            .map(|field| field.value.bytes())
            .collect()
    };
    let any = find(details, 3).into_iter().find(|any| {
        find(any, 1)
            .first()
            .is_some_and(|url| url.ends_with(b"google.rpc.RetryInfo"))
    })?;
    let info = *find(any, 2).first()?;
    let delay = *find(info, 1).first()?;
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::new(delay).filter_map(Result::ok) {
        match field.number {
            1 => seconds = field.value.number().cast_signed(),
            2 => nanos = field.value.number().cast_signed(),
            _ => {}
        }
    }
    let seconds = u64::try_from(seconds).ok()?;
    let nanos = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
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

    /// `google.rpc.Status` with one detail.
    fn details(type_url: &str, seconds: i64, nanos: i64) -> Vec<u8> {
        use crate::encode::wire::{push_bytes, push_varint};
        let mut delay = vec![1 << 3];
        push_varint(&mut delay, seconds.cast_unsigned());
        delay.push(2 << 3);
        push_varint(&mut delay, nanos.cast_unsigned());
        let mut info = Vec::new();
        push_bytes(&mut info, 1, &delay);
        let mut any = Vec::new();
        push_bytes(&mut any, 1, type_url.as_bytes());
        push_bytes(&mut any, 2, &info);
        let mut status = vec![1 << 3, 8];
        push_bytes(&mut status, 2, b"busy");
        push_bytes(&mut status, 3, b"\x0a\x01x");
        push_bytes(&mut status, 3, &any);
        status
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
    fn retry_info_is_read_from_the_details() {
        const URL: &str = "type.googleapis.com/google.rpc.RetryInfo";
        let half = Duration::from_millis(1_500);
        assert_eq!(retry_delay(&details(URL, 1, 500_000_000)), Some(half));
        assert_eq!(retry_delay(&details(URL, 0, 0)), Some(Duration::ZERO));
        for (url, seconds, nanos) in [
            (URL, -1, 0),
            (URL, 1, -1),
            (URL, 1, 1_000_000_000),
            ("type.googleapis.com/google.rpc.DebugInfo", 1, 0),
        ] {
            assert_eq!(retry_delay(&details(url, seconds, nanos)), None);
        }
        assert_eq!(retry_delay(b"\xff\xff"), None);
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
