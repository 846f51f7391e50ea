//! Events: what the kernel side reports. [`Event::parse`] makes them of bytes
//! from the ring buffer.

mod decode;

use std::borrow::Cow;

use crate::owner::Owner;
use crate::skel::types::{call_abi, call_op};

/// What the kernel side reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// One call, from entry to return.
    Call(Call<'a>),
    /// A process, at its first call and its first after `execve()`.
    Process(ProcessSeen<'a>),
    /// The environment of a process, before its own event.
    Environment(EnvironmentSeen<'a>),
    /// A path of a process, before its own event.
    Path(PathSeen<'a>),
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
pub enum Abi {
    X86_64,
    I386,
    Aarch64,
    Arm,
}

impl Abi {
    fn from_raw(abi: u8) -> Option<Self> {
        Some(match call_abi(abi.into()) {
            call_abi::ABI_X86_64 | call_abi::ABI_X32 => Self::X86_64,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
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
    /// Send: its message was seen, and may be met again in a receive.
    pub made_message: bool,
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
    /// What had become of the send when the message was taken.
    pub fate: SendFate,
}

impl Sender {
    /// Its record came before that of the receive, if it came.
    pub fn is_behind(&self) -> bool {
        matches!(self.fate, SendFate::Told | SendFate::Untold)
    }

    /// The message that it sent.
    pub fn message(&self) -> MessageKey {
        MessageKey {
            tid: self.tid,
            start_ns: self.start_ns,
        }
    }
}

/// What became of a send, for a receive that would be its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFate {
    /// Its record is in the ring buffer, before the receive's.
    Told,
    /// The kernel has dropped it by the filter, or for want of room.
    Untold,
    /// It had not returned, and nothing stood in the way of its record.
    InCall,
    /// It had not returned, and its record may not come.
    InDoubt,
}

/// A message, by the send that made it: thread and start of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageKey {
    tid: u32,
    start_ns: u64,
}

impl MessageKey {
    /// Of a send whose message was seen.
    pub fn of_send(call: &Call<'_>) -> Option<Self> {
        (call.made_message && call.ret >= 0).then_some(Self {
            tid: call.tid,
            start_ns: call.start_ns,
        })
    }

    /// Of a send that made a message, or a receive that knows its sender.
    pub fn of(call: &Call<'_>) -> Option<Self> {
        if call.operation.is_send() {
            Self::of_send(call)
        } else {
            call.sender.map(|sender| sender.message())
        }
    }
}

/// What the kernel knows of a process. Its paths and its environment came
/// before.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSeen<'a> {
    /// Which execution.
    pub key: ProcessKey,
    /// Real user id.
    pub uid: u32,
    /// With whom it shares what there is room for.
    pub owner: Owner,
    /// Its ids, from the initial PID namespace on.
    pub pids: Vec<PidLevel>,
    /// `kernfs_node.id` of its cgroup.
    pub cgroup_id: u64,
    /// Name of the thread group leader.
    pub comm: Cow<'a, str>,
}

/// A process's id in one PID namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PidLevel {
    /// Thread group id.
    pub pid: u32,
    /// Inode number of the namespace.
    pub namespace: u32,
}

/// Which path of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// Of the executable, up to the root of its mount namespace.
    Exe,
    /// Of the cgroup, up to the root of its hierarchy.
    Cgroup,
}

/// A path of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct PathSeen<'a> {
    /// Which execution.
    pub key: ProcessKey,
    /// Which path.
    pub kind: PathKind,
    /// Nothing is missing at its beginning.
    pub is_whole: bool,
    /// Parts that end with a zero byte each, the last one first.
    pub parts: &'a [u8],
    /// Name of the cgroup that the process's owner is about.
    pub tenant: Option<Cow<'a, str>>,
}

impl<'a> PathSeen<'a> {
    /// The parts, the last one first. A file system's own root is called `/`.
    fn each(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.parts
            .split(|byte| *byte == 0)
            .filter(|part| !part.is_empty() && *part != b"/")
    }

    /// The last part; empty if there is none.
    pub fn name(&self) -> Cow<'a, str> {
        lossy(self.each().next().unwrap_or_default())
    }

    /// The path from its first part on.
    pub fn path(&self) -> String {
        let mut path = String::with_capacity(self.parts.len() + 1);
        for part in self.each().rev() {
            path.push('/');
            path.push_str(&lossy(part));
        }
        path
    }
}

/// The environment of a process, as `execve()` left it.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentSeen<'a> {
    /// Which execution.
    pub key: ProcessKey,
    /// There is nothing more.
    pub is_whole: bool,
    /// `NAME=value`, each ended by a zero byte; the last one may be cut.
    pub environ: &'a [u8],
}

/// Most are proper text, which is found out faster than how much of it is.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
