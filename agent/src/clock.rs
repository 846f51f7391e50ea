//! From the kernel's boot time to Unix time.
//!
//! Events carry `CLOCK_BOOTTIME`, which never jumps. Unix time is boot time
//! plus an offset, which moves when the clock is set; slewing changes the pace
//! of both clocks alike. The [`Anchors`] keep the offsets of the recent past,
//! so that a call starts where the clock stood at its start, and lasts what
//! passed.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;
use std::{fs, io};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Offsets closer than this are one: the two clocks are not read at once.
const SAME_OFFSET_NS: u64 = 100_000;
/// Offsets kept.
const MAX_ANCHORS: usize = 4096;

/// Both clocks at one moment, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// `CLOCK_REALTIME` less `CLOCK_BOOTTIME`.
    pub offset_ns: i64,
}

impl Reading {
    /// Now.
    pub fn now() -> Self {
        Self::read().1
    }

    /// Now, if the thread kept its CPU long enough to tell an offset from
    /// another by it.
    pub fn exact_now() -> Option<Self> {
        let (error_ns, reading) = Self::read();
        (error_ns < SAME_OFFSET_NS.cast_signed() / 2).then_some(reading)
    }

    /// With by how much the offset may be wrong: of three tries the best.
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

/// The kernel's own, in whatever time namespace the agent is.
fn boottime_ns() -> i64 {
    static AHEAD_NS: LazyLock<i64> = LazyLock::new(|| {
        // The file is about the namespace of children, in which this process is
        // only if it was born there.
        let namespace = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).ok();
        if namespace("time") != namespace("time_for_children") {
            return 0;
        }
        let text = fs::read_to_string("/proc/self/timens_offsets");
        text.map_or(0, |text| boottime_offset_ns(&text))
    });
    nanoseconds(clock_gettime(ClockId::Boottime)) - *AHEAD_NS
}

/// From `/proc/PID/timens_offsets`, lines of a clock, seconds and nanoseconds;
/// time_namespaces(7).
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
    /// Watches from now on.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let watch = Self { timer };
        watch.arm()?;
        Ok(watch)
    }

    /// Goes on after the clock was set; nothing to do otherwise.
    ///
    /// # Errors
    /// When the kernel refuses the timer.
    pub fn acknowledge(&self) -> io::Result<()> {
        match rustix::io::read(&self.timer, &mut [0; 8]) {
            Err(rustix::io::Errno::AGAIN) => Ok(()),
            _ => self.arm(),
        }
    }

    /// A timer that never fires, for the sake of its cancellation.
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
            // The clock was set once more meanwhile; the timer is armed.
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

/// When a call was, nanoseconds of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Its start, by the clock at the start.
    pub start_unix_ns: u64,
    /// Its start and the time that passed, whatever the clock did.
    pub end_unix_ns: u64,
    /// Its end, by the clock at the end; what deadlines are held against.
    pub end_by_clock_ns: u64,
    /// By how much the clock was set in between, forward if positive; `None`
    /// where it was not.
    pub clock_step_ns: Option<i64>,
}

/// Of a call during which nobody set the clock: start and end.
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
    /// Starts with one reading, which also stands for all time before it.
    pub fn new(first: Reading) -> Self {
        Self {
            readings: VecDeque::from([first]),
            latest: first,
        }
    }

    /// Takes a later reading. Call it often: between two readings a step of
    /// the clock can have come at any moment. Returns the step, if there was
    /// one: nanoseconds, forward if positive.
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

    /// Unix nanoseconds of a moment of boot time.
    pub fn to_unix_ns(&self, boot_ns: u64) -> u64 {
        boot_ns.saturating_add_signed(self.offset_ns(boot_ns))
    }

    /// The same of a moment in the past; by the clock of now where it was set
    /// back so far that the moment would be in the future.
    pub fn to_past_unix_ns(&self, boot_ns: u64, now_unix_ns: u64) -> u64 {
        let unix_ns = self.to_unix_ns(boot_ns);
        if unix_ns <= now_unix_ns {
            return unix_ns;
        }
        let by_now = boot_ns.saturating_add_signed(self.latest.offset_ns);
        by_now.min(now_unix_ns)
    }

    /// The times of a call, of its start and end in boot time.
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
