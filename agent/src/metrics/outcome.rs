//! How a call ended, as the attributes of its series say it.

use std::borrow::Cow;

use crate::config::Traces;
use crate::errno;
use crate::event::{Call, Operation};
use crate::kernel::LostKind;
use crate::status;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcome {
    end: End,
    /// Whether the span's status is `ERROR`.
    is_error: bool,
}

/// Numbers are cut to 14 bits. Those of the kernel have 12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    Success,
    /// The number that the program sees.
    Errno(u16),
    /// The signal that ended the thread.
    Signal(u16),
    /// A signal ended the wait, and the kernel enters the call again.
    Reentered,
}

const MAX_NUMBER: u16 = 0x3fff;

impl Outcome {
    #[inline]
    pub(super) fn of(call: &Call<'_>, traces: &Traces) -> Self {
        let end = match (call.death_signal, call.errno()) {
            (Some(signal), _) => End::Signal(number(signal)),
            (None, Some(errno)) => End::Errno(number(errno)),
            (None, None) if call.ret < 0 => End::Reentered,
            (None, None) => End::Success,
        };
        Self::new(end, call.operation, traces)
    }

    pub(super) fn of_lost(kind: &LostKind, operation: Operation, traces: &Traces) -> Self {
        let end = match (kind.death_signal, kind.error) {
            (Some(signal), _) => End::Signal(number(signal)),
            (None, 0) => End::Success,
            (None, errno) if i32::from(errno) == errno::ERESTARTSYS => End::Reentered,
            (None, errno) => End::Errno(number(errno)),
        };
        Self::new(end, operation, traces)
    }

    #[inline]
    fn new(end: End, operation: Operation, traces: &Traces) -> Self {
        let is_error = match end {
            End::Success | End::Reentered => false,
            End::Errno(errno) => {
                status::is_error(operation, errno.into(), &traces.unset_status_errnos)
            }
            End::Signal(_) => true,
        };
        Self { end, is_error }
    }

    pub fn is_success(self) -> bool {
        self.end == End::Success
    }

    /// Whether the call goes on: the kernel enters it again.
    pub fn is_reentered(self) -> bool {
        self.end == End::Reentered
    }

    /// `posix_mq.errno`, as in the span.
    pub fn errno(self) -> Option<Cow<'static, str>> {
        match self.end {
            End::Errno(errno) => Some(errno::symbol(errno.into())),
            End::Success | End::Signal(_) | End::Reentered => None,
        }
    }

    /// `error.type`, as in the span.
    pub fn error_type(self) -> Option<Cow<'static, str>> {
        match self.end {
            End::Errno(errno) => self.is_error.then(|| errno::symbol(errno.into())),
            End::Signal(signal) => Some(errno::signal_name(signal.into())),
            End::Success | End::Reentered => None,
        }
    }

    /// A number of 17 bits, of this outcome alone.
    #[inline]
    pub(super) fn bits(self) -> u64 {
        let (kind, number) = match self.end {
            End::Success => (0, 0),
            End::Errno(errno) => (1, errno),
            End::Signal(signal) => (2, signal),
            End::Reentered => (3, 0),
        };
        u64::from(number) << 3 | kind << 1 | u64::from(self.is_error)
    }
}

fn number(number: impl TryInto<u16>) -> u16 {
    number.try_into().unwrap_or(MAX_NUMBER).min(MAX_NUMBER)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::test_calls;

    fn outcome(ret: i64, death_signal: Option<u32>, reentered: bool) -> Outcome {
        let call = Call {
            ret,
            death_signal,
            reentered,
            ..test_calls::receive()
        };
        Outcome::of(&call, &Traces::default())
    }

    fn told(outcome: Outcome) -> (Option<String>, Option<String>) {
        let owned = |name: Option<Cow<'static, str>>| name.map(Cow::into_owned);
        (owned(outcome.errno()), owned(outcome.error_type()))
    }

    #[test]
    fn an_errno_is_of_every_failure_and_an_error_of_those_that_are_errors() {
        for (ret, signal, reentered, errno, error) in [
            (0, None, false, None, None),
            (8_192, None, false, None, None),
            (-110, None, false, Some("ETIMEDOUT"), None),
            (-4, None, false, Some("EINTR"), None),
            (-512, None, false, Some("EINTR"), None),
            (-512, None, true, None, None),
            (-90, None, false, Some("EMSGSIZE"), Some("EMSGSIZE")),
            (-4_000, None, false, Some("errno 4000"), Some("errno 4000")),
            (
                i64::MIN,
                None,
                false,
                Some("errno 16383"),
                Some("errno 16383"),
            ),
            (-512, Some(9), false, None, Some("SIGKILL")),
            (0, Some(9), false, None, Some("SIGKILL")),
        ] {
            let outcome = outcome(ret, signal, reentered);
            let expected = (errno.map(str::to_owned), error.map(str::to_owned));
            assert_eq!(told(outcome), expected, "{ret} {signal:?} {reentered}");
            assert_eq!(outcome.is_success(), ret >= 0 && signal.is_none());
            assert_eq!(outcome.is_reentered(), reentered);
        }
    }

    #[test]
    fn a_lost_call_ends_like_one_that_was_not_lost() {
        for (error, death_signal, same) in [
            (0, None, outcome(0, None, false)),
            (110, None, outcome(-110, None, false)),
            (4, None, outcome(-512, None, false)),
            (512, None, outcome(-512, None, true)),
            (0, Some(15), outcome(-512, Some(15), false)),
        ] {
            let kind = LostKind {
                queue: None,
                ipc_namespace: 1,
                operation: 0,
                error,
                death_signal,
            };
            let operation = test_calls::receive().operation;
            let lost = Outcome::of_lost(&kind, operation, &Traces::default());
            assert_eq!(lost, same, "{error} {death_signal:?}");
        }
    }

    #[test]
    fn different_outcomes_have_different_bits() {
        let all = [
            (0, None, false),
            (-512, None, true),
            (-4, None, false),
            (-9, None, false),
            (-90, None, false),
            (0, Some(9), false),
            (0, Some(4), false),
        ];
        let bits = all.map(|(ret, signal, reentered)| outcome(ret, signal, reentered).bits());
        assert_eq!(HashSet::from(bits).len(), all.len());
        assert!(bits.iter().all(|bits| *bits < 1 << 17));
    }
}
