//! Sample: which traces are kept.
//!
//! The trace id decides. The calls of a trace share it, so they are all kept or
//! all dropped without coordination.

pub mod whole;

use std::time::Duration;

use crate::config::Config;
use crate::span::Span;
use crate::trace_state::{RANDOM_BITS, TraceState};

/// The share of traces to keep, and what to keep whatever the share.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Traces whose random bits are below this are dropped: the rejection
    /// threshold of OpenTelemetry's consistent probability sampling.
    threshold: u64,
    /// What tells the threshold. `None` if every trace is kept, since nothing is
    /// sampled then.
    trace_state: Option<TraceState>,
    keep_errors: bool,
    keep_slower_than_ns: Option<u64>,
}

impl Sampling {
    /// From the configuration. Keeps nothing if there is no exporter.
    pub fn of(config: &Config) -> Self {
        if config.exporters.is_none() {
            return Self::new(0.0, false, None);
        }
        let keep = &config.sampling.always_keep;
        Self::new(
            config.sampling.ratio,
            keep.errors,
            keep.slower_than.unless_zero(),
        )
    }

    /// `ratio` is from 0 to 1. Errors are calls that return an errno, and calls
    /// in which a signal killed the thread.
    pub fn new(ratio: f64, keep_errors: bool, keep_slower_than: Option<Duration>) -> Self {
        let all = (1_u64 << RANDOM_BITS) as f64;
        let threshold = ((1.0 - ratio.clamp(0.0, 1.0)) * all) as u64;
        Self {
            threshold,
            trace_state: TraceState::of_threshold(threshold).filter(|_| threshold > 0),
            keep_errors,
            keep_slower_than_ns: keep_slower_than
                .map(|limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)),
        }
    }

    /// Whether its whole trace is kept, by the ratio or, as with the specification's
    /// sampler `ParentBased`, by the application that began it.
    pub fn keeps(&self, span: &Span<'_>) -> bool {
        let random = u128::from_be_bytes(span.trace_id) as u64 & ((1 << RANDOM_BITS) - 1);
        span.application_trace.is_some() || random >= self.threshold
    }

    pub fn decide(&self, span: &Span<'_>) -> Decision {
        let call = span.call;
        let is_slow = self
            .keep_slower_than_ns
            .is_some_and(|limit| call.end_ns.saturating_sub(call.start_ns) > limit);
        if self.keeps(span) {
            Decision::Keep
        } else if is_slow || self.keep_errors && span.failure.is_some() {
            Decision::KeepAlways
        } else {
            Decision::Drop
        }
    }

    /// The `tracestate` of a span with [`Decision::Keep`]. Of an application's trace
    /// the share is not known.
    pub fn trace_state(&self, span: &Span<'_>) -> Option<TraceState> {
        self.trace_state
            .filter(|_| span.application_trace.is_none())
    }

    /// Whether what is dropped can be kept after all, because of another call of
    /// its trace. A failed call is alone in its trace, unless sends are joined to
    /// receives.
    pub fn keeps_some(&self, joins_sends: bool) -> bool {
        self.keep_errors && joins_sends || self.keep_slower_than_ns.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// In the share that is kept, or in a trace that an application keeps, like
    /// everything in its trace.
    Keep,
    /// Kept because it was slow or failed, with what is left of its trace.
    KeepAlways,
    Drop,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Traces;
    use crate::ids::Ids;
    use crate::span::SpanSettings;
    use crate::test_calls::receive;

    fn kept(sampling: Sampling, ret: i64, duration_ns: u64) -> usize {
        let settings = SpanSettings::new(Ids::new(42), Traces::default());
        (0..10_000)
            .filter(|&start_ns| {
                let mut call = receive();
                call.sender = None;
                (call.start_ns, call.end_ns) = (start_ns, start_ns + duration_ns);
                call.ret = ret;
                sampling.decide(&Span::new(&call, &settings, (0, 0))) != Decision::Drop
            })
            .count()
    }

    #[test]
    fn the_share_is_kept() {
        assert_eq!(kept(Sampling::new(1.0, false, None), 5, 10), 10_000);
        assert_eq!(kept(Sampling::new(0.0, false, None), 5, 10), 0);
        // 1 %: a hundred, give or take four deviations of the binomial.
        let few = kept(Sampling::new(0.01, false, None), 5, 10);
        assert!((60..=140).contains(&few), "{few}");
    }

    #[test]
    fn errors_and_slow_calls_are_kept_on_request() {
        assert_eq!(kept(Sampling::new(0.0, true, None), -110, 10), 10_000);
        assert_eq!(kept(Sampling::new(0.0, true, None), 0, 10), 0);
        let slow = Some(Duration::from_nanos(10));
        assert_eq!(kept(Sampling::new(0.0, false, slow), 0, 11), 10_000);
        assert_eq!(kept(Sampling::new(0.0, false, slow), 0, 10), 0);
    }

    #[test]
    fn a_message_is_kept_on_both_sides_or_on_none() {
        let sampling = Sampling::new(0.3, false, None);
        let settings = SpanSettings::new(Ids::new(7), Traces::default());
        for start_ns in 0..1_000 {
            let mut received = receive();
            let mut sent = receive();
            sent.sender = None;
            sent.start_ns = start_ns;
            if let Some(sender) = &mut received.sender {
                (sender.cause.call, sender.cause.root) = (sent.key(), sent.key());
            }
            assert_eq!(
                sampling.decide(&Span::new(&sent, &settings, (0, 0))),
                sampling.decide(&Span::new(&received, &settings, (0, 0)))
            );
        }
    }
}
