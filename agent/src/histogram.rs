//! A histogram of durations that counts in integers, exactly.

/// Number of buckets: one for each bound, and one for what is above the last.
pub const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// Bounds in nanoseconds for one power of ten, at most a fifth apart. When all
/// values are in one bucket, `histogram_quantile()` takes its middle, which is
/// then accurate to a tenth.
const FINE: [u64; 14] = [
    1_000, 1_200, 1_400, 1_650, 1_950, 2_300, 2_750, 3_300, 3_900, 4_600, 5_500, 6_500, 7_700,
    9_000,
];

/// Bounds that "Semantic conventions for messaging client metrics" requires for
/// `messaging.client.operation.duration`.
const CONVENTIONAL: [u64; 14] = [
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

/// Bounds above those, since consumers may wait for work for long.
const LONG: [u64; 3] = [25_000_000_000, 50_000_000_000, 100_000_000_000];

/// Number of fine bounds below the first conventional one.
const FINE_BOUNDS: usize = 52;

/// Upper bounds of the buckets in nanoseconds, inclusive: fine ones from 1 us
/// on, since most calls do not block, then the conventional and the long ones.
pub const BOUNDS_NS: [u64; FINE_BOUNDS + CONVENTIONAL.len() + LONG.len()] = bounds_ns();

#[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
const fn bounds_ns() -> [u64; FINE_BOUNDS + CONVENTIONAL.len() + LONG.len()] {
    let mut bounds = [0; FINE_BOUNDS + CONVENTIONAL.len() + LONG.len()];
    let (mut at, mut power) = (0, 1);
    while at < FINE_BOUNDS {
        bounds[at] = FINE[at % FINE.len()] * power;
        at += 1;
        if at % FINE.len() == 0 {
            power *= 10;
        }
    }
    while at < FINE_BOUNDS + CONVENTIONAL.len() {
        bounds[at] = CONVENTIONAL[at - FINE_BOUNDS];
        at += 1;
    }
    while at < bounds.len() {
        bounds[at] = LONG[at - FINE_BOUNDS - CONVENTIONAL.len()];
        at += 1;
    }
    bounds
}

/// [`BOUNDS_NS`] in seconds.
pub fn bounds() -> impl Iterator<Item = f64> {
    BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9)
}

/// Counts durations. Values are rounded only when they are shown in seconds.
/// The sum is kept in nanoseconds in 128 bits, since a few thousand blocked
/// callers fill 64 bits within weeks.
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
    #[inline]
    pub fn record(&mut self, ns: u64) {
        let at = BOUNDS_NS.partition_point(|bound| *bound < ns);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
        self.sum_ns += u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Takes over what was counted elsewhere with the same buckets.
    pub fn from_parts(
        buckets: [u32; BUCKETS],
        sum_ns: u64,
        range_ns: std::ops::RangeInclusive<u64>,
    ) -> Self {
        if buckets.iter().all(|count| *count == 0) {
            return Self::default();
        }
        Self {
            buckets: buckets.map(u64::from),
            sum_ns: sum_ns.into(),
            min_ns: *range_ns.start(),
            max_ns: *range_ns.end(),
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum_ns += other.sum_ns;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_kernels() {
        assert!(BOUNDS_NS.is_sorted_by(|a, b| a < b));
        let kernel = include_str!("../../bpf/lost.bpf.h");
        let table = kernel.split_once("bucket_bounds[").unwrap().1;
        let (_, table) = table.split_once('{').unwrap();
        let table = table.split_once('}').unwrap().0.split(',');
        let table = table.filter_map(|bound| bound.trim().parse::<u64>().ok());
        assert_eq!(table.collect::<Vec<_>>(), BOUNDS_NS);
        for (at, ns) in BOUNDS_NS.iter().enumerate() {
            let mut histogram = Histogram::default();
            histogram.record(*ns);
            histogram.record(*ns + 1);
            assert_eq!(histogram.buckets[at], 1, "{ns}");
            assert_eq!(histogram.buckets[at + 1], 1, "{ns}");
        }
    }

    /// As Prometheus' `histogram_quantile()` takes it.
    fn median_ns(histogram: &Histogram) -> f64 {
        let rank = histogram.count() as f64 / 2.0;
        let (mut below, mut lower) = (0.0, 0);
        for (upper, count) in BOUNDS_NS.iter().zip(histogram.buckets()) {
            let count = *count as f64;
            if below + count >= rank {
                let share = (rank - below) / count;
                return lower as f64 + (upper - lower) as f64 * share;
            }
            (below, lower) = (below + count, *upper);
        }
        panic!("beyond the last bound");
    }

    #[test]
    fn the_median_of_calls_that_do_not_block_is_right_to_a_tenth() {
        for ns in (1_000_u64..5_000_000).step_by(499) {
            let mut histogram = Histogram::default();
            for _ in 0..12 {
                histogram.record(ns);
            }
            let error = (median_ns(&histogram) / ns as f64 - 1.0).abs();
            // Below the second bound all of 1 us can be in the first bucket.
            assert!(ns == 1_000 || error <= 0.1, "{error} at {ns} ns");
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
