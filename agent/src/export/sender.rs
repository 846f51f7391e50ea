//! The capture thread's side: puts spans into batches, and batches into queues.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config;
use crate::encode::{Batch, EncodedResource, Push};
use crate::event::{CallKey, ProcessKey};
use crate::span::Span;

use super::Sink;
use super::shares::QueueShares;
use crate::loss::Loss;
use crate::owner::{Owner, OwnerLosses};

/// Takes spans on the capture thread and never waits: a span is encoded at
/// once, and a batch is either queued or counted as lost.
///
/// Dropping it flushes.
#[derive(Debug)]
pub struct SpanSender {
    batch: Batch,
    sinks: Vec<Sink>,
    flush_timeout: Duration,
    /// When the first span of the batch was added.
    since: Option<Instant>,
    shares: QueueShares,
    owners: Arc<OwnerLosses>,
    /// Average bytes of a span in the previous batch.
    span_bytes: u64,
    /// Spans in the batch that are of no call.
    others: u64,
    /// Calls in the batch that others can be children of.
    parents: Vec<CallKey>,
    /// Such calls whose span was lost.
    untold: Vec<CallKey>,
}

/// Limit on the lost calls that are remembered until one that comes of them asks.
const MAX_UNTOLD: usize = 65_536;
/// Assumed bytes of a span before the first batch.
const SPAN_BYTES: u64 = 640;

impl SpanSender {
    pub(super) fn new(config: &config::Batch, sinks: Vec<Sink>) -> Self {
        let max_bytes = usize::try_from(config.max_size.0).unwrap_or(usize::MAX);
        Self {
            batch: Batch::new(max_bytes),
            sinks,
            flush_timeout: config.flush_timeout.0,
            since: None,
            shares: QueueShares::default(),
            owners: Arc::default(),
            span_bytes: SPAN_BYTES,
            others: 0,
            parents: Vec::new(),
            untold: Vec::new(),
        }
    }

    /// Counts in `owners` whose spans found no room.
    pub fn set_owners(&mut self, owners: Arc<OwnerLosses>) {
        self.owners = owners;
    }

    /// Adds one span of `process`, which belongs to `owner`. `now` may be a few
    /// milliseconds old.
    #[inline]
    pub fn push(
        &mut self,
        now: Instant,
        (process, owner): (ProcessKey, Option<Owner>),
        resource: &Arc<EncodedResource>,
        span: &Span<'_>,
    ) {
        let parent = span.can_have_children.then(|| span.call.key());
        if !span.has_room && !self.shares.take(owner, self.span_bytes) {
            if !span.is_process {
                self.owners.add(owner, Loss::QueueFull, 1);
            }
            self.dropped(span, Loss::QueueFull);
            self.is_untold(parent);
            return;
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
                self.parents.extend(parent);
                self.others += u64::from(span.is_process);
            }
            Push::Full | Push::TooLarge => {
                self.dropped(span, Loss::TooLarge);
                self.is_untold(parent);
            }
        }
    }

    /// Sets room aside for a span of this owner.
    pub fn reserve(&mut self, owner: Option<Owner>) -> bool {
        self.shares.take(owner, self.span_bytes)
    }

    fn dropped(&self, span: &Span<'_>, reason: Loss) {
        for sink in &self.sinks {
            if span.is_process {
                sink.counters.dropped_beside(reason, 1);
            } else {
                sink.counters.dropped(reason, 1);
            }
        }
    }

    /// Remembers a lost call. Bounded, because nobody may ever ask for it.
    fn is_untold(&mut self, parents: impl IntoIterator<Item = CallKey>) {
        if self.untold.len() < MAX_UNTOLD {
            self.untold.extend(parents);
        }
    }

    /// Calls that others can be children of, and whose span was lost since the last
    /// time.
    pub fn take_untold(&mut self) -> Vec<CallKey> {
        std::mem::take(&mut self.untold)
    }

    /// Flushes if the first span of the batch has waited long enough. Returns
    /// how long the caller may sleep before it asks again; `None` if the batch
    /// is empty.
    pub fn flush_if_due(&mut self, now: Instant) -> Option<Duration> {
        self.look();
        let age = now.saturating_duration_since(self.since?);
        if age >= self.flush_timeout {
            self.flush();
            return None;
        }
        Some(self.flush_timeout - age)
    }

    /// Puts the batch into the queues, whatever its age.
    pub fn flush(&mut self) {
        self.since = None;
        if self.batch.is_empty() {
            return;
        }
        let batch = self.batch.take();
        let others = std::mem::take(&mut self.others);
        let spans = u64::from(batch.spans) + others;
        self.span_bytes = batch.bytes.len() as u64 / spans.max(1);
        let mut is_lost = false;
        for sink in &self.sinks {
            if let Err(reason) = sink.queue.push(batch.clone()) {
                sink.counters.dropped(reason, batch.spans.into());
                sink.counters.dropped_beside(reason, others);
                is_lost = true;
            }
        }
        let mut parents = std::mem::take(&mut self.parents);
        if is_lost {
            self.is_untold(parents.drain(..));
        }
        parents.clear();
        self.parents = parents;
        self.look();
    }

    /// Tells the shares how full the fullest queue is.
    fn look(&mut self) {
        let fullest = self
            .sinks
            .iter()
            .map(|sink| sink.queue.level())
            .max_by_key(|level| level.bytes.saturating_mul(1 << 10) / level.capacity_bytes.max(1));
        if let Some(level) = fullest {
            let used = level.bytes + self.batch.size_bytes() as u64;
            self.shares.look(used, level.capacity_bytes);
        }
    }
}

impl Drop for SpanSender {
    fn drop(&mut self) {
        self.flush();
    }
}
