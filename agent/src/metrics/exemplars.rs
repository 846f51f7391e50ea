//! Exemplars of a histogram: spans that made some of its values.
//!
//! There are up to [`MAX`] for a series, all of different powers of two of a
//! nanosecond, so that they are in different buckets or nearly so: the newest
//! call of each. If there are calls of more powers, the slowest are kept, as
//! these are what one looks for. Once they have been handed out, any newer call
//! may replace the oldest of them, so that a single slow call is not the
//! exemplar of its series for good. Only spans that are kept count, so an
//! exemplar can be found where the spans go, unless its span is lost on the way.

use std::cmp::Reverse;

use crate::ids::{SpanId, TraceId};

/// Exemplars of a series.
const MAX: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exemplar {
    pub value_ns: u64,
    /// When the call ended, ns since boot.
    pub at_ns: u64,
    pub trace_id: TraceId,
    pub span_id: SpanId,
}

impl Exemplar {
    fn power(&self) -> u32 {
        self.value_ns.leading_zeros()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Slot {
    exemplar: Exemplar,
    /// Whether it has been handed out.
    is_told: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exemplars {
    /// `None` until there is one. Then there is room for all.
    slots: Option<Box<[Slot; MAX]>>,
    len: usize,
}

impl Exemplars {
    pub(super) fn offer(&mut self, exemplar: Exemplar) {
        let slots = self.slots.get_or_insert_default();
        let used = slots.get_mut(..self.len).unwrap_or_default();
        let power = exemplar.power();
        let slot = Slot {
            exemplar,
            is_told: false,
        };
        if let Some(same) = used.iter_mut().find(|slot| slot.exemplar.power() == power) {
            // Calls come nearly in the order of their ends.
            if same.is_told || same.exemplar.at_ns <= exemplar.at_ns {
                *same = slot;
            }
            return;
        }
        if let Some(free) = slots.get_mut(self.len) {
            *free = slot;
            self.len += 1;
            return;
        }
        // A told one first, the oldest of them; else the fastest.
        let weakest = slots.iter_mut().min_by_key(|slot| {
            let exemplar = &slot.exemplar;
            let rank = if slot.is_told {
                exemplar.at_ns
            } else {
                exemplar.value_ns
            };
            (Reverse(slot.is_told), rank)
        });
        if let Some(weakest) = weakest
            && (weakest.is_told || weakest.exemplar.value_ns < exemplar.value_ns)
        {
            *weakest = slot;
        }
    }

    /// Notes that they have been handed out.
    pub(super) fn set_told(&mut self) {
        for slot in self.slots.iter_mut().flat_map(|slots| slots.iter_mut()) {
            slot.is_told = true;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Exemplar> {
        let slots = self.slots.as_deref().map_or(&[][..], |slots| &slots[..]);
        slots.iter().take(self.len).map(|slot| &slot.exemplar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(value_ns: u64, at_ns: u64) -> Exemplar {
        Exemplar {
            value_ns,
            at_ns,
            trace_id: [at_ns as u8; 16],
            span_id: [at_ns as u8; 8],
        }
    }

    /// Values and times, sorted.
    fn held(exemplars: &Exemplars) -> Vec<(u64, u64)> {
        let mut held: Vec<_> = exemplars.iter().map(|e| (e.value_ns, e.at_ns)).collect();
        held.sort_unstable();
        held
    }

    #[test]
    fn the_newest_of_each_power_and_the_slowest_powers_are_kept() {
        let mut exemplars = Exemplars::default();
        assert_eq!(exemplars.iter().count(), 0);
        for (value, at, expected) in [
            (1_000, 1, vec![(1_000, 1)]),
            (1_023, 2, vec![(1_023, 2)]),
            (1_000, 1, vec![(1_023, 2)]),
            (5_000, 3, vec![(1_023, 2), (5_000, 3)]),
            (0, 4, vec![(0, 4), (1_023, 2), (5_000, 3)]),
            (9_000, 5, vec![(0, 4), (1_023, 2), (5_000, 3), (9_000, 5)]),
            (
                70_000,
                6,
                vec![(1_023, 2), (5_000, 3), (9_000, 5), (70_000, 6)],
            ),
            (3, 7, vec![(1_023, 2), (5_000, 3), (9_000, 5), (70_000, 6)]),
            (
                u64::MAX,
                8,
                vec![(5_000, 3), (9_000, 5), (70_000, 6), (u64::MAX, 8)],
            ),
        ] {
            exemplars.offer(exemplar(value, at));
            assert_eq!(held(&exemplars), expected, "{value}");
        }
    }

    #[test]
    fn what_has_been_told_gives_way() {
        let mut exemplars = Exemplars::default();
        for (value, at) in [(1 << 20, 4), (1 << 30, 1), (1 << 40, 2), (1 << 50, 3)] {
            exemplars.offer(exemplar(value, at));
        }
        exemplars.set_told();
        exemplars.offer(exemplar(100, 5));
        // The oldest one was the first to go, and the new one stays while others are told.
        assert_eq!(
            held(&exemplars),
            [(100, 5), (1 << 20, 4), (1 << 40, 2), (1 << 50, 3)]
        );
        exemplars.offer(exemplar(200_000, 6));
        assert_eq!(
            held(&exemplars),
            [(100, 5), (200_000, 6), (1 << 20, 4), (1 << 50, 3)]
        );
        // Of the same power: newer by the clock or not, it was told.
        exemplars.offer(exemplar(1 << 50, 0));
        assert_eq!(held(&exemplars)[3], (1 << 50, 0));
    }
}
