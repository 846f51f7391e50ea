//! Times as text, RFC 3339 in UTC with nanoseconds, without an allocation.

use crate::event::Timeout;

/// Room for `2026-11-24T05:58:30.123456789Z`.
#[derive(Default)]
pub(crate) struct Rfc3339 {
    bytes: [u8; 30],
}

impl Rfc3339 {
    /// The time in UTC. `None` if it is not valid or beyond the year 9999,
    /// which RFC 3339 cannot express. The calendar uses Howard Hinnant's
    /// algorithm ("chrono-compatible low-level date algorithms"), because
    /// jiff's timestamps end some hours before the year 9999 does.
    pub(crate) fn format(&mut self, time: Timeout) -> Option<&str> {
        if !time.is_valid() || time.sec > 253_402_300_799 {
            return None;
        }
        let (days, second) = (time.sec / 86_400, time.sec % 86_400);
        let z = days + 719_468;
        let era = z / 146_097;
        let doe = z % 146_097;
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        self.bytes = *b"0000-00-00T00:00:00.000000000Z";
        self.digits(0, 4, year);
        self.digits(5, 2, month);
        self.digits(8, 2, day);
        self.digits(11, 2, second / 3_600);
        self.digits(14, 2, second / 60 % 60);
        self.digits(17, 2, second % 60);
        self.digits(20, 9, time.nsec);
        std::str::from_utf8(&self.bytes).ok()
    }

    fn digits(&mut self, at: usize, count: usize, mut value: i64) {
        let room = self.bytes.get_mut(at..at + count).unwrap_or_default();
        for digit in room.iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_that_can_be_told_is() {
        for (sec, nsec, text) in [
            (0, 0, Some("1970-01-01T00:00:00.000000000Z")),
            (951_782_400, 1, Some("2000-02-29T00:00:00.000000001Z")),
            (
                1_795_500_000,
                123_456_789,
                Some("2026-11-24T06:00:00.123456789Z"),
            ),
            (4_107_542_399, 0, Some("2100-02-28T23:59:59.000000000Z")),
            (4_107_542_400, 0, Some("2100-03-01T00:00:00.000000000Z")),
            (
                253_402_300_799,
                999_999_999,
                Some("9999-12-31T23:59:59.999999999Z"),
            ),
            (253_402_300_800, 0, None),
            (i64::MAX, 0, None),
            (-1, 0, None),
            (0, 1_000_000_000, None),
            (0, -1, None),
        ] {
            let mut buffer = Rfc3339::default();
            assert_eq!(buffer.format(Timeout { sec, nsec }), text, "{sec}.{nsec}");
        }
    }
}
