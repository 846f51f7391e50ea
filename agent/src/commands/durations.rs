//! Histogram of durations with four buckets per power of two. Quantiles are
//! within an eighth of the true value, and each queue on the screen can afford
//! a histogram.

/// Durations below 2^10 ns (1024 ns) share the first bucket.
const FIRST_BIT: u32 = 10;
/// Durations from 2^40 ns (18 minutes) on share the last bucket.
const LAST_BIT: u32 = 40;
/// Powers of two between the two bounds. The chart has one bar for each.
pub(super) const OCTAVES: usize = (LAST_BIT - FIRST_BIT) as usize;
const BUCKETS: usize = 1 + 4 * OCTAVES + 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Durations {
    counts: [u32; BUCKETS],
    max_ns: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            max_ns: 0,
        }
    }
}

/// Bucket 0 holds everything below the first power of two. Each power has four buckets.
fn bucket(ns: u64) -> usize {
    let bit = ns.max(1).ilog2();
    if bit < FIRST_BIT {
        return 0;
    }
    if bit >= LAST_BIT {
        return BUCKETS - 1;
    }
    let quarter = (ns >> (bit - 2)) & 3;
    1 + 4 * (bit - FIRST_BIT) as usize + quarter as usize
}

/// Lower bound of the bucket, in ns.
fn lower_ns(bucket: usize) -> u64 {
    if bucket == 0 {
        return 0;
    }
    let (octave, quarter) = ((bucket - 1) / 4, (bucket - 1) % 4);
    (4 + quarter as u64) << (octave as u32 + FIRST_BIT - 2)
}

impl Durations {
    /// Counts one duration. Zero counts as 1 ns.
    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
        }
        self.max_ns = self.max_ns.max(ns).max(1);
    }

    pub(super) fn add(&mut self, other: &Self) {
        if other.max_ns == 0 {
            return;
        }
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The longest duration, or `None` if none was recorded.
    pub(super) fn max_ns(&self) -> Option<u64> {
        (self.max_ns != 0).then_some(self.max_ns)
    }

    /// The duration that `percent` percent did not exceed: the middle of its
    /// bucket, capped at the longest duration.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        if at == BUCKETS - 1 {
            return Some(self.max_ns);
        }
        Some(lower_ns(at).midpoint(lower_ns(at + 1)).min(self.max_ns))
    }

    /// Counts per power of two. The first entry starts at 2^10 ns and includes
    /// everything below; the last includes everything above.
    pub(super) fn octaves(&self) -> [u64; OCTAVES] {
        let mut octaves = [0; OCTAVES];
        for (bucket, count) in self.counts.iter().enumerate() {
            let octave = (bucket.saturating_sub(1) / 4).min(OCTAVES - 1);
            if let Some(sum) = octaves.get_mut(octave) {
                *sum += u64::from(*count);
            }
        }
        octaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_join_without_a_gap() {
        for at in 1..BUCKETS {
            assert_eq!(bucket(lower_ns(at)), at);
            assert_eq!(bucket(lower_ns(at) - 1), at - 1);
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_right_to_an_eighth() {
        let mut durations = Durations::default();
        for us in 1..=1_000_u64 {
            durations.record(us * 1_000);
        }
        for (percent, ns) in [(50, 500_000), (99, 990_000), (100, 1_000_000)] {
            let found = durations.percentile(percent).unwrap();
            assert!(found.abs_diff(ns) <= ns / 8, "p{percent}: {found}");
        }
        assert_eq!(durations.max_ns(), Some(1_000_000));
    }

    #[test]
    fn few_durations_and_none() {
        let mut durations = Durations::default();
        assert_eq!((durations.percentile(50), durations.max_ns()), (None, None));
        durations.record(2_000_000_000_000);
        assert_eq!(durations.percentile(50), Some(2_000_000_000_000));
        let mut durations = Durations::default();
        durations.record(1_500);
        assert_eq!(durations.percentile(99), Some(1_408));
    }

    #[test]
    fn sums_and_octaves() {
        let (mut one, mut other) = (Durations::default(), Durations::default());
        one.record(100);
        other.record(1_100_000);
        other.record(u64::MAX);
        one.add(&other);
        one.add(&Durations::default());
        assert_eq!((one.count(), one.max_ns()), (3, Some(u64::MAX)));
        let octaves = one.octaves();
        assert_eq!((octaves[0], octaves[10], octaves[OCTAVES - 1]), (1, 1, 1));
    }
}
