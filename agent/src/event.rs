//! Decode: bytes from the ring buffer become an [`Event`].
//!
//! The bytes are untrusted: length and kind are checked, and every field that
//! a flag does not vouch for reads as absent. The layout is `bpf/events.h`.

use std::borrow::Cow;
use std::mem::offset_of;

use crate::skel::types::{call_abi, call_event, call_flag, call_op, event_kind, process_event};

/// What the kernel side reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// One call, from entry to return.
    Call(Call<'a>),
    /// A process, at its first call and its first after `execve()`.
    Process(ProcessSeen<'a>),
}

/// Why bytes are no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than what the kind asks for.
    #[error("record of {0} bytes is too short")]
    TooShort(usize),
    /// A kind, operation or ABI that `events.h` does not have.
    #[error("record of unknown kind {0}")]
    UnknownKind(u8),
}

/// The operation, by the name its entry has in its own ABI's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the system calls")]
pub enum Operation {
    MqOpen,
    MqUnlink,
    MqTimedsend,
    MqTimedsendTime32,
    MqTimedsendTime64,
    MqTimedreceive,
    MqTimedreceiveTime32,
    MqTimedreceiveTime64,
    MqNotify,
    MqGetsetattr,
}

impl Operation {
    pub(crate) fn from_raw(op: u8) -> Option<Self> {
        Some(match call_op(op.into()) {
            call_op::CALL_OPEN => Self::MqOpen,
            call_op::CALL_UNLINK => Self::MqUnlink,
            call_op::CALL_TIMEDSEND => Self::MqTimedsend,
            call_op::CALL_TIMEDSEND_TIME32 => Self::MqTimedsendTime32,
            call_op::CALL_TIMEDSEND_TIME64 => Self::MqTimedsendTime64,
            call_op::CALL_TIMEDRECEIVE => Self::MqTimedreceive,
            call_op::CALL_TIMEDRECEIVE_TIME32 => Self::MqTimedreceiveTime32,
            call_op::CALL_TIMEDRECEIVE_TIME64 => Self::MqTimedreceiveTime64,
            call_op::CALL_NOTIFY => Self::MqNotify,
            call_op::CALL_GETSETATTR => Self::MqGetsetattr,
            _ => return None,
        })
    }

    /// `messaging.operation.name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MqOpen => "mq_open",
            Self::MqUnlink => "mq_unlink",
            Self::MqTimedsend => "mq_timedsend",
            Self::MqTimedsendTime32 => "mq_timedsend_time32",
            Self::MqTimedsendTime64 => "mq_timedsend_time64",
            Self::MqTimedreceive => "mq_timedreceive",
            Self::MqTimedreceiveTime32 => "mq_timedreceive_time32",
            Self::MqTimedreceiveTime64 => "mq_timedreceive_time64",
            Self::MqNotify => "mq_notify",
            Self::MqGetsetattr => "mq_getsetattr",
        }
    }

    /// A variant of `mq_timedsend`.
    pub fn is_send(self) -> bool {
        matches!(
            self,
            Self::MqTimedsend | Self::MqTimedsendTime32 | Self::MqTimedsendTime64
        )
    }

    /// A variant of `mq_timedreceive`.
    pub fn is_receive(self) -> bool {
        matches!(
            self,
            Self::MqTimedreceive | Self::MqTimedreceiveTime32 | Self::MqTimedreceiveTime64
        )
    }

    /// Takes a descriptor: all but `mq_open` and `mq_unlink`.
    pub fn takes_descriptor(self) -> bool {
        !matches!(self, Self::MqOpen | Self::MqUnlink)
    }
}

/// The ABI that the call came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the ABIs")]
pub enum Abi {
    X86_64,
    I386,
    Aarch64,
    Arm,
}

impl Abi {
    fn from_raw(abi: u8) -> Option<Self> {
        Some(match call_abi(abi.into()) {
            call_abi::ABI_X86_64 => Self::X86_64,
            call_abi::ABI_I386 => Self::I386,
            call_abi::ABI_AARCH64 => Self::Aarch64,
            call_abi::ABI_ARM => Self::Arm,
            _ => return None,
        })
    }

    /// `posix_mq.abi`.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
            Self::Aarch64 => "aarch64",
            Self::Arm => "arm",
        }
    }
}

/// One execution of a program: a process between two `execve()` calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Thread group id in the initial PID namespace.
    pub pid: u32,
    /// Start of the process, `CLOCK_BOOTTIME` nanoseconds.
    pub start_ns: u64,
    /// `execve()` calls so far, `task_struct.self_exec_id`.
    pub exec_id: u32,
}

/// One call. Times are `CLOCK_BOOTTIME` nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Call<'a> {
    /// Which system call.
    pub operation: Operation,
    /// By which ABI.
    pub abi: Abi,
    /// Entry; the time of attachment if `start_unknown`.
    pub start_ns: u64,
    /// Return, or the death of the thread.
    pub end_ns: u64,
    /// What the kernel returned: bytes, a descriptor, 0, or a negative errno.
    pub ret: i64,
    /// Whose call.
    pub process: ProcessKey,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// Name of the thread.
    pub comm: Cow<'a, str>,
    /// Inode number of the IPC namespace: the queue's, else the caller's.
    pub ipc_namespace: u32,
    /// The descriptor: the argument, or what `mq_open` returned.
    pub mqdes: Option<i32>,
    /// Name of the queue with its leading slash.
    pub name: Option<Cow<'a, str>>,
    /// Send and receive: the argument, bytes.
    pub msg_len: u64,
    /// Of the message: a send's argument, or what a receive got.
    pub priority: Option<u32>,
    /// Absolute timeout as passed; `None` without one or where unreadable.
    pub timeout: Option<Timeout>,
    /// A timeout was passed, readable or not.
    pub has_timeout: bool,
    /// What is behind the descriptor, if it is a queue.
    pub queue: Option<Queue>,
    /// Messages in the queue at the return.
    pub depth: Option<u32>,
    /// `O_NONBLOCK` on the descriptor; `None` if the descriptor is not open.
    pub nonblocking: Option<bool>,
    /// Arguments of `mq_open`.
    pub open: Option<OpenArguments>,
    /// Argument of `mq_notify`.
    pub notify: Option<Notify>,
    /// Receive: the send that made the message, where it was seen.
    pub sender: Option<Sender>,
    /// Start of the interrupted call that this one restarts.
    pub restarts: Option<u64>,
    /// The call was blocked already when the agent attached.
    pub start_unknown: bool,
    /// The kernel could not tell whether the filter wants it.
    pub undecided: bool,
    /// The signal that ended the thread inside the call.
    pub death_signal: Option<u32>,
    /// The first bytes of the message, where their capture is on.
    pub payload: Option<&'a [u8]>,
}

impl Call<'_> {
    /// Bytes of the message of a send or receive that succeeded.
    pub fn body_size(&self) -> Option<i64> {
        if self.ret < 0 {
            None
        } else if self.operation.is_send() {
            Some(i64::try_from(self.msg_len).unwrap_or(i64::MAX))
        } else if self.operation.is_receive() {
            Some(self.ret)
        } else {
            None
        }
    }
}

/// An absolute timeout, `CLOCK_REALTIME`, as the program passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout {
    /// Seconds; negative is not valid.
    pub sec: i64,
    /// Nanoseconds; valid from 0 to 999,999,999.
    pub nsec: i64,
}

impl Timeout {
    /// As `timespec64_valid()` in `include/linux/time64.h`.
    pub fn is_valid(self) -> bool {
        self.sec >= 0 && (0..1_000_000_000).contains(&self.nsec)
    }
}

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Inode number, unique in the running kernel.
    pub ino: u64,
    /// Limit on messages, `mq_maxmsg`.
    pub max_messages: u32,
    /// Limit on the bytes of one message, `mq_msgsize`.
    pub max_message_size: u32,
}

/// Arguments of `mq_open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenArguments {
    /// `O_RDONLY`, `O_CREAT`, ...
    pub oflag: u32,
    /// Permissions; meaningful with `O_CREAT` only.
    pub mode: u32,
}

/// Argument of `mq_notify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// A NULL pointer: the registration is taken back.
    Unregister,
    /// `sigev_notify` and `sigev_signo`.
    Register {
        /// `SIGEV_SIGNAL`, `SIGEV_NONE` or `SIGEV_THREAD`.
        notify: i32,
        /// The signal, with `SIGEV_SIGNAL`.
        signo: i32,
    },
}

/// The send of a message that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Thread id of the sender.
    pub tid: u32,
    /// Entry of the send, `CLOCK_BOOTTIME` nanoseconds.
    pub start_ns: u64,
    /// When the message was made, `CLOCK_BOOTTIME` nanoseconds.
    pub created_ns: u64,
}

/// What the kernel knows of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSeen<'a> {
    /// Which execution.
    pub key: ProcessKey,
    /// Real user id.
    pub uid: u32,
    /// `kernfs_node.id` of the cgroup that `cgroup` names.
    pub cgroup_id: u64,
    /// Name of the thread group leader.
    pub comm: Cow<'a, str>,
    /// Last part of the executable's path.
    pub exe_name: Cow<'a, str>,
    /// Last part of the cgroup v2 path.
    pub cgroup: Cow<'a, str>,
    /// The part before the last one.
    pub cgroup_parent: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// Reads one record of the ring buffer. No allocation, unless a string in
    /// it is not UTF-8: such bytes become U+FFFD.
    ///
    /// # Errors
    /// [`DecodeError`] for what `events.h` does not describe.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let kind = *bytes.first().ok_or(DecodeError::TooShort(0))?;
        match event_kind(kind.into()) {
            event_kind::EVENT_CALL => parse_call(bytes).map(Self::Call),
            event_kind::EVENT_PROCESS => parse_process(bytes).map(Self::Process),
            _ => Err(DecodeError::UnknownKind(kind)),
        }
    }
}

fn parse_call(bytes: &[u8]) -> Result<Call<'_>, DecodeError> {
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
        sender: (operation.is_receive() && has(call_flag::CALL_MESSAGE)).then_some(Sender {
            tid: raw.sender_tid,
            start_ns: raw.sender_start_ns,
            created_ns: raw.message_created_ns,
        }),
        restarts: has(call_flag::CALL_RESTARTED).then_some(raw.interrupted_start_ns),
        start_unknown: has(call_flag::CALL_START_UNKNOWN),
        undecided: has(call_flag::CALL_UNDECIDED),
        death_signal: has(call_flag::CALL_DIED).then_some(raw.death_signal.into()),
        payload: if has(call_flag::CALL_PAYLOAD) {
            let start = size_of::<call_event>();
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

fn parse_process(bytes: &[u8]) -> Result<ProcessSeen<'_>, DecodeError> {
    const SIZE: usize = size_of::<process_event>();
    let fixed = bytes
        .get(..SIZE)
        .ok_or(DecodeError::TooShort(bytes.len()))?;
    // SAFETY: `process_event` is `repr(C)` of integers only, so any bytes are
    // a value of it; `fixed` has as many bytes; the read asks no alignment.
    let raw = unsafe { fixed.as_ptr().cast::<process_event>().read_unaligned() };
    let field = |at: usize, size: usize| text(fixed.get(at..at + size));
    Ok(ProcessSeen {
        key: ProcessKey {
            pid: raw.pid,
            start_ns: raw.process_start_ns,
            exec_id: raw.exec_id,
        },
        uid: raw.uid,
        cgroup_id: raw.cgroup_id,
        comm: field(offset_of!(process_event, comm), raw.comm.len()),
        exe_name: field(offset_of!(process_event, exe_name), raw.exe_name.len()),
        cgroup: field(offset_of!(process_event, cgroup), raw.cgroup.len()),
        cgroup_parent: field(
            offset_of!(process_event, cgroup_parent),
            raw.cgroup_parent.len(),
        ),
    })
}

/// The bytes before the first zero byte.
fn text(bytes: Option<&[u8]>) -> Cow<'_, str> {
    let bytes = bytes.unwrap_or_default();
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    lossy(bytes.get(..end).unwrap_or_default())
}

/// Most are proper text, which is found out faster than how much of it is.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
