//! How exports end: the causes of failures and the durations that
//! `otel.sdk.exporter.*` reports.
//!
//! An operation is the export of one batch, from its first try to the end of
//! its last, whatever requests it takes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::answer::PartialSuccess;
use super::destination::Destination;
use super::refusal::{Failure, Refusal, code};
use crate::config::Protocol;
use crate::histogram::{Distribution, Forms};
use crate::loss::Loss;

/// Limit on the causes and on the endings that one exporter tells apart. HTTP
/// status codes come from the collector, so there could be many.
const MAX_KINDS: usize = 32;

/// `error.type` of what was not exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorType {
    /// A gRPC status.
    Grpc(u8),
    /// An HTTP status.
    Http(u16),
    /// A part of a request that was otherwise accepted.
    Rejected,
    Timeout,
    /// There was no connection, or it broke.
    Unreachable,
    /// Given up by the agent without an answer.
    Lost(Loss),
    /// One more than are told apart.
    Other,
}

impl ErrorType {
    pub fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => match status(refusal) {
                Answer::Http(status) => Self::Http(status),
                Answer::Grpc(code) => Self::Grpc(code),
            },
            Failure::Unreachable(_) => Self::Unreachable,
            Failure::TimedOut => Self::Timeout,
        }
    }

    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Grpc(code) => code::symbol(code),
            Self::Http(status) => return status.to_string().into(),
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Lost(reason) => reason.name(),
            Self::Other => "_OTHER",
        })
    }
}

/// The last status that the collector answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Grpc(u8),
    Http(u16),
}

impl Answer {
    fn of(result: &Result<PartialSuccess, Failure>, protocol: Protocol) -> Option<Self> {
        match (result, protocol) {
            (Ok(_), Protocol::Grpc) => Some(Self::Grpc(0)),
            (Ok(_), Protocol::HttpProtobuf) => Some(Self::Http(200)),
            (Err(Failure::Refused(refusal)), _) => Some(status(refusal)),
            (Err(_), _) => None,
        }
    }
}

/// The HTTP status, unless that is the one of an answer in gRPC.
fn status(refusal: &Refusal) -> Answer {
    match refusal.http_status.filter(|status| *status != 200) {
        Some(status) => Answer::Http(status),
        None => Answer::Grpc(refusal.code),
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ending {
    pub answer: Option<Answer>,
    /// `None` if everything was accepted.
    pub error: Option<ErrorType>,
}

/// An operation that has not ended.
#[derive(Debug)]
pub(crate) struct Operation {
    started: Instant,
    ending: Mutex<Ending>,
}

impl Operation {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            ending: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ending> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the end of one request, which need not be the last.
    pub(crate) fn answered(&self, result: &Result<PartialSuccess, Failure>, by: Protocol) {
        self.lock().answer = Answer::of(result, by);
    }

    /// Notes that something will not be exported.
    fn failed(&self, error: ErrorType) {
        self.lock().error = Some(error);
    }
}

/// The counts of one exporter. All only grow, except `in_flight`.
#[derive(Debug, Default)]
pub struct ExportTally {
    exported: AtomicU64,
    in_flight: AtomicU64,
    failures: Mutex<BTreeMap<ErrorType, u64>>,
    durations: Mutex<BTreeMap<Ending, Distribution>>,
}

impl ExportTally {
    pub(crate) fn enter(&self, items: u64) {
        self.in_flight.fetch_add(items, Relaxed);
    }

    pub(crate) fn leave(&self, items: u64) {
        self.in_flight.fetch_sub(items, Relaxed);
    }

    pub(crate) fn exported(&self, items: u64) {
        self.exported.fetch_add(items, Relaxed);
    }

    /// Counts items that will not be exported.
    pub(crate) fn failed(&self, operation: &Operation, error: ErrorType, items: u64) {
        operation.failed(error);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let error = if failures.len() < MAX_KINDS || failures.contains_key(&error) {
            error
        } else {
            ErrorType::Other
        };
        *failures.entry(error).or_default() += items;
    }

    pub(crate) fn ended(&self, operation: &Operation) {
        let ending = *operation.lock();
        let took = u64::try_from(operation.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut durations = self
            .durations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let ending = if durations.len() < MAX_KINDS || durations.contains_key(&ending) {
            ending
        } else {
            Ending {
                answer: None,
                error: ending.error.map(|_| ErrorType::Other),
            }
        };
        durations.entry(ending).or_insert_with(none).record(took);
    }

    pub fn snapshot(&self) -> ExportCounts {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let durations = self
            .durations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ExportCounts {
            exported: self.exported.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            failures: failures.clone(),
            durations: durations.clone(),
        }
    }
}

/// An [`ExportTally`] at one moment, in items: spans, log records or points.
#[derive(Debug, Clone, Default)]
pub struct ExportCounts {
    pub exported: u64,
    pub in_flight: u64,
    pub failures: BTreeMap<ErrorType, u64>,
    /// One for each ended operation.
    pub durations: BTreeMap<Ending, Distribution>,
}

impl ExportCounts {
    /// Adds the counts of another exporter.
    pub fn add(&mut self, other: &Self) {
        self.exported += other.exported;
        self.in_flight += other.in_flight;
        for (error, items) in &other.failures {
            *self.failures.entry(*error).or_default() += items;
        }
        for (ending, durations) in &other.durations {
            self.durations
                .entry(*ending)
                .or_insert_with(none)
                .add(durations);
        }
    }
}

/// Exports are few, so both forms of buckets are kept, whichever is asked for.
fn none() -> Distribution {
    Distribution::new(Forms::BOTH)
}

/// The counts of all exporters to one destination.
#[derive(Debug, Clone)]
pub struct Exports {
    pub destination: Destination,
    pub counts: ExportCounts,
}

/// Sums counts by destination.
pub fn by_destination<'a>(
    all: impl IntoIterator<Item = (&'a Destination, ExportCounts)>,
) -> Vec<Exports> {
    let mut sums: Vec<Exports> = Vec::new();
    for (destination, counts) in all {
        match sums.iter_mut().find(|sum| sum.destination == *destination) {
            Some(sum) => sum.counts.add(&counts),
            None => sums.push(Exports {
                destination: destination.clone(),
                counts,
            }),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u8, http_status: Option<u16>) -> Failure {
        Failure::Refused(Refusal {
            code,
            http_status,
            ..Refusal::default()
        })
    }

    #[test]
    fn an_operation_ends_with_its_last_answer_and_what_failed_for_good() {
        let success = || Ok(PartialSuccess::default());
        let unavailable = || Err(refused(code::UNAVAILABLE, None));
        let grpc = |code| Some(Answer::Grpc(code));
        for (answers, is_for_good, expected) in [
            (vec![success()], false, (grpc(0), None)),
            (vec![unavailable(), success()], false, (grpc(0), None)),
            (
                vec![success(), unavailable()],
                true,
                (grpc(14), Some("UNAVAILABLE")),
            ),
            (
                vec![unavailable(), Err(Failure::TimedOut)],
                true,
                (None, Some("timeout")),
            ),
            (
                vec![Err(refused(code::UNAVAILABLE, Some(503)))],
                true,
                (Some(Answer::Http(503)), Some("503")),
            ),
        ] {
            let (tally, operation) = (ExportTally::default(), Operation::start());
            for answer in &answers {
                operation.answered(answer, Protocol::Grpc);
            }
            if let Some(Err(failure)) = answers.last().filter(|_| is_for_good) {
                tally.failed(&operation, ErrorType::of(failure), 3);
            }
            tally.ended(&operation);
            let counts = tally.snapshot();
            let (ending, durations) = counts.durations.first_key_value().unwrap();
            assert_eq!((counts.durations.len(), durations.count()), (1, 1));
            let error = ending.error.map(ErrorType::name);
            assert_eq!((ending.answer, error.as_deref()), expected);
            let failed: u64 = counts.failures.values().sum();
            assert_eq!(failed, 3 * u64::from(is_for_good));
        }
    }

    #[test]
    fn a_collector_cannot_make_up_endings_without_end() {
        let tally = ExportTally::default();
        for status in 100..1_000 {
            let operation = Operation::start();
            let failure = refused(code::UNKNOWN, Some(status));
            operation.answered(&Err(failure.clone()), Protocol::Grpc);
            tally.failed(&operation, ErrorType::of(&failure), 1);
            tally.ended(&operation);
        }
        let counts = tally.snapshot();
        assert!(counts.failures.len() <= MAX_KINDS + 1);
        assert!(counts.durations.len() <= MAX_KINDS + 2);
        assert_eq!(counts.failures.values().sum::<u64>(), 900);
        let ended: u64 = counts.durations.values().map(Distribution::count).sum();
        assert_eq!(ended, 900);
    }

    #[test]
    fn counts_of_one_destination_are_one_sum() {
        let to = |port| Destination {
            exporter: "otlp_grpc_span_exporter",
            address: Some("a".to_owned()),
            port: Some(port),
        };
        let counts = |exported| ExportCounts {
            exported,
            ..ExportCounts::default()
        };
        let (a, b) = (to(1), to(2));
        let sums = by_destination([(&a, counts(1)), (&b, counts(2)), (&a, counts(4))]);
        let sums: Vec<_> = sums
            .iter()
            .map(|s| (s.destination.port, s.counts.exported))
            .collect();
        assert_eq!(sums, [(Some(1), 5), (Some(2), 2)]);
    }
}
