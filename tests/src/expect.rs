//! What the contract requires of one call's span: its name, kind, status and every attribute.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use mqspan_testkit::span::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::Backend;
use crate::truth::{Call, Timeout};

/// How far a span's times may be from the workload's.
pub(crate) const CLOCK_TOLERANCE_NS: i64 = 1_000_000;

/// What an attribute must be.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    Is(Value),
    Between(f64, f64),
    /// Flags joined by `|`, in any order.
    Flags(Vec<&'static str>),
    Any,
}

impl Want {
    pub(crate) fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Want::Is(want), value) => want == value,
            (Want::Between(low, high), Value::Double(d)) => (low..=high).contains(&d),
            (Want::Flags(want), Value::Str(s)) => {
                let mut got: Vec<_> = s.split('|').collect();
                let mut want = want.clone();
                got.sort_unstable();
                want.sort_unstable();
                got == want
            }
            (Want::Any, _) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Want::Is(value) => write!(f, "{value}"),
            Want::Between(low, high) => write!(f, "{low} to {high} (double)"),
            Want::Flags(flags) => write!(f, "{:?}", flags.join("|")),
            Want::Any => write!(f, "any value"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) is_error: bool,
    /// Must be present.
    pub(crate) required: BTreeMap<&'static str, Want>,
    /// May be present, and must then match.
    pub(crate) optional: BTreeMap<&'static str, Want>,
}

/// Whether a failure is an error by the default of `traces.unset_status_errnos`.
pub(crate) fn is_error(syscall: &str, error: &str) -> bool {
    let waits_in_vain = ["EAGAIN", "ETIMEDOUT"].contains(&error);
    error != "EINTR" && !(syscall.starts_with("mq_timedreceive") && waits_in_vain)
}

/// RFC 3339 in UTC with nanoseconds. `None` for an invalid time, or one beyond the year 9999.
pub(crate) fn rfc3339(timeout: Timeout) -> Option<String> {
    if !timeout.is_valid() || timeout.sec > 253_402_300_799 {
        return None;
    }
    let since = Duration::new(
        u64::try_from(timeout.sec).ok()?,
        u32::try_from(timeout.nsec).ok()?,
    );
    let time = UNIX_EPOCH.checked_add(since)?;
    Some(humantime::format_rfc3339_nanos(time).to_string())
}

/// `O_` flags by their Linux numbers, which are the same in every ABI that mqspan knows.
fn oflag_names(oflag: i64) -> Vec<&'static str> {
    let mut names = match oflag & 3 {
        0 => vec!["O_RDONLY"],
        1 => vec!["O_WRONLY"],
        2 => vec!["O_RDWR"],
        _ => vec!["O_ACCMODE"],
    };
    for (bit, name) in [
        (0o100, "O_CREAT"),
        (0o200, "O_EXCL"),
        (0o4000, "O_NONBLOCK"),
        (0o2000000, "O_CLOEXEC"),
    ] {
        if oflag & bit != 0 {
            names.push(name);
        }
    }
    names
}

fn kind(call: &Call) -> SpanKind {
    if call.is_send() {
        SpanKind::Producer
    } else if call.is_receive() {
        SpanKind::Client
    } else {
        SpanKind::Internal
    }
}

impl Expected {
    /// `end_ns` is the span's own end, which some values are relative to.
    pub(crate) fn new(call: &Call, backend: Backend, end_ns: i64, ipc_namespace: i64) -> Expected {
        let name = match &call.queue {
            Some(queue) => format!("{} {queue}", call.op),
            None => call.op.clone(),
        };
        let error = call.error_name.as_deref();
        let mut expected = Expected {
            name,
            kind: kind(call),
            is_error: error.is_some_and(|name| is_error(&call.op, name)),
            required: BTreeMap::new(),
            optional: BTreeMap::new(),
        };
        expected.common(call, ipc_namespace);
        expected.queue(call);
        if call.is_send() || call.is_receive() {
            expected.transfer(call, backend);
        }
        if let Some(timeout) = call.timeout {
            expected.timeout(timeout, end_ns);
        }
        expected.open_and_notify(call);
        if error.is_some_and(|name| name.starts_with("SIG")) {
            // The thread died inside the call, so no return value was ever seen.
            let returned = expected.required.remove("posix_mq.return");
            expected
                .optional
                .extend(returned.map(|want| ("posix_mq.return", want)));
        }
        if call.start_unknown {
            expected.blocked_at_attach();
        }
        expected
    }

    fn is(&mut self, key: &'static str, value: impl Into<Value>) {
        self.required.insert(key, Want::Is(value.into()));
    }

    fn is_if_known(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.is(key, value);
        }
    }

    fn common(&mut self, call: &Call, ipc_namespace: i64) {
        self.is("messaging.system", "posix_mq");
        self.is("messaging.operation.name", call.op.as_str());
        self.is("posix_mq.abi", call.abi.as_str());
        self.is("posix_mq.return", call.ret);
        self.is("posix_mq.ipc_namespace", ipc_namespace);
        self.is("thread.id", call.tid);
        self.is("thread.name", call.comm.as_str());
        self.is_if_known("posix_mq.mqdes", call.mqdes);
        if let Some(name) = call.error_name.as_deref() {
            if self.is_error {
                self.is("error.type", name);
            }
            if !name.starts_with("SIG") {
                self.is("posix_mq.errno", name);
            }
        }
        if call.restarted {
            self.required
                .insert("posix_mq.restarted", Want::Is(Value::Bool(true)));
        }
    }

    fn queue(&mut self, call: &Call) {
        self.is_if_known("messaging.destination.name", call.queue.as_deref());
        self.is_if_known("posix_mq.queue.max_messages", call.max_messages);
        self.is_if_known("posix_mq.queue.max_message_size", call.max_message_size);
        if call.unlinked {
            self.required.insert(
                "messaging.destination.temporary",
                Want::Is(Value::Bool(true)),
            );
        }
        let tells_depth = call.is_send() || call.is_receive() || call.op == "mq_getsetattr";
        if tells_depth && call.max_messages.is_some() {
            match call.depth {
                Some(depth) => self.is("posix_mq.queue.depth", depth),
                None => {
                    self.optional.insert("posix_mq.queue.depth", Want::Any);
                }
            }
        }
    }

    fn transfer(&mut self, call: &Call, backend: Backend) {
        let operation = if call.is_send() { "send" } else { "receive" };
        self.is("messaging.operation.type", operation);
        self.is_if_known("posix_mq.msg_len", call.msg_len);
        if call.nonblocking == Some(true) {
            self.required
                .insert("posix_mq.nonblocking", Want::Is(Value::Bool(true)));
        }
        if let (Some(max), true) = (
            call.max_messages,
            self.required.contains_key("posix_mq.queue.depth"),
        ) {
            if call.depth == Some(max) {
                self.required
                    .insert("posix_mq.queue.full", Want::Is(Value::Bool(true)));
            }
        } else {
            self.optional
                .insert("posix_mq.queue.full", Want::Is(Value::Bool(true)));
        }
        if call.is_send() {
            self.optional
                .insert("posix_mq.cause", Want::Is("same_thread".into()));
        } else if call.ret >= 0 && backend.sees_messages() {
            self.optional.insert("posix_mq.idle", Want::Any);
        }
        // From user memory, a received priority is known only if the caller asked for it.
        if call.is_send() || call.priority_asked || backend.sees_messages() {
            self.is_if_known("posix_mq.priority", call.priority);
        }
    }

    fn timeout(&mut self, timeout: Timeout, end_ns: i64) {
        match rfc3339(timeout) {
            Some(text) => self.is("posix_mq.abs_timeout", text.as_str()),
            None => {
                self.is("posix_mq.abs_timeout_sec", timeout.sec);
                self.is("posix_mq.abs_timeout_nsec", timeout.nsec);
            }
        }
        if !timeout.is_valid() {
            return;
        }
        let margin_ns =
            i128::from(timeout.sec) * 1_000_000_000 + i128::from(timeout.nsec) - i128::from(end_ns);
        // An f64 has room for centuries in microseconds.
        #[allow(clippy::cast_precision_loss)]
        let margin = margin_ns as f64 / 1e9;
        self.required.insert(
            "posix_mq.deadline_margin",
            Want::Between(margin - 0.001, margin + 0.001),
        );
    }

    fn open_and_notify(&mut self, call: &Call) {
        if let Some(oflag) = call.oflag {
            self.required
                .insert("posix_mq.oflag", Want::Flags(oflag_names(oflag)));
            let mode = format!("0{:03o}", call.mode.unwrap_or(0));
            if oflag & 0o100 != 0 {
                self.is("posix_mq.mode", mode.as_str());
            } else {
                // Without O_CREAT, the kernel does not look at the argument.
                self.optional.insert("posix_mq.mode", Want::Any);
            }
        }
        self.is_if_known("posix_mq.notify", call.notify.as_deref());
        self.is_if_known("posix_mq.notify_signal", call.notify_signal);
    }

    /// Allows a payload. The messages themselves are compared separately.
    pub(crate) fn may_carry_payload(&mut self) {
        for key in ["posix_mq.payload", "posix_mq.payload_truncated"] {
            self.optional.insert(key, Want::Any);
        }
    }

    /// Of a call that was blocked at attach, only the return is seen. What only an entry can tell
    /// becomes optional.
    fn blocked_at_attach(&mut self) {
        const KEPT: [&str; 6] = [
            "messaging.system",
            "messaging.operation.name",
            "messaging.operation.type",
            "posix_mq.return",
            "thread.id",
            "thread.name",
        ];
        let (kept, optional) = std::mem::take(&mut self.required)
            .into_iter()
            .partition(|(key, _)| KEPT.contains(key));
        self.required = kept;
        self.optional.extend::<BTreeMap<_, _>>(optional);
        self.required
            .insert("posix_mq.start_unknown", Want::Is(Value::Bool(true)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_read_as_rfc_3339() {
        let table = [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (4_102_444_800, 123_456_789, "2100-01-01T00:00:00.123456789Z"),
        ];
        for (sec, nsec, text) in table {
            assert_eq!(rfc3339(Timeout { sec, nsec }).as_deref(), Some(text));
        }
        assert_eq!(rfc3339(Timeout { sec: -1, nsec: 0 }), None);
    }

    #[test]
    fn flags_come_in_any_order() {
        let want = Want::Flags(oflag_names(0o302));
        assert!(want.accepts(&"O_CREAT|O_RDWR|O_EXCL".into()));
        assert!(!want.accepts(&"O_RDWR|O_CREAT".into()));
        assert!(!want.accepts(&Value::Int(0o302)));
    }
}
