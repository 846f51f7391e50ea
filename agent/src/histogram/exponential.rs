//! A histogram with base-2 exponential buckets ("Metrics Data Model",
//! "ExponentialHistogram"): bucket `i` counts durations above `base^i` seconds
//! and up to `base^(i + 1)`, where `base = 2^(2^-scale)`.
//!
//! It begins with the finest scale, and halves its resolution whenever the range
//! of what it counts needs more than [`MAX_BUCKETS`]. Durations of nanoseconds in
//! 64 bits span 64 powers of two, so the scale never gets below 1.

/// The default of "Base2 Exponential Bucket Histogram Aggregation".
pub const MAX_BUCKETS: usize = 160;
const BUCKETS: i32 = MAX_BUCKETS as i32;

/// The default of the same section.
const MAX_SCALE: u8 = 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exponential {
    scale: u8,
    /// Indices of the lowest and the highest populated bucket; `low > high` if
    /// there is none.
    low: i32,
    high: i32,
    /// Bucket `i` is at `i mod MAX_BUCKETS`, so nothing moves when the range grows.
    counts: [u64; MAX_BUCKETS],
    zeros: u64,
}

impl Default for Exponential {
    fn default() -> Self {
        Self {
            scale: MAX_SCALE,
            low: i32::MAX,
            high: i32::MIN,
            counts: [0; MAX_BUCKETS],
            zeros: 0,
        }
    }
}

impl Exponential {
    /// Counts a duration `times` times.
    #[inline]
    pub fn record(&mut self, ns: u64, times: u64) {
        if ns == 0 {
            self.zeros += times;
        } else {
            self.add_at(index(self.scale, ns), times);
        }
    }

    /// Adds the counts of another one. The coarser of the two scales remains, or
    /// a coarser one still if the range needs it.
    pub fn add(&mut self, other: &Self) {
        self.zeros += other.zeros;
        if self.scale > other.scale {
            self.reduce(self.scale - other.scale);
        }
        for (index, count) in other.buckets().filter(|(_, count)| *count != 0) {
            // The scale can get smaller with each bucket.
            self.add_at(index >> (other.scale - self.scale), count);
        }
    }

    /// Adds to the bucket with this index at the current scale.
    #[inline]
    fn add_at(&mut self, mut index: i32, times: u64) {
        let low = self.low.min(index);
        let high = self.high.max(index);
        if high - low >= BUCKETS {
            let mut by = 1;
            while (high >> by) - (low >> by) >= BUCKETS {
                by += 1;
            }
            self.reduce(by);
            index >>= by;
        }
        self.low = self.low.min(index);
        self.high = self.high.max(index);
        if let Some(count) = self.counts.get_mut(place(index)) {
            *count += times;
        }
    }

    /// Halves the resolution `by` times.
    #[cold]
    fn reduce(&mut self, by: u8) {
        let mut reduced = Self {
            scale: self.scale - by,
            zeros: self.zeros,
            ..Self::default()
        };
        for (index, count) in self.buckets() {
            let index = index >> by;
            reduced.low = reduced.low.min(index);
            reduced.high = reduced.high.max(index);
            if let Some(sum) = reduced.counts.get_mut(place(index)) {
                *sum += count;
            }
        }
        *self = reduced;
    }

    pub fn scale(&self) -> i32 {
        self.scale.into()
    }

    /// Durations of 0.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Indices and counts from the lowest populated bucket to the highest.
    pub fn buckets(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        let indices = self.low..self.high.saturating_add(1);
        indices.map(|index| {
            let count = self.counts.get(place(index));
            (index, count.copied().unwrap_or(0))
        })
    }
}

fn place(index: i32) -> usize {
    index.rem_euclid(BUCKETS).unsigned_abs() as usize
}

/// The bucket of a duration above 0.
fn index(scale: u8, ns: u64) -> i32 {
    let seconds = ns as f64 / 1e9;
    let bits = seconds.to_bits();
    let mantissa = bits & ((1 << 52) - 1);
    if mantissa == 0 {
        // A power of two is the upper bound of its bucket. A logarithm could be
        // a little too large.
        let exponent = (bits >> 52) as i32 - 1023;
        return (exponent << scale) - 1;
    }
    let per_octave = f64::from(1_u32 << scale);
    (seconds.ln() * (per_octave * std::f64::consts::LOG2_E)).ceil() as i32 - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds of a bucket in seconds.
    fn bounds(scale: i32, index: i32) -> (f64, f64) {
        let bound = |index: i32| 2_f64.powf(f64::from(index) / 2_f64.powi(scale));
        (bound(index), bound(index + 1))
    }

    fn total(histogram: &Exponential) -> u64 {
        histogram.zeros() + histogram.buckets().map(|(_, count)| count).sum::<u64>()
    }

    #[test]
    fn a_duration_is_in_the_bucket_that_has_it() {
        for scale in 1..=MAX_SCALE {
            for exponent in 0..64 {
                for ns in [1_u64 << exponent, (1 << exponent) / 3 * 2 + 1] {
                    let (low, high) = bounds(scale.into(), index(scale, ns));
                    let seconds = ns as f64 / 1e9;
                    // The test's own powers are rounded.
                    let slack = 1.0 + 1e-12;
                    assert!(
                        low < seconds * slack && seconds <= high * slack,
                        "{ns} ns at {scale}: {low} {high}"
                    );
                }
            }
        }
        // Bounds are inclusive above: 0.5 s and 2 s exactly.
        assert_eq!(index(3, 500_000_000), -9);
        assert_eq!(index(3, 500_000_001), -8);
        assert_eq!(index(3, 2_000_000_000), 7);
        assert_eq!(index(3, 1_000_000_000), -1);
    }

    #[test]
    fn the_scale_falls_with_the_range_and_no_count_is_lost() {
        let mut histogram = Exponential::default();
        histogram.record(1_000_000, 1);
        assert_eq!(histogram.scale(), 20);
        histogram.record(1_001_000, 1);
        let near = histogram.scale();
        histogram.record(2_000_000, 1);
        let twice = histogram.scale();
        histogram.record(0, 5);
        histogram.record(1, 1);
        histogram.record(u64::MAX, 7);
        assert!(near < 20 && twice < near, "{near} {twice}");
        // A factor of two in 160 buckets: 128 of them.
        assert_eq!((twice, histogram.scale()), (7, 1));
        assert_eq!((total(&histogram), histogram.zeros()), (16, 5));
        let populated = histogram.buckets().filter(|(_, count)| *count > 0);
        let populated: Vec<_> = populated.collect();
        assert_eq!(populated.len(), 4);
        for (ns, times) in [(1_u64, 1), (1_000_000, 2), (2_000_000, 1), (u64::MAX, 7)] {
            let (_, count) = populated
                .iter()
                .find(|(at, _)| *at == index(1, ns))
                .unwrap();
            assert_eq!(*count, times, "{ns}");
        }
        let width = histogram.buckets().count();
        assert!(width <= MAX_BUCKETS, "{width}");
    }

    #[test]
    fn the_order_of_counting_and_adding_does_not_matter() {
        let values: Vec<u64> = (0..2_000_u64)
            .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n % 60))
            .collect();
        let mut whole = Exponential::default();
        values.iter().for_each(|ns| whole.record(*ns, 1));
        let mut backwards = Exponential::default();
        values.iter().rev().for_each(|ns| backwards.record(*ns, 1));
        assert_eq!(whole, backwards);
        for parts in [2, 7, 500] {
            let mut sum = Exponential::default();
            for part in values.chunks(values.len() / parts) {
                let mut one = Exponential::default();
                part.iter().for_each(|ns| one.record(*ns, 1));
                sum.add(&one);
            }
            assert_eq!(sum, whole, "{parts}");
        }
    }

    #[test]
    fn nothing_is_counted_in_an_empty_one() {
        let mut histogram = Exponential::default();
        histogram.add(&Exponential::default());
        assert_eq!(histogram.buckets().count(), 0);
        assert_eq!(total(&histogram), 0);
    }
}
