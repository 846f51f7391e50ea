//! Explicit buckets: which there are, and counts of the kernel's in them.

use super::totals::Totals;

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

/// The bucket of a duration.
#[inline]
pub fn bucket(ns: u64) -> usize {
    BOUNDS_NS.partition_point(|bound| *bound < ns)
}

/// Durations that the kernel counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    pub(super) buckets: [u64; BUCKETS],
    pub(super) totals: Totals,
}

impl Histogram {
    pub fn from_parts(
        buckets: [u32; BUCKETS],
        sum_ns: u64,
        range_ns: std::ops::RangeInclusive<u64>,
    ) -> Self {
        let is_empty = buckets.iter().all(|count| *count == 0);
        let totals = Totals {
            sum_ns: sum_ns.into(),
            min_ns: *range_ns.start(),
            max_ns: *range_ns.end(),
        };
        Self {
            buckets: buckets.map(u64::from),
            totals: if is_empty { Totals::default() } else { totals },
        }
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The middle of each bucket in nanoseconds, and the bucket's count. A
    /// bucket ends where the shortest or the longest duration does. Its middle is
    /// geometric, so that no value is off by more than the root of the quotient
    /// of the bounds.
    pub(super) fn middles(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let uppers = BOUNDS_NS.into_iter().chain([u64::MAX]);
        let lowers = std::iter::once(0).chain(BOUNDS_NS);
        let Totals { min_ns, max_ns, .. } = self.totals;
        lowers
            .zip(uppers)
            .zip(self.buckets)
            .filter(|(_, count)| *count != 0)
            .map(move |((lower, upper), count)| {
                let (lower, upper) = (lower.max(min_ns), upper.min(max_ns));
                let middle = match lower {
                    0 => upper / 2,
                    lower if lower >= upper => upper,
                    lower => (lower as f64 * upper as f64).sqrt() as u64,
                };
                (middle, count)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_kernels() {
        assert!(BOUNDS_NS.is_sorted_by(|a, b| a < b));
        let kernel = include_str!("../../../bpf/lost.bpf.h");
        let table = kernel.split_once("bucket_bounds[").unwrap().1;
        let (_, table) = table.split_once('{').unwrap();
        let table = table.split_once('}').unwrap().0.split(',');
        let table = table.filter_map(|bound| bound.trim().parse::<u64>().ok());
        assert_eq!(table.collect::<Vec<_>>(), BOUNDS_NS);
        for (at, ns) in BOUNDS_NS.iter().enumerate() {
            assert_eq!((bucket(*ns), bucket(*ns + 1)), (at, at + 1), "{ns}");
        }
    }

    #[test]
    fn the_middle_of_a_bucket_is_within_what_was_counted() {
        let with = |ns: &[u64]| {
            let mut buckets = [0; BUCKETS];
            for ns in ns {
                buckets[bucket(*ns)] += 1;
            }
            let range = *ns.iter().min().unwrap()..=*ns.iter().max().unwrap();
            let histogram = Histogram::from_parts(buckets, 0, range);
            histogram.middles().collect::<Vec<_>>()
        };
        for (durations, middles) in [
            // Alone in its bucket, and so exact.
            (vec![7_000_000], vec![(7_000_000, 1)]),
            (vec![0], vec![(0, 1)]),
            (vec![0, 800], vec![(400, 2)]),
            // The bucket from 10 ms to 25 ms.
            (vec![11_000_000, 24_000_000], vec![(16_248_076, 2)]),
            (
                vec![12_000_000, 3_000_000_000, 200_000_000_000],
                vec![(17_320_508, 1), (3_535_533_905, 1), (141_421_356_237, 1)],
            ),
        ] {
            assert_eq!(with(&durations), middles, "{durations:?}");
        }
    }
}
