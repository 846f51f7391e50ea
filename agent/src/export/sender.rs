//! The capture thread's side: spans into batches, batches into queues.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::encode::{Batch, EncodedResource, Push};
use crate::event::ProcessKey;
use crate::span::Span;

use super::Sink;
use super::counters::LossReason;
use super::settings::BatchSettings;

/// Takes spans on the capture thread. Nothing in it waits: a span is encoded
/// where it stands, and a batch goes to a queue or is counted as lost.
///
/// Dropping it flushes.
#[derive(Debug)]
pub struct SpanSender {
    batch: Batch,
    sinks: Vec<Sink>,
    flush_timeout: Duration,
    /// When the first span of the batch came.
    since: Option<Instant>,
    pushed: u64,
}

impl SpanSender {
    pub(super) fn new(settings: &BatchSettings, sinks: Vec<Sink>) -> Self {
        let max_bytes = usize::try_from(settings.max_size_bytes).unwrap_or(usize::MAX);
        Self {
            batch: Batch::new(max_bytes),
            sinks,
            flush_timeout: settings.flush_timeout,
            since: None,
            pushed: 0,
        }
    }

    /// Takes one span of this process. `now` is the time of the caller's last
    /// look at the clock; a few milliseconds of age do no harm.
    #[inline]
    pub fn push(
        &mut self,
        now: Instant,
        process: ProcessKey,
        resource: &Arc<EncodedResource>,
        span: &Span<'_>,
    ) {
        self.pushed += 1;
        for sink in &self.sinks {
            sink.counters.set_pushed(self.pushed);
        }
        let mut pushed = self.batch.push(process, resource, span);
        if pushed == Push::Full {
            self.flush();
            pushed = self.batch.push(process, resource, span);
        }
        match pushed {
            Push::Added => {
                if self.since.is_none() {
                    self.since = Some(now);
                }
            }
            Push::Full | Push::TooLarge => {
                for sink in &self.sinks {
                    sink.counters.lost(LossReason::TooLarge, 1);
                }
            }
        }
    }

    /// Flushes if the first span of the batch has waited long enough. Returns
    /// how long the caller may sleep until it should ask again; `None` with
    /// an empty batch.
    pub fn flush_if_due(&mut self, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(self.since?);
        if age >= self.flush_timeout {
            self.flush();
            return None;
        }
        Some(self.flush_timeout - age)
    }

    /// Hands the batch on, whatever its age.
    pub fn flush(&mut self) {
        self.since = None;
        if self.batch.is_empty() {
            return;
        }
        let batch = self.batch.take();
        for sink in &self.sinks {
            if let Err(reason) = sink.queue.push(batch.clone()) {
                sink.counters.lost(reason, batch.spans.into());
            }
        }
    }

    /// Spans in the batch.
    pub fn pending(&self) -> u32 {
        self.batch.spans()
    }
}

impl Drop for SpanSender {
    fn drop(&mut self) {
        self.flush();
    }
}
