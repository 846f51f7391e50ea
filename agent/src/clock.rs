//! Converts the kernel's boot time to Unix time.
//!
//! Events carry `CLOCK_BOOTTIME`, which never jumps. Unix time is boot time
//! plus an offset. Setting the clock changes the offset; slewing affects both
//! clocks alike. [`Anchors`] keeps the offsets of the recent past, so that a
//! call starts at the time that the clock showed then, and lasts as long as it
//! really took.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;
use std::{fs, io};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Offsets closer than this count as equal, because the two clocks cannot be
/// read at the same instant.
const SAME_OFFSET_NS: u64 = 100_000;
const MAX_ANCHORS: usize = 4096;

/// Both clocks at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// `CLOCK_REALTIME` minus `CLOCK_BOOTTIME`.
    pub offset_ns: i64,
}

impl Reading {
    pub fn now() -> Self {
        Self::read().1
    }

    /// The current reading, or `None` if the thread lost its CPU between
    /// reading the two clocks and the offset is too inexact to tell a step by
    /// it.
    pub fn exact_now() -> Option<Self> {
        let (error_ns, reading) = Self::read();
        (error_ns < SAME_OFFSET_NS.cast_signed() / 2).then_some(reading)
    }

    /// Returns the best of three tries, after the maximum error of its offset
    /// in nanoseconds.
    fn read() -> (i64, Self) {
        let read = || {
            let before = boottime_ns();
            let unix = nanoseconds(clock_gettime(ClockId::Realtime));
            let after = boottime_ns();
            let boot = before + (after - before) / 2;
            ((after - before) / 2, boot, unix)
        };
        let (error_ns, boot, unix) = [read(), read(), read()]
            .into_iter()
            .min()
            .unwrap_or_default();
        let reading = Self {
            boot_ns: u64::try_from(boot).unwrap_or(0),
            offset_ns: unix - boot,
        };
        (error_ns, reading)
    }
}

/// `CLOCK_BOOTTIME` as the kernel counts it, whatever time namespace the agent
/// is in.
fn boottime_ns() -> i64 {
    static AHEAD_NS: LazyLock<i64> = LazyLock::new(|| {
        // The file describes the namespace of children. It applies to this
        // process only if the process was born in that namespace.
        let namespace = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).ok();
        if namespace("time") != namespace("time_for_children") {
            return 0;
        }
        let text = fs::read_to_string("/proc/self/timens_offsets");
        text.map_or(0, |text| boottime_offset_ns(&text))
    });
    nanoseconds(clock_gettime(ClockId::Boottime)) - *AHEAD_NS
}

/// Parses `/proc/PID/timens_offsets`: lines of clock name, seconds and
/// nanoseconds. See time_namespaces(7).
fn boottime_offset_ns(offsets: &str) -> i64 {
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("boottime") {
            return None;
        }
        let mut number = || words.next()?.parse::<i64>().ok();
        number()?.checked_mul(1_000_000_000)?.checked_add(number()?)
    };
    offsets.lines().find_map(of_line).unwrap_or(0)
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Becomes readable when somebody sets the clock, so that a step is noticed
/// when it happens (`TFD_TIMER_CANCEL_ON_SET`, timerfd_create(2)).
#[derive(Debug)]
pub struct ClockWatch {
    timer: OwnedFd,
}

impl ClockWatch {
    /// Starts to watch.
    ///
    /// # Errors
    /// If the kernel does not provide a timer.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let watch = Self { timer };
        watch.arm()?;
        Ok(watch)
    }

    /// Arms the timer again if the clock was set. Otherwise does nothing.
    ///
    /// # Errors
    /// If the kernel refuses the timer.
    pub fn acknowledge(&self) -> io::Result<()> {
        match rustix::io::read(&self.timer, &mut [0; 8]) {
            Err(rustix::io::Errno::AGAIN) => Ok(()),
            _ => self.arm(),
        }
    }

    /// Sets a timer that never expires; only its cancellation matters.
    fn arm(&self) -> io::Result<()> {
        const NEVER: Itimerspec = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::MAX / 2_000_000_000,
                tv_nsec: 0,
            },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(&self.timer, flags, &NEVER) {
            // The clock was set again in the meantime; the timer is armed
            // anyway.
            Ok(_) | Err(rustix::io::Errno::CANCELED) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for ClockWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Start and end of a call, in nanoseconds of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Start, by the clock as it was then.
    pub start_unix_ns: u64,
    /// `start_unix_ns` plus the time that passed, whatever the clock did.
    pub end_unix_ns: u64,
    /// End, by the clock as it was then. Deadlines are compared with it.
    pub end_by_clock_ns: u64,
    /// By how much the clock was set in between, forward if positive; `None` if
    /// it was not set.
    pub clock_step_ns: Option<i64>,
}

/// From the start and the end of a call during which nobody set the clock.
impl From<(u64, u64)> for Times {
    fn from((start_unix_ns, end_unix_ns): (u64, u64)) -> Self {
        Self {
            start_unix_ns,
            end_unix_ns,
            end_by_clock_ns: end_unix_ns,
            clock_step_ns: None,
        }
    }
}

/// The offsets of the recent past, oldest first.
#[derive(Debug, Clone)]
pub struct Anchors {
    readings: VecDeque<Reading>,
    latest: Reading,
}

impl Anchors {
    /// Starts with one reading, which also applies to all time before it.
    pub fn new(first: Reading) -> Self {
        Self {
            readings: VecDeque::from([first]),
            latest: first,
        }
    }

    /// Takes a later reading and returns the step of the clock since the last
    /// one, if any: nanoseconds, forward if positive.
    ///
    /// Call this often. A step can have happened at any moment between two
    /// readings.
    pub fn renew(&mut self, reading: Reading) -> Option<i64> {
        let moved = reading.offset_ns.saturating_sub(self.latest.offset_ns);
        if moved.unsigned_abs() < SAME_OFFSET_NS {
            return None;
        }
        if self.readings.len() == MAX_ANCHORS {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
        self.latest = reading;
        Some(moved)
    }

    fn offset_ns(&self, boot_ns: u64) -> i64 {
        if boot_ns >= self.latest.boot_ns {
            return self.latest.offset_ns;
        }
        let after = self
            .readings
            .partition_point(|reading| reading.boot_ns <= boot_ns);
        self.readings
            .get(after.saturating_sub(1))
            .map_or(self.latest.offset_ns, |reading| reading.offset_ns)
    }

    pub fn to_unix_ns(&self, boot_ns: u64) -> u64 {
        boot_ns.saturating_add_signed(self.offset_ns(boot_ns))
    }

    /// Like [`Self::to_unix_ns`], for a moment in the past. Uses the current
    /// offset if the clock was set back so far that the moment would be in the
    /// future.
    pub fn to_past_unix_ns(&self, boot_ns: u64, now_unix_ns: u64) -> u64 {
        let unix_ns = self.to_unix_ns(boot_ns);
        if unix_ns <= now_unix_ns {
            return unix_ns;
        }
        let by_now = boot_ns.saturating_add_signed(self.latest.offset_ns);
        by_now.min(now_unix_ns)
    }

    /// The times of a call, from its start and end in boot time.
    pub fn times(&self, start_ns: u64, end_ns: u64) -> Times {
        let (at_start, at_end) = (self.offset_ns(start_ns), self.offset_ns(end_ns));
        let start_unix_ns = start_ns.saturating_add_signed(at_start);
        Times {
            start_unix_ns,
            end_unix_ns: start_unix_ns.saturating_add(end_ns.saturating_sub(start_ns)),
            end_by_clock_ns: end_ns.saturating_add_signed(at_end),
            clock_step_ns: (at_start != at_end).then(|| at_end.saturating_sub(at_start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(boot_ns: u64, offset_ns: i64) -> Reading {
        Reading { boot_ns, offset_ns }
    }

    #[test]
    fn a_step_moves_what_comes_after_it_only() {
        let mut anchors = Anchors::new(reading(1_000, 5_000_000_000));
        let step = anchors.renew(reading(2_000_000, 95_000_000_000));
        assert_eq!(step, Some(90_000_000_000));
        assert_eq!(anchors.renew(reading(2_100_000, 95_000_090_000)), None);
        assert_eq!(anchors.to_unix_ns(1_500_000), 5_001_500_000);
        assert_eq!(anchors.to_unix_ns(2_000_000), 95_002_000_000);
        assert_eq!(anchors.to_unix_ns(10), 5_000_000_010);
    }

    /// Receives of two seconds, a step in the middle of each.
    #[test]
    fn a_call_lasts_what_passed_however_the_clock_is_set_meanwhile() {
        const S: u64 = 1_000_000_000;
        const AT: i64 = 1_700_000_000 * S as i64;
        let years = 1_794_998_990_000_000_000;
        for step in [years, 3_600 * S as i64, 128_000_000, -1_000_000, -AT / 2] {
            let mut anchors = Anchors::new(reading(S, AT));
            assert_eq!(anchors.renew(reading(10 * S, AT)), None);
            assert_eq!(anchors.renew(reading(10 * S + 5, AT + step)), Some(step));
            assert_eq!(anchors.renew(reading(11 * S, AT + step)), None);
            let start = 9 * S + AT as u64;
            let times = anchors.times(9 * S, 11 * S);
            assert_eq!(times.start_unix_ns, start);
            assert_eq!(times.end_unix_ns, start + 2 * S);
            assert_eq!(
                times.end_by_clock_ns,
                (start + 2 * S).saturating_add_signed(step)
            );
            assert_eq!(times.clock_step_ns, Some(step));
            for (from, to) in [(8 * S, 9 * S), (11 * S, 13 * S), (12 * S, 12 * S)] {
                let times = anchors.times(from, to);
                assert_eq!(times.clock_step_ns, None, "{from} to {to}");
                assert_eq!(times.end_unix_ns - times.start_unix_ns, to - from);
                assert_eq!(times.end_unix_ns, times.end_by_clock_ns);
            }
        }
    }

    #[test]
    fn steps_within_a_call_add_up() {
        const S: u64 = 1_000_000_000;
        let mut anchors = Anchors::new(reading(0, 0));
        for (at, offset) in [(70, 7_000_000_000), (80, -2_000_000_000)] {
            anchors.renew(reading(at * S, offset));
        }
        for (from, to, step) in [
            (10, 75, Some(7_000_000_000)),
            (10, 95, Some(-2_000_000_000)),
            (75, 95, Some(-9_000_000_000)),
            (85, 95, None),
        ] {
            let times = anchors.times(from * S, to * S);
            assert_eq!(times.clock_step_ns, step, "{from} to {to}");
            assert_eq!(times.end_unix_ns - times.start_unix_ns, (to - from) * S);
        }
    }

    #[test]
    fn offsets_kept_are_bounded() {
        let mut anchors = Anchors::new(reading(0, 0));
        for step in 1..10_000_i64 {
            anchors.renew(reading(step.unsigned_abs() * 1000, step * 1_000_000));
        }
        assert_eq!(anchors.readings.len(), MAX_ANCHORS);
    }

    #[test]
    fn a_clock_that_nobody_sets_is_quiet() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let watch = ClockWatch::new().unwrap();
        watch.acknowledge().unwrap();
        let now = Timespec::default();
        let ready = poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&now)).unwrap();
        assert_eq!(ready, 0);
    }

    #[test]
    fn reads_both_clocks() {
        let reading = Reading::now();
        let unix = reading.boot_ns.saturating_add_signed(reading.offset_ns);
        let std_unix = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64;
        assert!(std_unix.abs_diff(unix) < 1_000_000_000);
    }
}
