//! Counts spans by outcome. For each sink, at rest:
//! `given + recovered = exported + rejected + lost + left`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::operation::{ErrorType, ExportCounts, ExportTally, Operation};
use super::refusal::code;
use crate::loss::{Loss, Losses};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// A gRPC status, 0 to 16, that must not be retried.
    Status(u8),
    /// `partial_success.rejected_spans` of a response.
    PartialSuccess,
}

impl RejectReason {
    const COUNT: usize = code::NAMES.len() + 1;

    fn index(self) -> usize {
        match self {
            Self::Status(code) => usize::from(code).min(Self::COUNT - 2),
            Self::PartialSuccess => Self::COUNT - 1,
        }
    }

    fn name(index: usize) -> &'static str {
        code::NAMES
            .get(index)
            .map_or("partial_success", |names| names.0)
    }
}

/// Counters of one sink. All only grow, except the spans in flight and
/// `unreachable`.
#[derive(Debug, Default)]
pub struct Counters {
    recovered: AtomicU64,
    exports: ExportTally,
    rejected: [AtomicU64; RejectReason::COUNT],
    lost: [AtomicU64; Loss::ALL.len()],
    dropped: [AtomicU64; Loss::ALL.len()],
    processed: AtomicU64,
    corrupt_records: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
    exhausted_retries: AtomicU64,
    splits: AtomicU64,
    unreachable: AtomicBool,
}

/// The counters at one moment, in spans unless noted otherwise.
#[derive(Debug, Clone, Default)]
pub struct SinkCounts {
    /// Found on disk at startup.
    pub recovered: u64,
    /// What became of those handed to the exporter.
    pub exports: ExportCounts,
    /// Refused by the collector, by reason; zeros are left out.
    pub rejected: Vec<(&'static str, u64)>,
    /// Given up by the agent, by reason.
    pub lost: Losses,
    /// Those of `lost` that were not handed to the exporter.
    pub dropped: Losses,
    /// Handed to the exporter.
    pub processed: u64,
    /// Records on disk whose number of spans is unknown.
    pub corrupt_records: u64,
    /// Requests, including retries.
    pub requests: u64,
    /// Requests that were a second or later try.
    pub retries: u64,
    /// Retries after `RESOURCE_EXHAUSTED` without `RetryInfo`.
    pub exhausted_retries: u64,
    /// Requests split in two because the collector found them too large.
    pub splits: u64,
}

impl SinkCounts {
    /// Adds the counts of another sink.
    pub fn add(&mut self, other: &Self) {
        self.recovered += other.recovered;
        self.exports.add(&other.exports);
        for &(code, spans) in &other.rejected {
            match self.rejected.iter_mut().find(|(known, _)| *known == code) {
                Some((_, sum)) => *sum += spans,
                None => self.rejected.push((code, spans)),
            }
        }
        self.lost.add_all(&other.lost);
        self.dropped.add_all(&other.dropped);
        self.processed += other.processed;
        self.corrupt_records += other.corrupt_records;
        self.requests += other.requests;
        self.retries += other.retries;
        self.exhausted_retries += other.exhausted_retries;
        self.splits += other.splits;
    }

    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().map(|(_, spans)| spans).sum()
    }
}

impl Counters {
    /// Reads all counters. Each is exact; together they are consistent only at
    /// rest.
    pub fn snapshot(&self) -> SinkCounts {
        let rejected = |(at, counter): (usize, &AtomicU64)| {
            let spans = counter.load(Relaxed);
            (spans > 0).then(|| (RejectReason::name(at), spans))
        };
        let losses = |counters: &[AtomicU64]| {
            let counts = counters.iter().map(|counter| counter.load(Relaxed));
            Loss::ALL.iter().copied().zip(counts).collect()
        };
        SinkCounts {
            recovered: self.recovered.load(Relaxed),
            exports: self.exports.snapshot(),
            rejected: (self.rejected.iter().enumerate())
                .filter_map(rejected)
                .collect(),
            lost: losses(&self.lost),
            dropped: losses(&self.dropped),
            processed: self.processed.load(Relaxed),
            corrupt_records: self.corrupt_records.load(Relaxed),
            requests: self.requests.load(Relaxed),
            retries: self.retries.load(Relaxed),
            exhausted_retries: self.exhausted_retries.load(Relaxed),
            splits: self.splits.load(Relaxed),
        }
    }

    pub(crate) fn recovered(&self, spans: u64) {
        self.recovered.fetch_add(spans, Relaxed);
    }

    pub(crate) fn exported(&self, spans: u64) {
        self.exports.exported(spans);
    }

    /// Counts spans that will not be exported, for the metrics of the exporter.
    /// For the balance they are also [`Self::rejected`] or [`Self::lost`].
    pub(crate) fn failed(&self, operation: &Operation, error: ErrorType, spans: u64) {
        self.exports.failed(operation, error, spans);
    }

    pub(crate) fn ended(&self, operation: &Operation) {
        self.exports.ended(operation);
    }

    pub(crate) fn rejected(&self, reason: RejectReason, spans: u64) {
        if let Some(counter) = self.rejected.get(reason.index()) {
            counter.fetch_add(spans, Relaxed);
        }
    }

    pub(crate) fn lost(&self, reason: Loss, spans: u64) {
        if let Some(counter) = self.lost.get(reason as usize) {
            counter.fetch_add(spans, Relaxed);
        }
    }

    /// Counts spans that are lost before they are handed to the exporter.
    pub(crate) fn dropped(&self, reason: Loss, spans: u64) {
        self.lost(reason, spans);
        self.dropped_beside(reason, spans);
    }

    /// Likewise of spans that are of no call, and so in no balance.
    pub(crate) fn dropped_beside(&self, reason: Loss, spans: u64) {
        if let Some(counter) = self.dropped.get(reason as usize) {
            counter.fetch_add(spans, Relaxed);
        }
    }

    pub(crate) fn corrupt_record(&self) {
        self.corrupt_records.fetch_add(1, Relaxed);
    }

    pub(crate) fn enter_flight(&self, spans: u64) {
        self.processed.fetch_add(spans, Relaxed);
        self.exports.enter(spans);
    }

    pub(crate) fn leave_flight(&self, spans: u64) {
        self.exports.leave(spans);
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn retry(&self, exhausted: bool) {
        self.retries.fetch_add(1, Relaxed);
        self.exhausted_retries
            .fetch_add(u64::from(exhausted), Relaxed);
    }

    pub(crate) fn split(&self) {
        self.splits.fetch_add(1, Relaxed);
    }

    /// Returns the previous value.
    pub(crate) fn set_unreachable(&self, unreachable: bool) -> bool {
        self.unreachable.swap(unreachable, Relaxed)
    }
}
