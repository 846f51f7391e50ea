//! Formats numbers in five columns, and times in a few more.

use super::blocked::Deadline;
use crate::event::Timeout;
use crate::rfc3339::Rfc3339;

const SECOND_NS: u64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// One decimal below ten, none from there on.
fn short(value: f64) -> String {
    if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A rate or a count, such as `0`, `0.3`, `120`, `1.2k`.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    for (unit, name) in [(1.0, ""), (1e3, "k"), (1e6, "M")] {
        if value / unit < 999.5 {
            return short(value / unit) + name;
        }
    }
    short(value / 1e9) + "G"
}

/// Prints numbers up to 9999 in full.
pub(super) fn whole(value: u32) -> String {
    if value < 10_000 {
        value.to_string()
    } else {
        number(value.into())
    }
}

/// A duration, such as `850ns`, `1.2ms`, `12s`, `2m05s`, `3h20m`, `4d03h`.
pub(super) fn duration(ns: u64, micro: &str) -> String {
    let seconds = ns / SECOND_NS;
    match seconds {
        0..100 => {
            let ns = ns as f64;
            if ns < 999.5 {
                format!("{ns:.0}ns")
            } else if ns < 999.5e3 {
                format!("{}{micro}s", short(ns / 1e3))
            } else if ns < 999.5e6 {
                format!("{}ms", short(ns / 1e6))
            } else {
                format!("{}s", short(ns / 1e9))
            }
        }
        100..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A Unix time as `2026-11-24T07:14:15`, UTC.
fn date_and_time(time: Timeout) -> Option<String> {
    let mut text = Rfc3339::default();
    Some(text.format(time)?.get(..19)?.to_owned())
}

/// Unix nanoseconds as `07:14:15`, UTC.
pub(super) fn clock(unix_ns: u64) -> String {
    let time = Timeout {
        sec: (unix_ns / SECOND_NS).cast_signed(),
        nsec: 0,
    };
    let text = date_and_time(time);
    let clock = text.as_deref().and_then(|text| text.get(11..));
    clock.unwrap_or("??:??:??").to_owned()
}

/// The deadline in UTC: the time of day if it is within a day, else the date,
/// or Unix seconds beyond the calendar. `is_wide` adds the time left.
pub(super) fn deadline(deadline: Deadline, now_unix_ns: u64, is_wide: bool) -> String {
    let timeout = match deadline {
        Deadline::Never => return "no limit".to_owned(),
        Deadline::Unknown => return "?".to_owned(),
        Deadline::At(timeout) => timeout,
    };
    let Some(text) = date_and_time(timeout) else {
        return format!("@{}", timeout.sec);
    };
    let now_s = (now_unix_ns / SECOND_NS).cast_signed();
    let is_near = timeout.sec - now_s < DAY_S;
    let place = match (is_near, is_wide) {
        (true, _) => 11..19,
        (false, false) => 2..10,
        (false, true) => 0..19,
    };
    let when = text.get(place).unwrap_or_default().to_owned();
    if !is_wide || !is_near {
        return when;
    }
    let left_ns = timeout
        .sec
        .saturating_sub(now_s)
        .saturating_mul(1_000_000_000)
        + timeout.nsec
        - (now_unix_ns % SECOND_NS).cast_signed();
    let left = duration(u64::try_from(left_ns).unwrap_or(0), "us");
    format!("{when} in {left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_five_columns() {
        for (value, text) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (9.94, "9.9"),
            (9.96, "10"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (12_345.0, "12k"),
            (999_600.0, "1.0M"),
            (2.5e9, "2.5G"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!((whole(9_999), whole(65_536)), ("9999".into(), "66k".into()));
    }

    #[test]
    fn durations_take_six_columns() {
        for (ns, text) in [
            (850, "850ns"),
            (1_234, "1.2µs"),
            (999_600, "1.0ms"),
            (45_000_000, "45ms"),
            (2_500_000_000, "2.5s"),
            (99 * SECOND_NS, "99s"),
            (125 * SECOND_NS, "2m05s"),
            (12_000 * SECOND_NS, "3h20m"),
            (356_400 * SECOND_NS, "4d03h"),
        ] {
            assert_eq!(duration(ns, "µ"), text);
        }
    }

    #[test]
    fn deadlines() {
        // 2026-11-24 06:40:00.5 UTC
        let now_ns = 1_795_502_400_500_000_000;
        let at = |sec| Deadline::At(Timeout { sec, nsec: 0 });
        for (until, narrow, wide) in [
            (Deadline::Never, "no limit", "no limit"),
            (Deadline::Unknown, "?", "?"),
            (at(1_795_502_403), "06:40:03", "06:40:03 in 2.5s"),
            (at(1_795_502_399), "06:39:59", "06:39:59 in 0ns"),
            (at(1_795_602_400), "26-11-25", "2026-11-25T10:26:40"),
            (at(i64::MAX), "@9223372036854775807", "@9223372036854775807"),
        ] {
            assert_eq!(deadline(until, now_ns, false), narrow);
            assert_eq!(deadline(until, now_ns, true), wide);
        }
        assert_eq!(clock(now_ns), "06:40:00");
    }
}
