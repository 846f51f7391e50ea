//! The last ten seconds, second by second.

/// How many seconds rates and quantiles look back.
pub(super) const SECONDS: u64 = 10;

const SECOND_NS: u64 = 1_000_000_000;

/// A ring with one place per second.
#[derive(Debug, Default)]
pub(super) struct Window<T> {
    seconds: [T; SECONDS as usize],
    /// The latest second with a count.
    newest: u64,
}

impl<T: Default> Window<T> {
    /// The place to count in for this second since boot. Records arrive nearly
    /// in order; one that is older than the window counts in the newest second.
    pub(super) fn second(&mut self, second: u64) -> Option<&mut T> {
        if second > self.newest {
            let passed = (second - self.newest).min(SECONDS);
            for gone in second + 1 - passed..=second {
                if let Some(place) = self.seconds.get_mut(place(gone)) {
                    *place = T::default();
                }
            }
            self.newest = second;
        }
        let second = if second + SECONDS > self.newest {
            second
        } else {
            self.newest
        };
        self.seconds.get_mut(place(second))
    }

    /// What was counted in the window that ends with the second `now`.
    pub(super) fn within(&self, now: u64) -> impl Iterator<Item = &T> {
        let first = now.max(self.newest).saturating_sub(SECONDS - 1);
        (first..=self.newest).filter_map(|second| self.seconds.get(place(second)))
    }
}

fn place(second: u64) -> usize {
    (second % SECONDS) as usize
}

pub(super) fn second_of(boot_ns: u64) -> u64 {
    boot_ns / SECOND_NS
}

/// Seconds that the window covers if counting began at `since_ns`: at least
/// one, so that the first call does not make a rate of thousands.
pub(super) fn covered_s(since_ns: u64, now_ns: u64) -> f64 {
    let first_ns = second_of(now_ns).saturating_sub(SECONDS - 1) * SECOND_NS;
    (now_ns.saturating_sub(first_ns.max(since_ns)) as f64 / SECOND_NS as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_ten_seconds() {
        let mut window = Window::<u64>::default();
        for second in 1_000..1_025 {
            *window.second(second).unwrap() += second - 999;
        }
        let sum = |window: &Window<u64>, now| window.within(now).sum::<u64>();
        assert_eq!(sum(&window, 1_024), (16..=25).sum::<u64>());
        assert_eq!(sum(&window, 1_026), (18..=25).sum::<u64>());
        assert_eq!(sum(&window, 1_034), 0);
        // After a pause nothing old is left.
        *window.second(1_500).unwrap() += 7;
        assert_eq!(sum(&window, 1_500), 7);
    }

    #[test]
    fn records_out_of_order_find_their_place() {
        let mut window = Window::<u64>::default();
        *window.second(1_000).unwrap() += 1;
        *window.second(1_003).unwrap() += 1;
        *window.second(1_001).unwrap() += 1;
        assert_eq!(window.within(1_003).sum::<u64>(), 3);
        assert_eq!(window.within(1_010).sum::<u64>(), 2);
        assert_eq!(window.within(1_011).sum::<u64>(), 1);
        // Too late for its own second.
        *window.second(900).unwrap() += 1;
        assert_eq!(window.within(1_011).sum::<u64>(), 2);
    }

    #[test]
    fn rates_are_over_the_time_that_was_watched() {
        let since = 100 * SECOND_NS;
        for (now_ns, covered) in [
            (since + SECOND_NS / 4, 1.0),
            (since + 3 * SECOND_NS, 3.0),
            (since + 60 * SECOND_NS, 9.0),
            (since + 60 * SECOND_NS + SECOND_NS / 2, 9.5),
        ] {
            assert!(
                (covered_s(since, now_ns) - covered).abs() < 1e-9,
                "{now_ns}"
            );
        }
    }
}
