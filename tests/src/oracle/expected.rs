//! What a span must say, according to strace's line.

use std::collections::{BTreeMap, BTreeSet};

use mqspan_testkit::span::Value;

use super::arguments::{descriptor, field, string};
use super::numbers;
use super::strace::{Call, Outcome};
use crate::expect::{is_error, rfc3339};
use crate::truth::Timeout;

pub(super) struct Settings<'a> {
    pub(super) abi: &'a str,
    /// Whether the agent sees a priority that the caller did not ask for.
    pub(super) sees_messages: bool,
}

/// The attributes that must be there, or, with `None`, must not be there. What strace does not tell
/// is left out.
pub(super) struct Expected {
    pub(super) attributes: BTreeMap<&'static str, Option<Value>>,
    /// What could not be parsed of the line. Each entry is a difference of its own.
    pub(super) unclear: Vec<String>,
}

/// Names of queues that were opened, which tell a queue's descriptor from another file's.
pub(super) fn queues(calls: &[Call]) -> BTreeSet<String> {
    calls
        .iter()
        .filter(|call| call.syscall == "mq_open" && matches!(call.outcome, Outcome::Value(_)))
        .filter_map(|call| string(call.arguments.first()?))
        .map(|name| format!("/{name}"))
        .collect()
}

/// strace names the calls of a 32-bit table as that table does, where the calls with 32-bit times
/// have no suffix.
pub(super) fn operation(syscall: &str, abi: &str) -> String {
    let is_timed = matches!(syscall, "mq_timedsend" | "mq_timedreceive");
    match abi {
        "i386" | "arm" if is_timed => format!("{syscall}_time32"),
        _ => syscall.to_owned(),
    }
}

impl Expected {
    pub(super) fn new(call: &Call, settings: &Settings<'_>, queues: &BTreeSet<String>) -> Expected {
        let mut expected = Expected {
            attributes: BTreeMap::new(),
            unclear: Vec::new(),
        };
        let operation = operation(&call.syscall, settings.abi);
        expected.is("messaging.system", "posix_mq");
        expected.is("messaging.operation.name", operation.as_str());
        expected.is("posix_mq.abi", settings.abi);
        expected.outcome(call);
        match call.syscall.as_str() {
            "mq_open" => expected.open(call),
            "mq_unlink" => expected.named(call),
            _ => expected.described(call, queues),
        }
        if call.syscall.starts_with("mq_timedsend") {
            expected.transfer(call, 4);
            expected.sent(call);
        } else if call.syscall.starts_with("mq_timedreceive") {
            expected.transfer(call, 4);
            expected.received(call, settings);
        } else if call.syscall == "mq_notify" {
            expected.notify(call);
        }
        expected
    }

    fn is(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.insert(key, Some(value.into()));
    }

    fn is_absent(&mut self, key: &'static str) {
        self.attributes.insert(key, None);
    }

    /// Returns the value, and takes a note if the line does not have the expected form.
    fn known<T>(&mut self, what: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.unclear.push(format!("strace: {what} not understood"));
        }
        value
    }

    fn outcome(&mut self, call: &Call) {
        match &call.outcome {
            Outcome::Value(value) => {
                self.is("posix_mq.return", *value);
                self.is_absent("posix_mq.errno");
                self.is_absent("error.type");
            }
            Outcome::Error(name) => {
                if let Some(number) = self.known("errno", numbers::errno(name)) {
                    self.is("posix_mq.return", -number);
                }
                // It becomes EINTR, or the kernel enters the call again: only `compare` can tell.
                if name == "ERESTARTSYS" {
                    self.is_absent("error.type");
                    return;
                }
                self.is("posix_mq.errno", name.as_str());
                if is_error(&call.syscall, name) {
                    self.is("error.type", name.as_str());
                } else {
                    self.is_absent("error.type");
                }
            }
            // An interrupted call has the name of its signal. If the thread was killed on its way
            // out, the agent has the return that strace did not live to see, and `compare` decides.
            // Another thread's exit_group() ends a thread with SIGKILL.
            Outcome::Died(signal) => {
                self.is("error.type", signal.as_deref().unwrap_or("SIGKILL"));
            }
        }
    }

    /// The kernel takes names without the leading slash that a span has. An empty name is of no
    /// queue.
    fn named(&mut self, call: &Call) {
        let name = call.arguments.first().and_then(|name| string(name));
        match name.filter(|name| !name.is_empty()) {
            Some(name) => self.is("messaging.destination.name", format!("/{name}").as_str()),
            None => self.is_absent("messaging.destination.name"),
        }
        self.is_absent("posix_mq.msg_len");
        self.is_absent("posix_mq.priority");
    }

    fn open(&mut self, call: &Call) {
        self.named(call);
        match call.outcome {
            Outcome::Value(value) => self.is("posix_mq.mqdes", value),
            _ => self.is_absent("posix_mq.mqdes"),
        }
        let oflag = call.arguments.get(1).map(|flags| sorted_flags(flags));
        if let Some(oflag) = self.known("oflag", oflag) {
            self.is("posix_mq.oflag", oflag.as_str());
        }
        match call.arguments.get(2) {
            None => self.is_absent("posix_mq.mode"),
            Some(mode) => {
                if let Some(mode) = self.known("mode", numbers::unsigned(mode)) {
                    self.is("posix_mq.mode", format!("{mode:04o}").as_str());
                }
            }
        }
    }

    fn described(&mut self, call: &Call, queues: &BTreeSet<String>) {
        let first = call.arguments.first().and_then(|fd| descriptor(fd));
        let Some((number, path)) = self.known("mqdes", first) else {
            return;
        };
        self.is("posix_mq.mqdes", number);
        match path.filter(|path| queues.contains(path)) {
            Some(name) => self.is("messaging.destination.name", name.as_str()),
            None => self.is_absent("messaging.destination.name"),
        }
    }

    /// What sends and receives share: descriptor, message, length, priority, timeout.
    fn transfer(&mut self, call: &Call, timeout_at: usize) {
        // If the thread died in a receive, strace had no time to read the arguments.
        if call.arguments.len() <= timeout_at && matches!(call.outcome, Outcome::Died(_)) {
            return;
        }
        let len = call.arguments.get(2).and_then(|len| numbers::unsigned(len));
        if let Some(len) = self.known("msg_len", len) {
            self.is("posix_mq.msg_len", len.cast_signed());
        }
        let Some(timeout) = call.arguments.get(timeout_at) else {
            self.unclear.push("strace: no timeout".to_owned());
            return;
        };
        for key in [
            "posix_mq.abs_timeout",
            "posix_mq.abs_timeout_sec",
            "posix_mq.abs_timeout_nsec",
        ] {
            self.is_absent(key);
        }
        let number = |name| field(timeout, name).and_then(numbers::unsigned);
        // Neither for NULL, nor for the address of memory that cannot be read.
        if let (Some(sec), Some(nsec)) = (number("tv_sec"), number("tv_nsec")) {
            let (sec, nsec) = (sec.cast_signed(), nsec.cast_signed());
            match rfc3339(Timeout { sec, nsec }) {
                Some(text) => self.is("posix_mq.abs_timeout", text.as_str()),
                None => {
                    self.is("posix_mq.abs_timeout_sec", sec);
                    self.is("posix_mq.abs_timeout_nsec", nsec);
                }
            }
        }
    }

    /// Drops the expected error, for a return that strace did not see.
    pub(super) fn forgets_return(&mut self) {
        self.attributes.remove("error.type");
        self.attributes.remove("posix_mq.errno");
    }

    fn sent(&mut self, call: &Call) {
        let priority = call
            .arguments
            .get(3)
            .and_then(|priority| numbers::unsigned(priority));
        if let Some(priority) = self.known("priority", priority) {
            self.is("posix_mq.priority", priority.cast_signed());
        }
        match (&call.outcome, self.attributes.get("posix_mq.msg_len")) {
            (Outcome::Value(_), Some(Some(len))) => {
                let len = len.clone();
                self.is("messaging.message.body.size", len);
            }
            (Outcome::Died(_), _) => {}
            _ => self.is_absent("messaging.message.body.size"),
        }
    }

    fn received(&mut self, call: &Call, settings: &Settings<'_>) {
        if matches!(call.outcome, Outcome::Died(_)) {
            return;
        }
        let Outcome::Value(size) = call.outcome else {
            self.is_absent("posix_mq.priority");
            self.is_absent("messaging.message.body.size");
            return;
        };
        self.is("messaging.message.body.size", size);
        let Some(priority) = call.arguments.get(3) else {
            return;
        };
        let asked = priority
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .and_then(numbers::unsigned);
        match asked {
            Some(priority) => self.is("posix_mq.priority", priority.cast_signed()),
            // Not asked for, so only the message itself has it.
            None if settings.sees_messages => {}
            None => self.is_absent("posix_mq.priority"),
        }
    }

    fn notify(&mut self, call: &Call) {
        let Some(event) = call.arguments.get(1) else {
            self.unclear.push("strace: no sigevent".to_owned());
            return;
        };
        let Some(notify) = field(event, "sigev_notify") else {
            match event.as_str() {
                "NULL" => self.is("posix_mq.notify", "none"),
                // The address of memory that cannot be read.
                _ => self.is_absent("posix_mq.notify"),
            }
            self.is_absent("posix_mq.notify_signal");
            return;
        };
        // For a number without a name, strace shows the bits: `0xffffffff /* SIGEV_??? */`.
        let number = notify.split(" /*").next().and_then(numbers::signed);
        match number {
            Some(number) => self.is("posix_mq.notify", number.to_string().as_str()),
            None => self.is("posix_mq.notify", notify),
        }
        if notify == "SIGEV_SIGNAL" {
            let signal = field(event, "sigev_signo").and_then(numbers::signal);
            if let Some(signal) = self.known("sigev_signo", signal) {
                self.is("posix_mq.notify_signal", signal);
            }
        } else {
            self.is_absent("posix_mq.notify_signal");
        }
    }
}

/// Sorts flags, whose order has no meaning.
pub(super) fn sorted_flags(flags: &str) -> String {
    let mut flags: Vec<_> = flags.split('|').collect();
    flags.sort_unstable();
    flags.join("|")
}
