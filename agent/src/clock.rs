//! From the kernel's boot time to Unix time.
//!
//! Events carry `CLOCK_BOOTTIME`, which never jumps. Unix time is boot time
//! plus an offset, and the offset moves when the clock is slewed or set. The
//! [`Anchors`] keep the offsets of the recent past, so that a moment is mapped
//! by the offset that held then: a call that blocked for an hour starts where
//! the clock stood an hour ago.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Offsets closer than this are one; also the error it brings, nanoseconds.
const SAME_OFFSET_NS: u64 = 100_000;
/// What moves at once by more was set, not slewed, nanoseconds.
const STEP_NS: u64 = 500_000_000;
/// Offsets kept. A clock slewed at its fastest (500 ppm) moves by
/// [`SAME_OFFSET_NS`] five times a second; one that NTP holds, every minute.
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
    /// Now. Of three tries the one in which least time passed.
    pub fn now() -> Self {
        let read = || {
            let before = nanoseconds(clock_gettime(ClockId::Boottime));
            let unix = nanoseconds(clock_gettime(ClockId::Realtime));
            let after = nanoseconds(clock_gettime(ClockId::Boottime));
            let boot = before + (after - before) / 2;
            (after - before, boot, unix)
        };
        let (_, boot, unix) = [read(), read(), read()]
            .into_iter()
            .min()
            .unwrap_or_default();
        Self {
            boot_ns: u64::try_from(boot).unwrap_or(0),
            offset_ns: unix - boot,
        }
    }
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
        (moved.unsigned_abs() >= STEP_NS).then_some(moved)
    }

    /// Unix nanoseconds of a moment of boot time.
    pub fn to_unix_ns(&self, boot_ns: u64) -> u64 {
        let offset_ns = if boot_ns >= self.latest.boot_ns {
            self.latest.offset_ns
        } else {
            let after = self
                .readings
                .partition_point(|reading| reading.boot_ns <= boot_ns);
            self.readings
                .get(after.saturating_sub(1))
                .map_or(self.latest.offset_ns, |reading| reading.offset_ns)
        };
        boot_ns.saturating_add_signed(offset_ns)
    }

    /// Start and end of a call. Where the clock was set back in between, the
    /// end is the start plus what really passed, never before the start.
    pub fn span_ns(&self, start_ns: u64, end_ns: u64) -> (u64, u64) {
        let start = self.to_unix_ns(start_ns);
        let end = self.to_unix_ns(end_ns);
        if end < start {
            (start, start + end_ns.saturating_sub(start_ns))
        } else {
            (start, end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;

    fn reading(boot_ns: u64, offset_ns: i64) -> Reading {
        Reading { boot_ns, offset_ns }
    }

    #[test]
    fn a_step_moves_what_comes_after_it_only() {
        let mut anchors = Anchors::new(reading(1_000, 5_000_000_000));
        let step = anchors.renew(reading(2_000_000, 95_000_000_000));
        assert_eq!(step, Some(90_000_000_000));
        assert_eq!(anchors.renew(reading(2_100_000, 95_000_200_000)), None);
        assert_eq!(anchors.to_unix_ns(1_500_000), 5_001_500_000);
        assert_eq!(anchors.to_unix_ns(2_000_000), 95_002_000_000);
        assert_eq!(anchors.to_unix_ns(10), 5_000_000_010);
    }

    #[test]
    fn an_hour_of_drift_stays_below_a_millisecond() {
        // 100 ppm, read every 20 ms.
        let offset = |boot_ns: u64| 7_000_000_000 + (boot_ns / 10_000) as i64;
        let mut anchors = Anchors::new(reading(0, offset(0)));
        for boot_ns in (0..HOUR_NS).step_by(20_000_000) {
            anchors.renew(reading(boot_ns, offset(boot_ns)));
            let error = anchors
                .to_unix_ns(boot_ns)
                .abs_diff(boot_ns.saturating_add_signed(offset(boot_ns)));
            assert!(error < 1_000_000, "{error} ns at {boot_ns}");
        }
        // A call that began in the middle of it keeps the time of then.
        let begun = HOUR_NS / 2 + HOUR_NS / 4;
        let error = anchors
            .to_unix_ns(begun)
            .abs_diff(begun.saturating_add_signed(offset(begun)));
        assert!(error < 1_000_000, "{error} ns in the past");
    }

    #[test]
    fn a_call_never_ends_before_it_starts() {
        let mut anchors = Anchors::new(reading(0, 9_000_000_000));
        anchors.renew(reading(1_000_000, 0));
        assert_eq!(
            anchors.span_ns(500_000, 2_000_000),
            (9_000_500_000, 9_002_000_000)
        );
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
