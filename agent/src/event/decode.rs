//! Decodes records of the ring buffer into [`Event`]s.
//!
//! The bytes are untrusted: length and kind are checked, and a field without
//! its flag reads as absent. The layout is `bpf/events.h`.

use std::borrow::Cow;
use std::mem::offset_of;

use super::{
    Abi, ApplicationSpan, ApplicationTrace, Call, CallKey, Cause, DecodeError, EnvironmentSeen,
    Event, Notify, OpenArguments, Operation, PathKind, PathSeen, PidLevel, ProcessKey, ProcessSeen,
    Queue, SendFate, Sender, Timeout, lossy,
};
use crate::owner::Owner;
use crate::skel::types::{
    call_context, call_event, call_flag, environment_event, event_kind, execution, path_event,
    path_kind, pid_level, process_event,
};

impl<'a> Event<'a> {
    /// Decodes one record of the ring buffer. Decoding a call allocates only
    /// for a string that is not UTF-8, whose invalid bytes become U+FFFD.
    ///
    /// # Errors
    /// [`DecodeError`] for a record that `events.h` does not describe.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let kind = *bytes.first().ok_or(DecodeError::TooShort(0))?;
        match event_kind(kind.into()) {
            event_kind::EVENT_CALL => parse_call(bytes, &Context::default()).map(Self::Call),
            event_kind::EVENT_CALL_IN_CONTEXT => {
                let context = Context::parse(bytes)?;
                let rest = bytes.get(size_of::<call_context>()..).unwrap_or_default();
                parse_call(rest, &context).map(Self::Call)
            }
            event_kind::EVENT_PROCESS => parse_process(bytes).map(Self::Process),
            event_kind::EVENT_ENVIRONMENT => parse_environment(bytes).map(Self::Environment),
            event_kind::EVENT_PATH => parse_path(bytes).map(Self::Path),
            _ => Err(DecodeError::UnknownKind(kind)),
        }
    }
}

/// What is in front of a call's record where an application's trace is involved.
#[derive(Default)]
struct Context {
    application: Option<ApplicationSpan>,
    root_trace: Option<ApplicationTrace>,
}

impl Context {
    fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: call_context = plain(bytes)?;
        let trace = |words, flags| ApplicationTrace {
            id: bytes_of(words),
            flags,
        };
        let span = raw.span;
        Ok(Self {
            application: (span.is_known != 0).then(|| ApplicationSpan {
                trace: trace(span.trace_id, span.trace_flags),
                id: span.span_id.to_ne_bytes(),
            }),
            root_trace: (raw.has_root_trace != 0)
                .then(|| trace(raw.root_trace_id, raw.root_trace_flags)),
        })
    }
}

/// The bytes that the kernel has read as two words.
fn bytes_of([first, second]: [u64; 2]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes
        .iter_mut()
        .zip(first.to_ne_bytes().into_iter().chain(second.to_ne_bytes()))
    {
        *to = from;
    }
    bytes
}

fn parse_call<'a>(bytes: &'a [u8], context: &Context) -> Result<Call<'a>, DecodeError> {
    const FIXED: usize = offset_of!(call_event, name);
    let fixed = bytes
        .get(..FIXED)
        .ok_or(DecodeError::TooShort(bytes.len()))?;
    let mut raw = call_event::default();
    // SAFETY: `call_event` is `repr(C)` of integers only, so any bytes are a
    // value of it; `fixed` has FIXED bytes, no more than the struct.
    unsafe {
        std::ptr::copy_nonoverlapping(fixed.as_ptr(), (&raw mut raw).cast::<u8>(), FIXED);
    }
    let has = |flag: call_flag| raw.flags & flag.0 != 0;
    let operation = Operation::from_raw(raw.op).ok_or(DecodeError::UnknownKind(raw.op))?;
    let name = if has(call_flag::CALL_NAME) {
        let name = bytes
            .get(FIXED..FIXED + raw.name_len as usize)
            .ok_or(DecodeError::TooShort(bytes.len()))?;
        Some(lossy(name))
    } else {
        None
    };
    let comm_at = offset_of!(call_event, comm);
    let cause = Cause {
        call: CallKey {
            tid: raw.cause_tid,
            start_ns: raw.cause_start_ns,
        },
        root: CallKey {
            tid: raw.root_tid,
            start_ns: raw.root_start_ns,
        },
        application_trace: context.root_trace,
        is_parent: has(call_flag::CALL_CHILD),
    };
    Ok(Call {
        operation,
        abi: Abi::from_raw(raw.abi).ok_or(DecodeError::UnknownKind(raw.abi))?,
        start_ns: raw.start_ns,
        end_ns: raw.end_ns.max(raw.start_ns),
        ret: raw.ret,
        process: ProcessKey {
            pid: raw.pid,
            start_ns: raw.process_start_ns,
            exec_id: raw.exec_id,
        },
        tid: raw.tid,
        comm: text(fixed.get(comm_at..comm_at + raw.comm.len())),
        ipc_namespace: raw.ipc_ns,
        mqdes: (operation.takes_descriptor() || operation == Operation::MqOpen && raw.ret >= 0)
            .then_some(raw.mqdes),
        name,
        msg_len: raw.msg_len,
        priority: has(call_flag::CALL_PRIORITY).then_some(raw.priority),
        timeout: has(call_flag::CALL_TIMEOUT_READ).then_some(Timeout {
            sec: raw.timeout_sec,
            nsec: raw.timeout_nsec,
        }),
        has_timeout: has(call_flag::CALL_TIMEOUT_GIVEN),
        queue: has(call_flag::CALL_QUEUE).then_some(Queue {
            ino: raw.queue_ino,
            max_messages: raw.max_messages,
            max_message_size: raw.max_message_size,
        }),
        depth: has(call_flag::CALL_DEPTH).then_some(raw.depth),
        nonblocking: has(call_flag::CALL_DESCRIPTOR).then_some(has(call_flag::CALL_NONBLOCK)),
        open: (operation == Operation::MqOpen).then_some(OpenArguments {
            oflag: raw.oflag,
            mode: raw.mode,
        }),
        notify: parse_notify(operation, &raw),
        made_message: operation.is_send() && has(call_flag::CALL_MESSAGE),
        sender: (operation.is_receive() && has(call_flag::CALL_MESSAGE)).then_some(Sender {
            cause,
            created_ns: raw.message_created_ns,
            fate: match (
                has(call_flag::CALL_SENDER_IN_CALL),
                has(call_flag::CALL_SENDER_UNTOLD),
            ) {
                (false, false) => SendFate::Told,
                (false, true) => SendFate::Untold,
                (true, false) => SendFate::InCall,
                (true, true) => SendFate::InDoubt,
            },
        }),
        receive_before: (operation.is_send() && has(call_flag::CALL_CAUSE)).then_some(cause),
        no_wait: has(call_flag::CALL_NO_WAIT),
        application: context.application,
        restarts: has(call_flag::CALL_RESTARTED).then_some(raw.interrupted_start_ns),
        reentered: has(call_flag::CALL_REENTERED),
        unlinked: has(call_flag::CALL_UNLINKED),
        start_unknown: has(call_flag::CALL_START_UNKNOWN),
        undecided: has(call_flag::CALL_UNDECIDED),
        death_signal: has(call_flag::CALL_DIED).then_some(raw.death_signal.into()),
        payload: if has(call_flag::CALL_PAYLOAD) {
            // As PAYLOAD_OFFSET in `events.h`.
            let name_len = if has(call_flag::CALL_NAME) {
                raw.name_len as usize
            } else {
                0
            };
            let start = FIXED + (name_len + 8) / 8 * 8;
            let end = start + raw.payload_len as usize;
            Some(
                bytes
                    .get(start..end)
                    .ok_or(DecodeError::TooShort(bytes.len()))?,
            )
        } else {
            None
        },
    })
}

/// Copies the record of a call without the bytes of the message.
pub fn copy_without_payload(record: &[u8], to: &mut Vec<u8>) {
    let call_at = match record.first() {
        Some(&kind) if event_kind(kind.into()) == event_kind::EVENT_CALL_IN_CONTEXT => {
            size_of::<call_context>()
        }
        _ => 0,
    };
    let word = |at: usize| {
        let bytes = record.get(at..at + 4)?;
        bytes.try_into().ok().map(u32::from_ne_bytes)
    };
    let flags_at = call_at + offset_of!(call_event, flags);
    let flags = word(flags_at).unwrap_or_default();
    let name_len = match flags & call_flag::CALL_NAME.0 {
        0 => 0,
        _ => word(call_at + offset_of!(call_event, name_len)).unwrap_or_default() as usize,
    };
    let len = call_at + offset_of!(call_event, name) + name_len;
    to.clear();
    to.extend_from_slice(record.get(..len.min(record.len())).unwrap_or_default());
    if let Some(bytes) = to.get_mut(flags_at..flags_at + 4) {
        bytes.copy_from_slice(&(flags & !call_flag::CALL_PAYLOAD.0).to_ne_bytes());
    }
}

fn parse_notify(operation: Operation, raw: &call_event) -> Option<Notify> {
    if operation != Operation::MqNotify {
        None
    } else if raw.flags & call_flag::CALL_NOTIFY_NONE.0 != 0 {
        Some(Notify::Unregister)
    } else if raw.flags & call_flag::CALL_ARGUMENTS.0 != 0 {
        Some(Notify::Register {
            notify: raw.notify,
            signo: raw.signo,
        })
    } else {
        None
    }
}

/// Types in `events.h` for which any bytes are a valid value.
trait Plain: Copy {}
impl Plain for call_context {}
impl Plain for process_event {}
impl Plain for execution {}

/// Reads a value from the start of `bytes`.
fn plain<T: Plain>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() < size_of::<T>() {
        return Err(DecodeError::TooShort(bytes.len()));
    }
    // SAFETY: `T` is `repr(C)` of integers only, so any bytes are a value of
    // it; there are as many, and the read asks no alignment.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn key_of(raw: &execution) -> ProcessKey {
    ProcessKey {
        pid: raw.pid,
        start_ns: raw.process_start_ns,
        exec_id: raw.exec_id,
    }
}

fn parse_process(bytes: &[u8]) -> Result<ProcessSeen<'_>, DecodeError> {
    let raw: process_event = plain(bytes)?;
    let comm_at = offset_of!(process_event, comm);
    let levels: &[pid_level] = &raw.pids;
    Ok(ProcessSeen {
        key: key_of(&raw.execution),
        uid: raw.uid,
        owner: Owner::from_raw(&raw.owner),
        user_namespace: raw.user_ns,
        pids: levels
            .iter()
            .take(raw.pid_levels.into())
            .map(|level| PidLevel {
                pid: level.pid,
                namespace: level.ns,
            })
            .collect(),
        cgroup_id: raw.cgroup_id,
        comm: text(bytes.get(comm_at..comm_at + raw.comm.len())),
    })
}

/// Reads what path and environment events have in common. The length and the
/// execution are at `len_at` and `execution_at`; the bytes that the length
/// counts start at `at`.
fn execution_and_rest(
    bytes: &[u8],
    (len_at, execution_at, at): (usize, usize, usize),
) -> Result<(ProcessKey, &[u8]), DecodeError> {
    let too_short = || DecodeError::TooShort(bytes.len());
    let len = bytes
        .get(len_at..len_at + 4)
        .and_then(|len| len.try_into().ok())
        .map(u32::from_ne_bytes)
        .ok_or_else(too_short)?;
    let execution = plain(bytes.get(execution_at..).ok_or_else(too_short)?)?;
    let rest = bytes.get(at..at + len as usize).ok_or_else(too_short)?;
    Ok((key_of(&execution), rest))
}

fn parse_environment(bytes: &[u8]) -> Result<EnvironmentSeen<'_>, DecodeError> {
    let places = (
        offset_of!(environment_event, len),
        offset_of!(environment_event, execution),
        offset_of!(environment_event, environ),
    );
    let (key, environ) = execution_and_rest(bytes, places)?;
    let is_whole = bytes.get(offset_of!(environment_event, is_whole));
    Ok(EnvironmentSeen {
        key,
        is_whole: is_whole.is_some_and(|whole| *whole != 0),
        environ,
    })
}

fn parse_path(bytes: &[u8]) -> Result<PathSeen<'_>, DecodeError> {
    let places = (
        offset_of!(path_event, len),
        offset_of!(path_event, execution),
        offset_of!(path_event, parts),
    );
    let (key, parts) = execution_and_rest(bytes, places)?;
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let kind = byte(offset_of!(path_event, path));
    let tenant_at = offset_of!(path_event, tenant_at);
    let tenant_at = bytes
        .get(tenant_at..tenant_at + 4)
        .and_then(|at| at.try_into().ok())
        .map_or(usize::MAX, |at| u32::from_ne_bytes(at) as usize);
    Ok(PathSeen {
        key,
        kind: match path_kind(kind.into()) {
            path_kind::PATH_EXE => PathKind::Exe,
            path_kind::PATH_CGROUP => PathKind::Cgroup,
            _ => return Err(DecodeError::UnknownKind(kind)),
        },
        is_whole: byte(offset_of!(path_event, is_whole)) != 0,
        parts,
        tenant: parts.get(tenant_at..).map(|name| text(Some(name))),
    })
}

/// The bytes before the first zero byte.
fn text(bytes: Option<&[u8]>) -> Cow<'_, str> {
    let bytes = bytes.unwrap_or_default();
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    lossy(bytes.get(..end).unwrap_or_default())
}
