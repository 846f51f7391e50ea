//! Events that the kernel side reports. [`Event::parse`] decodes them from the
//! bytes of the ring buffer.

mod decode;

use std::borrow::Cow;

pub use decode::copy_without_payload;

use crate::errno;
use crate::owner::Owner;
use crate::skel::types::{call_abi, call_op};

#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every event is a call, and none outlives its record"
)]
pub enum Event<'a> {
    /// One call, from entry to return.
    Call(Call<'a>),
    /// A process, at its first call and at its first call after `execve()`.
    Process(ProcessSeen<'a>),
    /// The environment of a process, sent before its [`Event::Process`].
    Environment(EnvironmentSeen<'a>),
    /// A path of a process, sent before its [`Event::Process`].
    Path(PathSeen<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A record shorter than its kind requires.
    #[error("record of {0} bytes is too short")]
    TooShort(usize),
    /// A kind, operation or ABI that is not in `events.h`.
    #[error("record of unknown kind {0}")]
    UnknownKind(u8),
}

/// A system call, by the name that it has in the table of its own ABI.
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

    pub fn is_send(self) -> bool {
        matches!(
            self,
            Self::MqTimedsend | Self::MqTimedsendTime32 | Self::MqTimedsendTime64
        )
    }

    pub fn is_receive(self) -> bool {
        matches!(
            self,
            Self::MqTimedreceive | Self::MqTimedreceiveTime32 | Self::MqTimedreceiveTime64
        )
    }

    pub fn takes_descriptor(self) -> bool {
        !matches!(self, Self::MqOpen | Self::MqUnlink)
    }
}

/// The ABI through which the call was made. x32 counts as `X86_64`.
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
    /// Start of the process, in `CLOCK_BOOTTIME` nanoseconds.
    pub start_ns: u64,
    /// `execve()` calls so far, `task_struct.self_exec_id`.
    pub exec_id: u32,
}

/// One call. Times are in `CLOCK_BOOTTIME` nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Call<'a> {
    pub operation: Operation,
    pub abi: Abi,
    /// Time of entry, or of attachment if `start_unknown`.
    pub start_ns: u64,
    /// Time of return, or of the death of the thread.
    pub end_ns: u64,
    /// What the kernel returned: bytes, a descriptor, 0, or a negative errno.
    pub ret: i64,
    pub process: ProcessKey,
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// Name of the thread.
    pub comm: Cow<'a, str>,
    /// Inode number of the queue's IPC namespace, or else the caller's.
    pub ipc_namespace: u32,
    /// The descriptor: the argument, or the result of `mq_open`.
    pub mqdes: Option<i32>,
    /// Name of the queue with its leading slash.
    pub name: Option<Cow<'a, str>>,
    /// Send and receive: the length argument, in bytes.
    pub msg_len: u64,
    /// Priority of the message: a send's argument, or what a receive got.
    pub priority: Option<u32>,
    /// Absolute timeout as passed; `None` if there was none or it was
    /// unreadable.
    pub timeout: Option<Timeout>,
    /// Whether a timeout was passed, readable or not.
    pub has_timeout: bool,
    /// The object behind the descriptor, if it is a queue.
    pub queue: Option<Queue>,
    /// Messages in the queue at return.
    pub depth: Option<u32>,
    /// Whether the descriptor has `O_NONBLOCK`; `None` if it is not open.
    pub nonblocking: Option<bool>,
    pub open: Option<OpenArguments>,
    pub notify: Option<Notify>,
    /// Send: its message was seen, so a receive may refer to it.
    pub made_message: bool,
    /// Receive: the send that made the message, if it was seen.
    pub sender: Option<Sender>,
    /// Send: the receive that it may come of.
    pub receive_before: Option<Cause>,
    /// Send or receive: the thread has neither slept nor read anything since its
    /// last receive with a message.
    pub no_wait: bool,
    /// The application's span that it is made for.
    pub application: Option<ApplicationSpan>,
    /// Start of the interrupted call that this one restarts.
    pub restarts: Option<u64>,
    /// A signal ended the wait, and the kernel enters the call again by itself:
    /// no failure that the program sees.
    pub reentered: bool,
    /// The queue had lost its name by the return.
    pub unlinked: bool,
    /// The call was already blocked when the agent attached.
    pub start_unknown: bool,
    /// The kernel could not tell whether the filter wants the call.
    pub undecided: bool,
    /// The signal that ended the thread inside the call.
    pub death_signal: Option<u32>,
    /// The first bytes of the message, if payloads are captured.
    pub payload: Option<&'a [u8]>,
}

impl Call<'_> {
    pub fn key(&self) -> CallKey {
        CallKey {
            tid: self.tid,
            start_ns: self.start_ns,
        }
    }

    /// What it comes of, if that is known.
    pub fn cause(&self) -> Option<Cause> {
        self.sender
            .map(|sender| sender.cause)
            .or(self.receive_before)
    }

    /// The cause whose child it is. An application's span is a stronger parent.
    pub fn parent(&self) -> Option<Cause> {
        self.cause()
            .filter(|cause| cause.is_parent && self.application_parent().is_none())
    }

    /// Of a send the receive that nothing came after before it: it is not only taken
    /// to come of it.
    pub fn proven_cause(&self) -> Option<Cause> {
        self.receive_before
            .filter(|cause| cause.is_parent && self.no_wait)
    }

    /// Whether it is a receive that got a message.
    pub fn takes_message(&self) -> bool {
        self.operation.is_receive() && self.ret >= 0 && self.death_signal.is_none()
    }

    /// The application's span whose child it is.
    pub fn application_parent(&self) -> Option<&ApplicationSpan> {
        self.application.as_ref().filter(|span| span.is_sampled())
    }

    /// The application's trace that it is in; else the trace is one of ours.
    pub fn application_trace(&self) -> Option<ApplicationTrace> {
        match self.application_parent() {
            Some(span) => Some(span.trace),
            None => self.parent()?.application_trace,
        }
    }

    /// The first call in its trace. Of an application's trace, the first call that
    /// led here.
    pub fn root(&self) -> CallKey {
        self.parent().map_or(self.key(), |cause| cause.root)
    }

    /// The positive error number that the program sees. `None` for success, for
    /// a wait that the kernel enters again, and where the thread died.
    pub fn errno(&self) -> Option<i32> {
        if self.ret >= 0 || self.reentered || self.death_signal.is_some() {
            return None;
        }
        let number = i32::try_from(self.ret.unsigned_abs()).unwrap_or(i32::MAX);
        Some(errno::as_seen_by_user_space(number))
    }

    /// Whether it is a receive that found no message, at once or until its deadline.
    pub fn is_empty_receive(&self) -> bool {
        self.operation.is_receive() && matches!(self.errno(), Some(libc::EAGAIN | libc::ETIMEDOUT))
    }

    /// Whether a send or receive left the queue full.
    pub fn is_queue_full(&self) -> bool {
        match (self.depth, self.queue) {
            (Some(depth), Some(queue)) => depth >= queue.max_messages,
            _ => false,
        }
    }

    /// Bytes of the message of a successful send or receive.
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

/// An absolute timeout of `CLOCK_REALTIME`, as the program passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout {
    /// Seconds; negative values are invalid.
    pub sec: i64,
    /// Nanoseconds; valid from 0 to 999,999,999.
    pub nsec: i64,
}

impl Timeout {
    /// Same as `timespec64_valid()` in `include/linux/time64.h`.
    pub fn is_valid(self) -> bool {
        self.sec >= 0 && (0..1_000_000_000).contains(&self.nsec)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Inode number, unique in the running kernel.
    pub ino: u64,
    /// Limit on messages, `mq_maxmsg`.
    pub max_messages: u32,
    /// Limit on the bytes of one message, `mq_msgsize`.
    pub max_message_size: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenArguments {
    /// `O_RDONLY`, `O_CREAT`, ...
    pub oflag: u32,
    /// Permissions; meaningful only with `O_CREAT`.
    pub mode: u32,
}

/// Argument of `mq_notify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// A NULL pointer, which removes the registration.
    Unregister,
    /// `sigev_notify` and `sigev_signo`.
    Register {
        /// `SIGEV_SIGNAL`, `SIGEV_NONE` or `SIGEV_THREAD`.
        notify: i32,
        /// The signal, if `notify` is `SIGEV_SIGNAL`.
        signo: i32,
    },
}

/// A trace that a program makes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplicationTrace {
    pub id: [u8; 16],
    /// Of W3C Trace Context.
    pub flags: u8,
}

/// A span that a program makes itself, as its thread publishes it (OTEP 4947).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplicationSpan {
    pub trace: ApplicationTrace,
    pub id: [u8; 8],
}

impl ApplicationSpan {
    /// Whether the program has decided to keep it.
    pub fn is_sampled(&self) -> bool {
        self.trace.flags & 1 != 0
    }
}

/// What a call comes of: a receive of the send of its message, a send of the
/// receive before it in its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    pub call: CallKey,
    /// The first call in the trace of `call`.
    pub root: CallKey,
    /// The application's trace that `call` is in; else the trace is that of `root`.
    pub application_trace: Option<ApplicationTrace>,
    /// Whether the call is in that trace, as the child of `call`; else it begins a
    /// trace.
    pub is_parent: bool,
}

/// The send that made a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    pub cause: Cause,
    /// When the message was made, in `CLOCK_BOOTTIME` nanoseconds.
    pub created_ns: u64,
    /// State of the send when the message was received.
    pub fate: SendFate,
}

impl Sender {
    /// Whether the send's record, if there is one, came before the receive's.
    pub fn is_behind(&self) -> bool {
        matches!(self.fate, SendFate::Told | SendFate::Untold)
    }
}

/// State of a send, as seen by the receive that would be its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFate {
    /// Its record is in the ring buffer, before the receive's.
    Told,
    /// The kernel dropped its record, because of the filter or for lack of
    /// room.
    Untold,
    /// The send had not returned, but its record is expected.
    InCall,
    /// The send had not returned, and its record may never come.
    InDoubt,
}

/// Identifies a call: its thread and the time of its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey {
    /// Thread id in the initial PID namespace.
    pub tid: u32,
    /// In `CLOCK_BOOTTIME` nanoseconds.
    pub start_ns: u64,
}

/// What the kernel knows of a process. The events for its paths and its
/// environment come before this one.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSeen<'a> {
    pub key: ProcessKey,
    /// Real user id.
    pub uid: u32,
    /// The owner whose share of the available room it uses.
    pub owner: Owner,
    /// Inode number of its user namespace.
    pub user_namespace: u32,
    /// Its ids, from the initial PID namespace inwards.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// Path of the executable, up to the root of its mount namespace.
    Exe,
    /// Path of the cgroup, up to the root of its hierarchy.
    Cgroup,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PathSeen<'a> {
    pub key: ProcessKey,
    pub kind: PathKind,
    /// Whether the path is complete at its beginning.
    pub is_whole: bool,
    /// Components, last one first, each ended by a zero byte.
    pub parts: &'a [u8],
    /// Name of the cgroup that identifies the owner of the process, if any.
    pub tenant: Option<Cow<'a, str>>,
}

impl<'a> PathSeen<'a> {
    /// The components, last one first, without the `/` that names a file
    /// system's own root.
    fn each(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.parts
            .split(|byte| *byte == 0)
            .filter(|part| !part.is_empty() && *part != b"/")
    }

    /// The last component; empty if there is none.
    pub fn name(&self) -> Cow<'a, str> {
        lossy(self.each().next().unwrap_or_default())
    }

    /// The path as text, from its first component on.
    pub fn path(&self) -> String {
        let mut path = String::with_capacity(self.parts.len() + 1);
        for part in self.each().rev() {
            path.push('/');
            path.push_str(&lossy(part));
        }
        path
    }
}

/// The environment of a process, as `execve()` set it.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentSeen<'a> {
    pub key: ProcessKey,
    /// Whether `environ` holds all of it.
    pub is_whole: bool,
    /// `NAME=value`, each ended by a zero byte; the last one may be cut off.
    pub environ: &'a [u8],
}

/// Most strings are valid UTF-8, and checking for that is faster than
/// `from_utf8_lossy`.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
