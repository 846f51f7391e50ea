//! Compares call by call, in the order of each thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use mqspan_testkit::span::{Traced, Value, attributes};

use super::expected::{Expected, Settings, operation, queues, sorted_flags};
use super::numbers::errno;
use super::strace::{Call, Outcome};

/// A report shows this many differences, and the rest are only counted.
const REPORTED: usize = 10;

/// `-ERESTARTSYS`: a wait that a signal interrupted.
const INTERRUPTED: i64 = -512;

pub(super) struct Comparison {
    pub(super) calls: usize,
    /// Calls whose return strace did not see, because the thread was killed.
    pub(super) died: usize,
    /// Those of them that the kernel never ran. A thread that is killed while strace holds it at
    /// the entry skips the call (`ptrace_report_syscall_entry()` in kernel/entry/common.c), so no
    /// hook sees it.
    pub(super) skipped: usize,
    pub(super) differences: usize,
    pub(super) report: String,
}

impl Comparison {
    fn differs(&mut self, line: &str, traced: Option<&Traced>, differences: &[String]) {
        self.differences += differences.len();
        if self.differences > REPORTED {
            return;
        }
        let mut text = format!("strace: {line}\nspan:   ");
        match traced {
            None => text.push_str("none\n"),
            Some(traced) => {
                let values: Vec<_> = attributes(&traced.span.attributes)
                    .0
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                text.push_str(&format!("{}: {}\n", traced.span.name, values.join(" ")));
            }
        }
        for difference in differences {
            text.push_str(&format!("  {difference}\n"));
        }
        self.report.push_str(&text);
    }
}

/// Checks that each line has exactly one span of its thread, in order, and that there are no
/// others.
pub(super) fn compare(calls: &[Call], spans: &[Traced], settings: &Settings<'_>) -> Comparison {
    let mut result = Comparison {
        calls: calls.len(),
        died: calls
            .iter()
            .filter(|call| matches!(call.outcome, Outcome::Died(_)))
            .count(),
        skipped: 0,
        differences: 0,
        report: String::new(),
    };
    let queues = queues(calls);
    let mut by_thread: BTreeMap<i64, (Vec<&Call>, Vec<&Traced>)> = BTreeMap::new();
    for call in calls {
        by_thread.entry(call.tid).or_default().0.push(call);
    }
    for traced in spans {
        let tid = traced.tid().unwrap_or(-1);
        by_thread.entry(tid).or_default().1.push(traced);
    }
    for (calls, mut spans) in by_thread.into_values() {
        spans.sort_by_key(|traced| traced.span.start_time_unix_nano);
        compare_thread(&calls, &spans, settings, &queues, &mut result);
    }
    if result.differences > REPORTED {
        // Writing to a string does not fail.
        writeln!(result.report, "and more").unwrap_or_default();
    }
    result
}

/// After a surplus span or line, pairs the rest by operation, so that one surplus counts as one.
fn compare_thread(
    calls: &[&Call],
    spans: &[&Traced],
    settings: &Settings<'_>,
    queues: &BTreeSet<String>,
    result: &mut Comparison,
) {
    let (mut calls, mut spans) = (calls.iter().peekable(), spans.iter().peekable());
    loop {
        let surplus = calls.len().cmp(&spans.len());
        let (Some(call), Some(traced)) = (calls.peek(), spans.peek()) else {
            break;
        };
        let same = looks_same(call, traced, settings);
        if !same && surplus.is_gt() {
            result.differs(&call.line, None, &["no span".to_owned()]);
            calls.next();
            continue;
        }
        if !same && surplus.is_lt() {
            result.differs("none", Some(traced), &["no call".to_owned()]);
            spans.next();
            continue;
        }
        let differences = compare_call(call, traced, settings, queues);
        if !differences.is_empty() {
            result.differs(&call.line, Some(traced), &differences);
        }
        calls.next();
        spans.next();
    }
    if calls.len() == 1 && calls.peek().is_some_and(|call| may_be_skipped(call)) {
        result.skipped += 1;
        calls.next();
    }
    for call in calls {
        result.differs(&call.line, None, &["no span".to_owned()]);
    }
    for traced in spans {
        result.differs("none", Some(traced), &["no call".to_owned()]);
    }
}

/// Whether the kernel may have skipped a thread's last call, because the thread was killed in it.
fn may_be_skipped(call: &Call) -> bool {
    matches!(&call.outcome, Outcome::Died(Some(signal)) if signal == "SIGKILL")
}

/// Whether both can be of one call, by the attributes that identify it. The others may be wrong.
fn looks_same(call: &Call, traced: &Traced, settings: &Settings<'_>) -> bool {
    let expected = Expected::new(call, settings, &BTreeSet::new());
    let (got, _) = attributes(&traced.span.attributes);
    [
        "messaging.operation.name",
        "posix_mq.return",
        "posix_mq.mqdes",
        "posix_mq.msg_len",
        "posix_mq.priority",
    ]
    .iter()
    .all(|key| match expected.attributes.get(key) {
        None => true,
        Some(want) => want.as_ref() == got.get(*key),
    })
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("missing".to_owned(), Value::to_string)
}

/// Whether return and errors agree that the call returned.
fn returned(got: &BTreeMap<String, Value>) -> bool {
    match (got.get("posix_mq.return"), got.get("posix_mq.errno")) {
        (Some(Value::Int(0..)), None) => !got.contains_key("error.type"),
        (Some(Value::Int(number)), Some(Value::Str(name))) => errno(name) == Some(-number),
        _ => false,
    }
}

fn compare_call(
    call: &Call,
    traced: &Traced,
    settings: &Settings<'_>,
    queues: &BTreeSet<String>,
) -> Vec<String> {
    let mut expected = Expected::new(call, settings, queues);
    let (mut got, repeated) = attributes(&traced.span.attributes);
    let was_interrupted = got.get("posix_mq.return") == Some(&Value::Int(INTERRUPTED));
    if matches!(call.outcome, Outcome::Died(_)) && !was_interrupted {
        expected.forgets_return();
        if !returned(&got) {
            expected
                .unclear
                .push("neither killed nor returned".to_owned());
        }
    }
    if let Some(Value::Str(oflag)) = got.get_mut("posix_mq.oflag") {
        *oflag = sorted_flags(oflag);
    }
    let mut differences = expected.unclear;
    differences.extend(repeated.iter().map(|key| format!("{key}: more than once")));
    for (key, want) in &expected.attributes {
        if want.as_ref() != got.get(*key) {
            differences.push(format!(
                "{key}: {} in the span, {} by strace",
                shown(got.get(*key)),
                shown(want.as_ref())
            ));
        }
    }
    let operation = operation(&call.syscall, settings.abi);
    let name = match expected.attributes.get("messaging.destination.name") {
        Some(Some(Value::Str(queue))) => format!("{operation} {queue}"),
        _ => operation,
    };
    if traced.span.name != name {
        differences.push(format!("name: {:?}, not {name:?}", traced.span.name));
    }
    differences
}

#[cfg(test)]
mod tests;
