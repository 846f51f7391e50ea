//! The balance: accounts for every call that the kernel side saw.

use std::fmt;

use crate::export::counters::SinkCounts;
use crate::kernel::KernelCounts;
use crate::loss::{Loss, Losses};

/// Accounts for every call. Once the agent has stopped, exactly
/// `seen = exported + filtered + sampled_out + rejected + lost + pending`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Balance {
    /// Calls that the kernel side saw.
    pub seen: u64,
    /// Spans that the destination accepted.
    pub exported: u64,
    /// Dropped by filters, in the kernel or in the agent.
    pub filtered: u64,
    pub sampled_out: u64,
    /// Refused by the collector.
    pub rejected: u64,
    /// Given up along the way, by reason.
    pub lost: Losses,
    /// Calls that have not returned, sends that sampling has yet to decide on,
    /// and spans that are not delivered yet.
    pub pending: u64,
}

/// Calls taken from the ring buffer, by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decoded {
    pub spans: u64,
    /// Dropped by the part of the filter that the kernel leaves to the agent.
    pub filtered: u64,
    pub sampled_out: u64,
    /// Not sampled so far, but kept if the other end of the message is.
    pub undecided: u64,
    pub undecodable: u64,
}

impl Decoded {
    fn total(&self) -> u64 {
        self.spans + self.filtered + self.sampled_out + self.undecided + self.undecodable
    }
}

impl Balance {
    /// Adds up what the kernel side, the pipeline and the sink have counted.
    ///
    /// `left` counts the spans that were undelivered at the deadline of a
    /// shutdown; it is 0 while the agent runs. The counters of a running agent
    /// are read one after the other, so calls in progress may be counted twice
    /// or not at all. At rest they are exact.
    pub fn new(kernel: &KernelCounts, decoded: Decoded, sink: &SinkCounts, left: u64) -> Self {
        let mut lost = Losses::from_iter([
            (Loss::RingFull, kernel.ring_full),
            (Loss::InFlightFull, kernel.in_flight_full),
            (Loss::EntryMissed, kernel.entry_missed),
            (Loss::ReturnMissed, kernel.return_missed),
            (Loss::Undecodable, decoded.undecodable),
            (Loss::Shutdown, left),
        ]);
        lost.add_all(&sink.lost);
        let rejected = sink.rejected_total();
        let in_ring = kernel.submitted.saturating_sub(decoded.total());
        let on_their_way = (decoded.spans + sink.recovered)
            .saturating_sub(sink.exports.exported + rejected + sink.lost.total() + left);
        Self {
            seen: kernel.seen() + sink.recovered,
            exported: sink.exports.exported,
            filtered: kernel.filtered_entry + kernel.filtered_return + decoded.filtered,
            sampled_out: decoded.sampled_out,
            rejected,
            lost,
            pending: kernel.in_flight() + in_ring + decoded.undecided + on_their_way,
        }
    }

    /// Whether both sides of the equation are equal.
    pub fn is_even(&self) -> bool {
        self.seen
            == self.exported
                + self.filtered
                + self.sampled_out
                + self.rejected
                + self.lost.total()
                + self.pending
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seen {} = exported {} + filtered {} + sampled out {} + rejected {} + lost {}",
            self.seen,
            self.exported,
            self.filtered,
            self.sampled_out,
            self.rejected,
            self.lost.total()
        )?;
        if self.lost.total() != 0 {
            write!(f, " ({})", self.lost)?;
        }
        write!(f, " + pending {}", self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::operation::ExportCounts;

    fn exported(spans: u64) -> ExportCounts {
        ExportCounts {
            exported: spans,
            ..ExportCounts::default()
        }
    }

    fn kernel() -> KernelCounts {
        KernelCounts {
            entered: 100,
            start_unknown: 2,
            filtered_entry: 10,
            filtered_return: 5,
            submitted: 90,
            ring_full: 3,
            in_flight_full: 1,
            entry_missed: 2,
            return_missed: 1,
            ..KernelCounts::default()
        }
    }

    #[test]
    fn every_stage_is_in_the_sum() {
        let decoded = Decoded {
            spans: 80,
            filtered: 8,
            sampled_out: 0,
            undecided: 0,
            undecodable: 1,
        };
        let sink = SinkCounts {
            exports: exported(60),
            rejected: vec![("invalid_argument", 4)],
            lost: Losses::from_iter([(Loss::QueueFull, 6)]),
            ..SinkCounts::default()
        };
        let balance = Balance::new(&kernel(), decoded, &sink, 7);
        assert!(balance.is_even(), "{balance}");
        assert_eq!(balance.seen, 115);
        // 3 in flight, 1 in the ring, 3 on their way.
        assert_eq!(balance.pending, 7);
        assert_eq!(
            balance.to_string(),
            "seen 115 = exported 60 + filtered 23 + sampled out 0 + rejected 4 + lost 21 \
             (ring_full 3, in_flight_full 1, entry_missed 2, return_missed 1, undecodable 1, \
             shutdown 7, queue_full 6) + pending 7"
        );
    }

    #[test]
    fn what_sampling_can_keep_yet_is_pending() {
        let decoded = Decoded {
            spans: 50,
            sampled_out: 30,
            undecided: 10,
            ..Decoded::default()
        };
        let sink = SinkCounts {
            exports: exported(50),
            ..SinkCounts::default()
        };
        let balance = Balance::new(&kernel(), decoded, &sink, 0);
        assert!(balance.is_even(), "{balance}");
        // 3 of them are in flight.
        assert_eq!((balance.sampled_out, balance.pending), (30, 13));
    }

    #[test]
    fn spans_that_vanish_make_it_uneven() {
        let sink = SinkCounts {
            exports: exported(200),
            ..SinkCounts::default()
        };
        let balance = Balance::new(&kernel(), Decoded::default(), &sink, 0);
        assert!(!balance.is_even(), "{balance}");
    }
}
