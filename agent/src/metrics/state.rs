//! The state that the agent's own metrics report.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::balance::Balance;
use crate::export::Sink;
use crate::export::counters::SinkCounts;
use crate::export::destination::Destination;
use crate::export::logs::LogCounts;
use crate::export::operation::Exports;
use crate::export::queue::Level;
use crate::kernel::ProbeStats;
use crate::owner::LostByOwner;
use crate::process::LookupLosses;

/// One kind of destination of spans, with its queue. A reload can replace the
/// exporter; the sums include what the old ones counted.
#[derive(Debug, Clone)]
pub struct SinkState {
    /// Tells its queue from others: `otlp` or `file`.
    pub name: &'static str,
    pub counters: SinkCounts,
    pub queue: Level,
    /// The counts of its exporters, by where they send to.
    pub exporters: Vec<(Destination, SinkCounts)>,
}

impl SinkState {
    /// Sums sinks of one kind, the last of which is in use. `None` if there are none.
    pub fn read<'a>(name: &'static str, sinks: impl IntoIterator<Item = &'a Sink>) -> Option<Self> {
        let mut sum: Option<Self> = None;
        for sink in sinks {
            let (queue, counters) = (sink.queue(), sink.counters());
            let sum = sum.get_or_insert_with(|| Self {
                name,
                counters: SinkCounts::default(),
                queue: Level::default(),
                exporters: Vec::new(),
            });
            sum.counters.add(&counters);
            sum.queue = Level {
                bytes: sum.queue.bytes + queue.bytes,
                spans: sum.queue.spans + queue.spans,
                capacity_bytes: queue.capacity_bytes,
            };
            let mut exporters = sum.exporters.iter_mut();
            match exporters.find(|(known, _)| known == sink.destination()) {
                Some((_, counts)) => counts.add(&counters),
                None => sum.exporters.push((sink.destination().clone(), counters)),
            }
        }
        sum
    }
}

/// Spans by the decision of sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Started {
    pub sampled: u64,
    pub dropped: u64,
}

/// What the operating system reports about this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessState {
    /// Time of all threads in user mode.
    pub user_time: Duration,
    /// Time of all threads in the kernel.
    pub system_time: Duration,
    /// Resident memory.
    pub memory_bytes: u64,
}

impl ProcessState {
    /// Reads `getrusage(2)` and `/proc/self/statm`.
    pub fn read() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let time = |time: Option<TimeVal>| {
            let micros = time.map_or(0, |time| time.num_microseconds());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        };
        let resident_pages = fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|statm| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
            .unwrap_or(0);
        Self {
            user_time: time(usage.map(|usage| usage.user_time())),
            system_time: time(usage.map(|usage| usage.system_time())),
            memory_bytes: resident_pages * rustix::param::page_size() as u64,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct OwnState {
    pub balance: Balance,
    pub started: Started,
    pub probes: Vec<ProbeStats>,
    /// Returns that found no instance of a return probe, if known.
    pub missed_returns: Option<u64>,
    /// Messages whose sender could not be remembered.
    pub messages_lost: u64,
    /// Children of filtered processes for which there was no room, so that the
    /// filter does not treat them like their parents.
    pub children_lost: u64,
    /// Processes that the kernel had no room to announce.
    pub processes_lost: u64,
    pub owners: Vec<LostByOwner>,
    /// Look-ups in `/proc` that failed.
    pub lookups: LookupLosses,
    /// Lines of the agent's log that were not written.
    pub log_lines_lost: u64,
    /// The records of the agent's log over OTLP, if they are sent.
    pub log_records: Option<LogCounts>,
    /// The exports of metrics over OTLP.
    pub points: Vec<Exports>,
    pub panics: u64,
    pub sinks: Vec<SinkState>,
    pub process: ProcessState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_time_and_memory() {
        let state = ProcessState::read();
        assert!(state.user_time + state.system_time > Duration::ZERO);
        assert!(state.memory_bytes > 100_000);
    }
}
