//! Sample calls for unit tests.

use std::borrow::Cow;

use crate::event::{
    Abi, Call, CallKey, Cause, Operation, ProcessKey, Queue, SendFate, Sender, Timeout,
};
use crate::skel::types::{call_abi, call_event, call_flag, call_op, event_kind};

/// The send of the message that [`receive`] takes.
pub(crate) const SEND: CallKey = CallKey {
    tid: 99,
    start_ns: 800_000,
};

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
        has_timeout: true,
        queue: Some(Queue {
            ino: 42,
            max_messages: 10,
            max_message_size: 64,
        }),
        depth: Some(1),
        nonblocking: Some(false),
        open: None,
        notify: None,
        made_message: false,
        sender: Some(Sender {
            cause: Cause {
                call: SEND,
                root: SEND,
                application_trace: None,
                is_parent: true,
            },
            created_ns: 810_000,
            fate: SendFate::Told,
        }),
        receive_before: None,
        no_wait: false,
        application: None,
        restarts: None,
        reentered: false,
        unlinked: false,
        start_unknown: false,
        undecided: false,
        death_signal: None,
        payload: None,
    }
}

/// The same call, as the record of full size that the kernel writes.
pub(crate) fn raw_receive() -> Vec<u8> {
    let call = receive();
    let mut raw = call_event {
        kind: u8::try_from(event_kind::EVENT_CALL.0).unwrap_or_default(),
        op: u8::try_from(call_op::CALL_TIMEDRECEIVE_TIME32.0).unwrap_or_default(),
        abi: u8::try_from(call_abi::ABI_I386.0).unwrap_or_default(),
        flags: call_flag::CALL_NAME.0,
        ipc_ns: call.ipc_namespace,
        ..call_event::default()
    };
    let name = call.name.unwrap_or_default();
    raw.name_len = u32::try_from(name.len()).unwrap_or_default();
    for (to, byte) in raw.name.iter_mut().zip(name.bytes()) {
        *to = byte.cast_signed();
    }
    // SAFETY: `call_event` is `repr(C)` of integers without gaps between them
    // (`events.h` asserts its size), so it is as many initialised bytes.
    let bytes = unsafe {
        std::slice::from_raw_parts((&raw const raw).cast::<u8>(), size_of::<call_event>())
    };
    bytes.to_vec()
}
