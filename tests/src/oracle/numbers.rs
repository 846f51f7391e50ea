//! The numbers that a span carries for names that strace prints, from the kernel's asm-generic
//! headers.

/// Errors that the `mq_*` calls return, and what a signal makes of them inside the kernel.
const ERRNOS: [(&str, i64); 19] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EINTR", 4),
    ("EBADF", 9),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EINVAL", 22),
    ("ENFILE", 23),
    ("EMFILE", 24),
    ("ENOSPC", 28),
    ("ENAMETOOLONG", 36),
    ("EOVERFLOW", 75),
    ("EMSGSIZE", 90),
    ("ETIMEDOUT", 110),
    ("ERESTARTSYS", 512),
];

/// `SIGHUP` is 1, and so on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The first signal that strace calls `SIGRT_n`.
const FIRST_REAL_TIME: i64 = 32;

pub(super) fn errno(name: &str) -> Option<i64> {
    ERRNOS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// Parses `SIGUSR1`, `SIGRT_2`, `SIGRTMIN`, `SIGRTMAX`, or a number for a signal without a name.
pub(super) fn signal(name: &str) -> Option<i64> {
    if let Some(n) = name.strip_prefix("SIGRT_") {
        return Some(FIRST_REAL_TIME + n.parse::<i64>().ok()?);
    }
    let Some(name) = name.strip_prefix("SIG") else {
        return signed(name).map(i64::from);
    };
    match name {
        "RTMIN" => Some(FIRST_REAL_TIME),
        "RTMAX" => Some(64),
        _ => {
            let at = SIGNALS.iter().position(|known| *known == name)?;
            i64::try_from(at + 1).ok()
        }
    }
}

/// Parses an `int` of which strace prints the bits.
pub(super) fn signed(text: &str) -> Option<i32> {
    let bits = unsigned(text)?;
    i32::try_from(bits.cast_signed())
        .ok()
        .or_else(|| Some(u32::try_from(bits).ok()?.cast_signed()))
}

/// A number as strace prints arguments: decimal, hexadecimal or octal.
pub(super) fn unsigned(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    if let Some(negative) = text.strip_prefix('-') {
        return Some(negative.parse::<u64>().ok()?.wrapping_neg());
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_numbers() {
        assert_eq!(errno("EMSGSIZE"), Some(90));
        assert_eq!(errno("ENOTHING"), None);
        for (name, number) in [
            ("SIGHUP", 1),
            ("SIGUSR2", 12),
            ("SIGSYS", 31),
            ("SIGRT_2", 34),
            ("SIGRTMAX", 64),
            ("0x7f", 127),
            ("0xffffffff", -1),
        ] {
            assert_eq!(signal(name), Some(number), "{name}");
        }
    }

    #[test]
    fn numbers_come_in_three_bases() {
        for (text, number) in [
            ("0", 0),
            ("0600", 0o600),
            ("0x10", 16),
            ("18446744073709551615", u64::MAX),
            ("-1", u64::MAX),
        ] {
            assert_eq!(unsigned(text), Some(number), "{text}");
        }
    }
}
