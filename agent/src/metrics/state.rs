//! The state that the agent's own metrics report.

use std::fs;
use std::time::Duration;

use indexmap::IndexMap;

use crate::balance::Balance;
use crate::export::Sink;
use crate::export::counters::SinkCounts;
use crate::export::logs::LogCounts;
use crate::export::queue::Level;
use crate::kernel::ProbeStats;
use crate::owner::LostByOwner;
use crate::process::LookupLosses;

/// One kind of destination of spans. A reload can replace the exporter; the
/// sums include what the old ones counted.
#[derive(Debug, Clone)]
pub struct SinkState {
    /// `otel.component.type` of the exporter.
    pub exporter: &'static str,
    pub counters: SinkCounts,
    pub queue: Level,
}

impl SinkState {
    /// Sums the sinks of each kind, the last of which may be in use.
    pub fn sums<'a>(sinks: impl IntoIterator<Item = &'a Sink>) -> Vec<Self> {
        let mut sums = IndexMap::new();
        for sink in sinks {
            let (exporter, queue) = (sink.exporter(), sink.queue());
            let sum = sums.entry(exporter).or_insert_with(|| Self {
                exporter,
                counters: SinkCounts::default(),
                queue: Level::default(),
            });
            sum.counters.add(&sink.counters());
            sum.queue = Level {
                bytes: sum.queue.bytes + queue.bytes,
                spans: sum.queue.spans + queue.spans,
                capacity_bytes: queue.capacity_bytes,
            };
        }
        sums.into_values().collect()
    }
}

/// What the operating system reports about this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessState {
    /// User and system time of all threads.
    pub cpu_time: Duration,
    /// Resident memory.
    pub memory_bytes: u64,
}

impl ProcessState {
    /// Reads the CPU clock of the process and `/proc/self/statm`.
    pub fn read() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let resident_pages = fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|statm| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
            .unwrap_or(0);
        Self {
            cpu_time: Duration::try_from(cpu).unwrap_or_default(),
            memory_bytes: resident_pages * rustix::param::page_size() as u64,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct OwnState {
    pub balance: Balance,
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
        assert!(state.cpu_time > Duration::ZERO);
        assert!(state.memory_bytes > 100_000);
    }
}
