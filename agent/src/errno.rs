//! Names and numbers of Linux error codes and signals.
//!
//! The error codes are the same in all ABIs of x86 and Arm. Where two names
//! share a number, [`name`] returns the one that the kernel defines by its
//! number, and [`number`] knows both.

use std::borrow::Cow;
use std::sync::LazyLock;

use nix::errno::Errno;
use nix::sys::signal::Signal;

/// `ERESTARTSYS` of the kernel's `include/linux/errno.h`: a signal interrupted
/// the call, and the kernel either restarts it or ends it with `EINTR` in user
/// space. A hook on the kernel's return sees 512, never 4.
pub const ERESTARTSYS: i32 = 512;

/// The highest number, `EHWPOISON`.
const LAST: i32 = libc::EHWPOISON;

/// Name and description of each error code, indexed by number.
static CODES: LazyLock<Vec<Option<Code>>> = LazyLock::new(|| (0..=LAST).map(Code::of).collect());

struct Code {
    name: String,
    description: &'static str,
}

impl Code {
    fn of(number: i32) -> Option<Self> {
        let errno = Errno::from_raw(number);
        (number != 0 && errno != Errno::UnknownErrno).then(|| Self {
            name: format!("{errno:?}"),
            description: errno.desc(),
        })
    }
}

fn code(errno: i32) -> Option<&'static Code> {
    let at = usize::try_from(as_seen_by_user_space(errno)).ok()?;
    CODES.get(at)?.as_ref()
}

/// The symbol of a positive error number, for example `ETIMEDOUT` for 110.
///
/// The kernel's internal 512 gives `EINTR`, as user space would see it. `None`
/// for a number without a name.
#[must_use]
pub fn name(errno: i32) -> Option<&'static str> {
    Some(code(errno)?.name.as_str())
}

/// The symbol of a positive error number, or what stands for it if it has none.
#[must_use]
pub fn symbol(errno: i32) -> Cow<'static, str> {
    match name(errno) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("errno {errno}")),
    }
}

/// The description of a positive error number in English; 512 as in [`name`].
#[must_use]
pub fn description(errno: i32) -> Option<&'static str> {
    Some(code(errno)?.description)
}

/// The positive error number of a symbol, for example 110 for `ETIMEDOUT`.
///
/// Names are upper case. Second names such as `EWOULDBLOCK` are known, too.
/// `None` for a name that the kernel does not define.
#[must_use]
pub fn number(name: &str) -> Option<i32> {
    match name {
        "EWOULDBLOCK" => Some(libc::EWOULDBLOCK),
        "EDEADLOCK" => Some(libc::EDEADLOCK),
        "ENOTSUP" => Some(libc::ENOTSUP),
        _ => (1..=LAST).find(|number| self::name(*number) == Some(name)),
    }
}

/// The number that user space gets for `errno`: `EINTR` for the kernel's
/// internal 512, any other number unchanged.
#[must_use]
pub fn as_seen_by_user_space(errno: i32) -> i32 {
    if errno == ERESTARTSYS {
        libc::EINTR
    } else {
        errno
    }
}

/// All symbols, ordered by number.
pub fn names() -> impl Iterator<Item = &'static str> {
    (1..=LAST).filter_map(name)
}

/// The name of a signal, such as `SIGKILL`, or `SIGRTMIN+1` for a real-time
/// signal.
#[must_use]
pub fn signal_name(signal: u32) -> Cow<'static, str> {
    let known = i32::try_from(signal).ok();
    match known.and_then(|signal| Signal::try_from(signal).ok()) {
        Some(signal) => signal.as_str().into(),
        None if signal >= 34 => format!("SIGRTMIN+{}", signal - 34).into(),
        None => format!("SIG{signal}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_up_to_133_but_the_two_gaps_has_a_name_that_leads_back() {
        for errno in 1..=133 {
            match name(errno) {
                Some(symbol) => assert_eq!(number(symbol), Some(errno), "{symbol}"),
                None => assert!(errno == 41 || errno == 58, "{errno}"),
            }
        }
        assert_eq!(names().count(), 131);
    }

    #[test]
    fn numbers_agree_with_the_c_library() {
        for (symbol, errno) in [
            ("EINTR", libc::EINTR),
            ("EAGAIN", libc::EAGAIN),
            ("EBADF", libc::EBADF),
            ("EINVAL", libc::EINVAL),
            ("EMSGSIZE", libc::EMSGSIZE),
            ("ETIMEDOUT", libc::ETIMEDOUT),
            ("EWOULDBLOCK", libc::EWOULDBLOCK),
            ("EDEADLOCK", libc::EDEADLOCK),
            ("ENOTSUP", libc::ENOTSUP),
            ("EHWPOISON", libc::EHWPOISON),
        ] {
            assert_eq!(number(symbol), Some(errno), "{symbol}");
        }
    }

    #[test]
    fn shared_numbers_and_the_restart_code() {
        assert_eq!(name(11), Some("EAGAIN"));
        assert_eq!(name(35), Some("EDEADLK"));
        assert_eq!(name(95), Some("EOPNOTSUPP"));
        assert_eq!(name(512), Some("EINTR"));
        assert_eq!(number("ERESTARTSYS"), None);
        for unnamed in [0, -110, 134, 511, 513, i32::MIN, i32::MAX] {
            assert_eq!(name(unnamed), None, "{unnamed}");
        }
    }
}
