//! A call to start from, for unit tests.

use std::borrow::Cow;

use crate::event::{Abi, Call, Operation, ProcessKey, Queue, Sender, Timeout};

/// A 32-bit receive of five bytes whose sender was seen.
pub(crate) fn receive() -> Call<'static> {
    Call {
        operation: Operation::MqTimedreceiveTime32,
        abi: Abi::I386,
        start_ns: 1_000_000,
        end_ns: 1_500_000,
        ret: 5,
        process: ProcessKey {
            pid: 100,
            start_ns: 900_000,
            exec_id: 1,
        },
        tid: 101,
        comm: Cow::Borrowed("orders"),
        ipc_namespace: 4_026_531_839,
        mqdes: Some(3),
        name: Some(Cow::Borrowed("/orders")),
        msg_len: 64,
        priority: Some(7),
        timeout: Some(Timeout {
            sec: 1_795_500_000,
            nsec: 250,
        }),
        queue: Some(Queue {
            ino: 42,
            max_messages: 10,
            max_message_size: 64,
        }),
        depth: Some(1),
        nonblocking: Some(false),
        open: None,
        notify: None,
        sender: Some(Sender {
            tid: 99,
            start_ns: 800_000,
            created_ns: 810_000,
        }),
        restarts: None,
        start_unknown: false,
        death_signal: None,
        payload: None,
    }
}
