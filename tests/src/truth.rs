//! What the workload says it did: one line per call, in order within each thread.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Timeout {
    pub(crate) sec: i64,
    pub(crate) nsec: i64,
}

impl Timeout {
    /// As the kernel's `timespec64_valid()` has it.
    pub(crate) fn is_valid(self) -> bool {
        self.sec >= 0 && (0..1_000_000_000).contains(&self.nsec)
    }
}

/// One system call. `tests/workload/call.h` explains the fields.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Call {
    pub(crate) op: String,
    pub(crate) abi: String,
    pub(crate) pid: i64,
    pub(crate) tid: i64,
    pub(crate) comm: String,
    pub(crate) mqdes: Option<i64>,
    pub(crate) msg_len: Option<i64>,
    pub(crate) priority: Option<i64>,
    pub(crate) priority_asked: bool,
    pub(crate) message: Option<i64>,
    /// A send: the message for whose sake it is made.
    #[serde(default)]
    pub(crate) cause: Option<i64>,
    /// The span that its thread publishes at that moment (`tests/context`).
    #[serde(default)]
    pub(crate) traceparent: Option<String>,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) ret: i64,
    #[serde(rename = "errno_name")]
    pub(crate) error_name: Option<String>,
    pub(crate) restarted: bool,
    pub(crate) queue: Option<String>,
    pub(crate) max_messages: Option<i64>,
    pub(crate) max_message_size: Option<i64>,
    pub(crate) nonblocking: Option<bool>,
    #[serde(default)]
    pub(crate) unlinked: bool,
    pub(crate) depth: Option<i64>,
    pub(crate) oflag: Option<i64>,
    pub(crate) mode: Option<i64>,
    pub(crate) notify: Option<String>,
    pub(crate) notify_signal: Option<i64>,
    pub(crate) realtime_start_ns: i64,
    pub(crate) realtime_end_ns: i64,
    /// Set by a case: the call was already blocked when the agent attached.
    #[serde(default)]
    pub(crate) start_unknown: bool,
}

impl Call {
    pub(crate) fn is_send(&self) -> bool {
        self.op.starts_with("mq_timedsend")
    }

    pub(crate) fn is_receive(&self) -> bool {
        self.op.starts_with("mq_timedreceive")
    }
}

/// The workload writes bytes above 0x7f as code points of the same number. A span is UTF-8 and has
/// replacement characters for bytes that are not.
fn as_text(latin1: &str) -> String {
    let bytes: Vec<u8> = latin1
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn parse(text: &str) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    for line in text.lines() {
        let mut call: Call =
            serde_json::from_str(line).with_context(|| format!("a line of truth: {line}"))?;
        call.queue = call.queue.as_deref().map(as_text);
        call.comm = as_text(&call.comm);
        calls.push(call);
    }
    ensure!(!calls.is_empty(), "the workload made no call");
    Ok(calls)
}

pub(crate) fn read(path: &Path) -> Result<Vec<Call>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    parse(&text)
}

pub(crate) fn pids(calls: &[Call]) -> BTreeSet<i64> {
    calls.iter().map(|call| call.pid).collect()
}

/// A file of the host, also if the tests run in another root directory.
pub(crate) fn host_file(path: &str) -> Option<String> {
    let root = Path::new("/proc/1/root");
    let mounts = |process: &str| std::fs::read(format!("/proc/{process}/mountinfo")).ok();
    let of_init = std::fs::read_to_string(root.join(path)).ok();
    // Some machines let nobody look into process 1, but its mounts are told to all.
    let is_here = mounts("1").is_some() && mounts("1") == mounts("self");
    of_init.or_else(|| {
        std::fs::read_to_string(Path::new("/").join(path))
            .ok()
            .filter(|_| is_here)
    })
}

/// The name that the host has for a user.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    host_file("etc/passwd")?.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields.first().map(|&name| name.to_owned()))?
    })
}
