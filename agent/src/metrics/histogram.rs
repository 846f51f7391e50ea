//! A histogram of durations with the conventions' buckets, exact in integers.

/// Buckets: one for each bound, and one for what is above the last.
pub const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// Upper bounds of the buckets in nanoseconds, inclusive: those that "Semantic
/// conventions for messaging client metrics" asks of
/// `messaging.client.operation.duration`.
pub const BOUNDS_NS: [u64; 14] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// [`BOUNDS_NS`] in seconds.
pub const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Counts of durations. Nothing is rounded until it is shown in seconds: the
/// sum is kept in nanoseconds, in 128 bits, since a few thousand blocked
/// callers add up to 64 bits of nanoseconds within weeks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration in nanoseconds.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        // Most calls do not block, and so end in the first bucket.
        let at = if ns <= BOUNDS_NS[0] {
            0
        } else {
            BOUNDS_NS.partition_point(|bound| *bound < ns)
        };
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
        self.sum_ns += u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// What was counted elsewhere, by the same buckets.
    pub fn from_parts(
        buckets: [u64; BUCKETS],
        sum_ns: u64,
        range_ns: std::ops::RangeInclusive<u64>,
    ) -> Self {
        if buckets.iter().all(|count| *count == 0) {
            return Self::default();
        }
        Self {
            buckets,
            sum_ns: sum_ns.into(),
            min_ns: *range_ns.start(),
            max_ns: *range_ns.end(),
        }
    }

    /// Counts what the other one counted, too.
    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum_ns += other.sum_ns;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many durations there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many there were in each bucket.
    pub fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }

    /// The sum in seconds.
    pub fn sum(&self) -> f64 {
        // Whole seconds and the rest apart, so that big sums keep what a
        // double can hold of them.
        let (sec, ns) = (self.sum_ns / 1_000_000_000, self.sum_ns % 1_000_000_000);
        sec as f64 + ns as f64 / 1e9
    }

    /// The shortest and the longest in seconds, if there is any.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.min_ns <= self.max_ns).then_some((self.min_ns as f64 / 1e9, self.max_ns as f64 / 1e9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_same_in_both_units() {
        for (at, (ns, seconds)) in BOUNDS_NS.iter().zip(BOUNDS).enumerate() {
            assert!((*ns as f64 / 1e9 - seconds).abs() < 1e-12);
            let mut histogram = Histogram::default();
            histogram.record(*ns);
            histogram.record(*ns + 1);
            assert_eq!(histogram.buckets[at], 1, "{ns}");
            assert_eq!(histogram.buckets[at + 1], 1, "{ns}");
        }
    }

    #[test]
    fn counts_sums_and_range() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.range()), (0, None));
        for ns in [0, 1, 2_000_000_000, u64::MAX, u64::MAX] {
            histogram.record(ns);
        }
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.buckets[0], 2);
        assert_eq!(histogram.buckets[BUCKETS - 1], 2);
        assert_eq!(histogram.sum_ns, 2 * u128::from(u64::MAX) + 2_000_000_001);
        assert_eq!(histogram.range(), Some((0.0, u64::MAX as f64 / 1e9)));
    }
}
