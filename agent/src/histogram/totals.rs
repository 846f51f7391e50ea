//! What histograms know exactly, whatever their buckets.

/// The sum is kept in nanoseconds in 128 bits, since a few thousand blocked
/// callers fill 64 bits within weeks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub(super) sum_ns: u128,
    pub(super) min_ns: u64,
    pub(super) max_ns: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }
}

impl Totals {
    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        self.sum_ns += u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.sum_ns += other.sum_ns;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The sum in seconds.
    pub fn sum(&self) -> f64 {
        // Converts whole seconds and the rest separately, so that large sums
        // keep the precision of a double.
        let (sec, ns) = (self.sum_ns / 1_000_000_000, self.sum_ns % 1_000_000_000);
        sec as f64 + ns as f64 / 1e9
    }

    /// The shortest and the longest duration in seconds, if any was counted.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.min_ns <= self.max_ns).then_some((self.min_ns as f64 / 1e9, self.max_ns as f64 / 1e9))
    }
}
