//! The capture loop: takes records from the ring buffer in rounds.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::clock::ClockWatch;
use crate::kernel::{MAX_RECORDS, Tracer};
use crate::pipeline::Pipeline;
use crate::sink::SpanSink;

/// How long a round waits for records: `SHORT_ROUND` while records arrive, and
/// up to `LONG_ROUND` while none do. The ring wakes the loop earlier as it
/// fills. After a full round the next one does not wait.
const SHORT_ROUND: Duration = Duration::from_millis(20);
const LONG_ROUND: Duration = Duration::from_millis(100);

/// Runs until `stop` is set, then detaches, drains the ring and ends the
/// pipeline. `between_rounds` may change settings; while it runs, records wait
/// in the ring.
///
/// # Errors
/// If the ring buffer cannot be mapped or polled, or the clock cannot be
/// watched.
pub fn run<S: SpanSink>(
    tracer: &mut Tracer,
    pipeline: Pipeline<'_, S>,
    stop: &AtomicBool,
    mut between_rounds: impl FnMut(&mut Tracer, &mut Pipeline<'_, S>),
) -> anyhow::Result<S> {
    let pipeline = RefCell::new(pipeline);
    let mut ring = tracer
        .ring(|bytes| pipeline.borrow_mut().record(bytes))
        .context("cannot map the ring buffer")?;
    let watch = ClockWatch::new().context("cannot watch the clock")?;
    let mut round = SHORT_ROUND;
    while !stop.load(Ordering::Relaxed) {
        tracer.set_waits(true);
        let waited = ring.wait(watch.as_fd(), round);
        tracer.set_waits(false);
        waited.context("cannot wait for records")?;
        watch.acknowledge().context("cannot watch the clock")?;
        pipeline.borrow_mut().renew_clock();
        round = next_round(round, ring.take());
        let pipeline = &mut *pipeline.borrow_mut();
        let now = Instant::now();
        tracer.set_cgroups(&pipeline.take_cgroup_verdicts());
        pipeline.tick(now);
        tracer.forget(&pipeline.take_forgotten());
        tracer.set_contexts(&pipeline.take_context_changes());
        tracer.recount(now);
        tracer.watch_pressure(now);
        between_rounds(tracer, pipeline);
        tracer.release_catch_up();
    }
    tracer.detach();
    pipeline.borrow_mut().renew_clock();
    while ring.take() != 0 {}
    pipeline.borrow_mut().finish();
    drop(ring);
    Ok(pipeline.into_inner().into_sink())
}

/// How long to wait after a round that took `taken` records.
fn next_round(round: Duration, taken: usize) -> Duration {
    match taken {
        0 => (round * 2).clamp(SHORT_ROUND, LONG_ROUND),
        MAX_RECORDS => Duration::ZERO,
        _ => SHORT_ROUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_not_waited_for_and_nothing_longer_and_longer() {
        let mut round = SHORT_ROUND;
        for (taken, next) in [
            (0, SHORT_ROUND * 2),
            (0, SHORT_ROUND * 4),
            (0, LONG_ROUND),
            (MAX_RECORDS, Duration::ZERO),
            (0, SHORT_ROUND),
            (MAX_RECORDS - 1, SHORT_ROUND),
        ] {
            round = next_round(round, taken);
            assert_eq!(round, next, "after {taken}");
        }
    }
}
