//! What the agent's own metrics are made from.

use std::fs;
use std::time::Duration;

use crate::balance::Balance;
use crate::export::Sink;
use crate::export::counters::SinkCounts;
use crate::export::logs::LogCounts;
use crate::export::queue::Level;
use crate::kernel::ProbeStats;
use crate::owner::LostByOwner;
use crate::process::LookupLosses;

/// One kind of destination of spans. A reload can exchange the exporter; what
/// the old ones counted is in the sums.
#[derive(Debug, Clone)]
pub struct SinkState {
    /// `otel.component.type` of the exporter.
    pub exporter: &'static str,
    /// What became of its spans.
    pub counters: SinkCounts,
    /// What waits.
    pub queue: Level,
}

impl SinkState {
    /// Of sinks of one kind, of which the last is the one in use; `None`
    /// without any.
    pub fn read<'a>(
        exporter: &'static str,
        sinks: impl IntoIterator<Item = &'a Sink>,
    ) -> Option<Self> {
        let mut sum: Option<Self> = None;
        for sink in sinks {
            let queue = sink.queue();
            let sum = sum.get_or_insert_with(|| Self {
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
        sum
    }
}

/// What the operating system says of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessState {
    /// User and system time of all threads.
    pub cpu_time: Duration,
    /// Resident memory.
    pub memory_bytes: u64,
}

impl ProcessState {
    /// From the clock of the process and `/proc/self/statm`.
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

/// All that the agent's own metrics are made from.
#[derive(Debug, Clone, Default)]
pub struct OwnState {
    /// What became of the calls.
    pub balance: Balance,
    /// The programs in the kernel.
    pub probes: Vec<ProbeStats>,
    /// Returns that found no instance of a return probe, where one can tell.
    pub missed_returns: Option<u64>,
    /// Messages whose sender found no room to be remembered.
    pub messages_lost: u64,
    /// Children of filtered processes that found no room to be judged like them.
    pub children_lost: u64,
    /// Processes that the kernel had no room to announce.
    pub processes_lost: u64,
    /// Whose calls were lost.
    pub owners: Vec<LostByOwner>,
    /// Look-ups in `/proc` that came to nothing.
    pub lookups: LookupLosses,
    /// Lines of the agent's log that were not written.
    pub log_lines_lost: u64,
    /// What became of its records over OTLP, where they are sent.
    pub log_records: Option<LogCounts>,
    /// Defects that showed.
    pub panics: u64,
    /// Destinations of spans.
    pub sinks: Vec<SinkState>,
    /// This process.
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
