//! The status of a span: which failures are errors, and what their description
//! says.

use std::fmt::Write as _;

use crate::config::{ErrorCode, UnsetStatusErrnos};
use crate::errno;
use crate::event::{Call, Operation};
use crate::stack_text::StackText;

/// Whether the failure of a call is an error. `errno` is the number that the
/// program sees.
pub fn is_error(operation: Operation, errno: i32, unset: &UnsetStatusErrnos) -> bool {
    let unset = if operation.is_send() {
        &unset.send
    } else if operation.is_receive() {
        &unset.receive
    } else {
        &unset.other
    };
    !unset.contains(&ErrorCode(errno))
}

/// The description of the status `ERROR`. Empty for a call that did not fail.
pub fn message(call: &Call<'_>) -> StackText<96> {
    let mut text = StackText::default();
    if call.death_signal.is_some() {
        text.push("the thread was killed in the call");
        return text;
    }
    let Some(number) = call.errno() else {
        return text;
    };
    let operation = call.operation;
    let (waited, is_wait) = match number {
        libc::ETIMEDOUT => (" until the deadline", true),
        libc::EAGAIN => ("", true),
        _ => ("", false),
    };
    if is_wait && operation.is_receive() {
        text.push("queue empty");
        text.push(waited);
    } else if is_wait && operation.is_send() {
        text.push("queue full");
        if let Some(queue) = call.queue.filter(|_| call.is_queue_full()) {
            let max = queue.max_messages;
            let comma = if waited.is_empty() { "" } else { "," };
            // At most 22 digits, so it fits.
            write!(text, ", {max} of {max}{comma}").unwrap_or_default();
        }
        text.push(waited);
    } else {
        text.push(errno::description(number).unwrap_or("unknown error"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Traces;
    use crate::test_calls::receive;

    fn call(operation: Operation, ret: i64, depth: Option<u32>) -> Call<'static> {
        Call {
            operation,
            ret,
            depth,
            ..receive()
        }
    }

    #[test]
    fn a_full_queue_is_an_error_of_the_send_and_an_empty_one_is_none() {
        let unset = Traces::default().unset_status_errnos;
        use Operation::{MqOpen, MqTimedreceive, MqTimedsendTime32};
        for (operation, errno, expected) in [
            (MqTimedsendTime32, libc::EAGAIN, true),
            (MqTimedsendTime32, libc::ETIMEDOUT, true),
            (MqTimedsendTime32, libc::EINTR, false),
            (MqTimedreceive, libc::EAGAIN, false),
            (MqTimedreceive, libc::ETIMEDOUT, false),
            (MqTimedreceive, libc::EINTR, false),
            (MqTimedreceive, libc::EMSGSIZE, true),
            (MqOpen, libc::EINTR, false),
            (MqOpen, libc::EAGAIN, true),
            (MqOpen, libc::ENOENT, true),
        ] {
            let name = operation.name();
            assert_eq!(
                is_error(operation, errno, &unset),
                expected,
                "{name} {errno}"
            );
        }
    }

    #[test]
    fn descriptions_say_why() {
        use Operation::{MqTimedreceive, MqTimedsend};
        for (call, text) in [
            (
                call(MqTimedsend, -110, Some(10)),
                "queue full, 10 of 10, until the deadline",
            ),
            (call(MqTimedsend, -11, Some(10)), "queue full, 10 of 10"),
            // A receiver came between the deadline and the return.
            (
                call(MqTimedsend, -110, Some(9)),
                "queue full until the deadline",
            ),
            (call(MqTimedsend, -11, None), "queue full"),
            (
                call(MqTimedreceive, -110, Some(0)),
                "queue empty until the deadline",
            ),
            (call(MqTimedreceive, -11, Some(0)), "queue empty"),
            (call(MqTimedsend, -90, Some(10)), "Message too long"),
            (call(MqTimedsend, -600, Some(10)), "unknown error"),
            (call(MqTimedsend, 0, Some(10)), ""),
        ] {
            assert_eq!(message(&call).as_str(), text, "{}", call.ret);
        }
        let mut largest = call(MqTimedsend, -110, Some(u32::MAX));
        if let Some(queue) = &mut largest.queue {
            queue.max_messages = u32::MAX;
        }
        assert!(message(&largest).as_str().ends_with("until the deadline"));
    }
}
