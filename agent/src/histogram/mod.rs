//! Durations as a histogram with explicit buckets, with exponential ones, or
//! with both. Only what is asked for takes memory: 0.6 KiB or 1.3 KiB.

mod explicit;
mod exponential;
mod totals;

pub use explicit::{BUCKETS, Histogram, bounds, bucket};
pub use exponential::Exponential;
pub use totals::Totals;

/// Which buckets to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forms {
    pub explicit: bool,
    pub exponential: bool,
}

impl Forms {
    pub const EXPLICIT: Self = Self {
        explicit: true,
        exponential: false,
    };
    pub const BOTH: Self = Self {
        explicit: true,
        exponential: true,
    };
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    count: u64,
    totals: Totals,
    explicit: Option<Box<[u64; BUCKETS]>>,
    exponential: Option<Box<Exponential>>,
}

impl Distribution {
    pub fn new(forms: Forms) -> Self {
        Self {
            count: 0,
            totals: Totals::default(),
            explicit: forms.explicit.then(|| Box::new([0; BUCKETS])),
            exponential: forms.exponential.then(Box::default),
        }
    }

    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.count += 1;
        self.totals.record(ns);
        if let Some(buckets) = &mut self.explicit
            && let Some(count) = buckets.get_mut(bucket(ns))
        {
            *count += 1;
        }
        if let Some(exponential) = &mut self.exponential {
            exponential.record(ns, 1);
        }
    }

    /// Adds the counts of another one of the same forms.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.totals.add(&other.totals);
        if let (Some(buckets), Some(more)) = (&mut self.explicit, &other.explicit) {
            add_buckets(buckets, more);
        }
        if let (Some(exponential), Some(more)) = (&mut self.exponential, &other.exponential) {
            exponential.add(more);
        }
    }

    /// Adds what the kernel counted. Exponential buckets take its durations as
    /// the middles of its own buckets; all else is exact.
    pub fn add_kernel(&mut self, other: &Histogram) {
        self.count += other.count();
        self.totals.add(&other.totals);
        if let Some(buckets) = &mut self.explicit {
            add_buckets(buckets, &other.buckets);
        }
        if let Some(exponential) = &mut self.exponential {
            for (middle_ns, times) in other.middles() {
                exponential.record(middle_ns, times);
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Counts in the buckets between [`bounds`].
    pub fn explicit(&self) -> Option<&[u64; BUCKETS]> {
        self.explicit.as_deref()
    }

    pub fn exponential(&self) -> Option<&Exponential> {
        self.exponential.as_deref()
    }
}

fn add_buckets(buckets: &mut [u64; BUCKETS], more: &[u64; BUCKETS]) {
    for (count, more) in buckets.iter_mut().zip(more) {
        *count += more;
    }
}

#[cfg(test)]
mod tests {
    use super::explicit::BOUNDS_NS;
    use super::*;

    /// As Prometheus' `histogram_quantile()` takes it.
    fn median_ns(distribution: &Distribution) -> f64 {
        let rank = distribution.count() as f64 / 2.0;
        let (mut below, mut lower) = (0.0, 0);
        for (upper, count) in BOUNDS_NS.iter().zip(distribution.explicit().unwrap()) {
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
            let mut distribution = Distribution::new(Forms::EXPLICIT);
            for _ in 0..12 {
                distribution.record(ns);
            }
            let error = (median_ns(&distribution) / ns as f64 - 1.0).abs();
            // Below the second bound all of 1 us can be in the first bucket.
            assert!(ns == 1_000 || error <= 0.1, "{error} at {ns} ns");
        }
    }

    #[test]
    fn counts_sum_and_range_are_exact_in_every_form() {
        let exponential = Forms {
            explicit: false,
            exponential: true,
        };
        for forms in [Forms::EXPLICIT, exponential, Forms::BOTH] {
            let mut distribution = Distribution::new(forms);
            assert_eq!(
                (distribution.count(), distribution.totals().range()),
                (0, None)
            );
            for ns in [0, 1, 2_000_000_000, u64::MAX, u64::MAX] {
                distribution.record(ns);
            }
            let twice = distribution.clone();
            distribution.add(&twice);
            assert_eq!(distribution.count(), 10);
            let totals = distribution.totals();
            assert_eq!(
                totals.sum_ns,
                2 * (2 * u128::from(u64::MAX) + 2_000_000_001)
            );
            assert_eq!(totals.range(), Some((0.0, u64::MAX as f64 / 1e9)));
            assert_eq!(distribution.explicit().is_some(), forms.explicit);
            assert_eq!(distribution.exponential().is_some(), forms.exponential);
            if let Some(buckets) = distribution.explicit() {
                assert_eq!((buckets[0], buckets[BUCKETS - 1]), (4, 4));
                assert_eq!(buckets.iter().sum::<u64>(), 10);
            }
            if let Some(exponential) = distribution.exponential() {
                assert_eq!(exponential.zeros(), 2);
                let counts = exponential.buckets().map(|(_, count)| count);
                assert_eq!(counts.sum::<u64>(), 8);
            }
        }
    }

    #[test]
    fn what_the_kernel_counted_is_exact_but_for_the_exponential_buckets() {
        let durations = [
            900_u64,
            1_100,
            5_000_000,
            13_000_000,
            20_000_000,
            90_000_000_000,
        ];
        let mut buckets = [0; BUCKETS];
        for ns in durations {
            buckets[bucket(ns)] += 1;
        }
        let kernels = Histogram::from_parts(buckets, durations.iter().sum(), 900..=90_000_000_000);
        let (mut own, mut lost) = (
            Distribution::new(Forms::BOTH),
            Distribution::new(Forms::BOTH),
        );
        durations.iter().for_each(|ns| own.record(*ns));
        lost.add_kernel(&kernels);
        assert_eq!((own.count(), own.totals()), (lost.count(), lost.totals()));
        assert_eq!(own.explicit(), lost.explicit());
        let populated = |distribution: &Distribution| {
            let exponential = distribution.exponential().unwrap();
            let counts = exponential.buckets().filter(|(_, count)| *count > 0);
            (exponential.scale(), counts.collect::<Vec<_>>())
        };
        let ((scale, own), (same_scale, lost)) = (populated(&own), populated(&lost));
        assert_eq!(scale, same_scale);
        assert_eq!(lost.iter().map(|(_, count)| count).sum::<u64>(), 6);
        // From 10 ms to 25 ms the middle is off by the root of 2.5 at most: 0.66 of an octave, and a
        // quarter for the width of the buckets.
        let octaves = |index: i32| f64::from(index) / 2_f64.powi(scale);
        for (index, _) in own {
            let nearest = lost.iter().map(|(at, _)| octaves(*at - index).abs());
            assert!(nearest.fold(f64::MAX, f64::min) < 0.92, "{index} {lost:?}");
        }
    }
}
