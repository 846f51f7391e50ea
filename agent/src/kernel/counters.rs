//! The programs' counters, summed over the CPUs.

use std::mem::offset_of;

use libbpf_rs::{MapCore, MapFlags};

use crate::skel::types::counters;

/// `struct counters` of `bpf/events.h`, summed. At any time
/// `entered + start_unknown = submitted + filtered_return + ring_full
/// + return_missed + in flight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelCounts {
    /// Entries that passed the filters and were recorded.
    pub entered: u64,
    /// Calls found blocked at attach.
    pub start_unknown: u64,
    /// Calls that a filter dropped at the entry.
    pub filtered_entry: u64,
    /// Calls that a filter dropped at the return.
    pub filtered_return: u64,
    /// Events of calls put into the ring buffer.
    pub submitted: u64,
    /// Calls lost: no room in the ring buffer.
    pub ring_full: u64,
    /// Calls lost: no room to remember the entry.
    pub in_flight_full: u64,
    /// Calls lost: their return was not seen.
    pub return_missed: u64,
    /// Calls lost: their entry was not seen.
    pub entry_missed: u64,
    /// Process events that found no room.
    pub process_lost: u64,
    /// Messages whose identity found no room.
    pub message_lost: u64,
    /// Children of processes named in a filter that found no room. They are
    /// filtered as if no parent were named.
    pub child_lost: u64,
}

impl KernelCounts {
    /// Calls whose entry was seen or is known to have been missed, or that were
    /// found blocked.
    pub fn seen(&self) -> u64 {
        self.entered
            + self.start_unknown
            + self.filtered_entry
            + self.in_flight_full
            + self.entry_missed
    }

    /// Calls that left no record.
    pub fn lost(&self) -> u64 {
        self.ring_full + self.in_flight_full + self.entry_missed + self.return_missed
    }

    /// Calls that have not returned yet. The counters are read CPU by CPU, so
    /// under load the number can be off by the calls under way.
    pub fn in_flight(&self) -> u64 {
        (self.entered + self.start_unknown).saturating_sub(
            self.submitted + self.filtered_return + self.ring_full + self.return_missed,
        )
    }

    /// Reads the per-CPU map. Also returns the number of calls that may not
    /// have been missed at the entry, because seccomp or a tracer may have
    /// refused them.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub(super) fn read(map: &impl MapCore) -> libbpf_rs::Result<(Self, u64)> {
        let per_cpu = map.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY)?;
        let (mut sum, mut doubtful) = (Self::default(), 0);
        for bytes in per_cpu.iter().flatten() {
            let at = |offset: usize| {
                bytes
                    .get(offset..offset + 8)
                    .and_then(|field| field.try_into().ok())
                    .map_or(0, u64::from_ne_bytes)
            };
            sum.entered += at(offset_of!(counters, entered));
            sum.start_unknown += at(offset_of!(counters, start_unknown));
            sum.filtered_entry += at(offset_of!(counters, filtered_entry));
            sum.filtered_return += at(offset_of!(counters, filtered_return));
            sum.submitted += at(offset_of!(counters, submitted));
            sum.ring_full += at(offset_of!(counters, ring_full));
            sum.in_flight_full += at(offset_of!(counters, in_flight_full));
            sum.entry_missed += at(offset_of!(counters, entry_missed));
            sum.return_missed += at(offset_of!(counters, return_missed));
            sum.process_lost += at(offset_of!(counters, process_lost));
            sum.message_lost += at(offset_of!(counters, message_lost));
            sum.child_lost += at(offset_of!(counters, child_lost));
            doubtful += at(offset_of!(counters, entry_doubtful));
        }
        Ok((sum, doubtful))
    }
}
