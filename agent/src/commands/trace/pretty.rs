//! Spans as lines for people, in the manner of strace.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::time::Instant;

use super::LineOutput;
use crate::commands::text::{Escaped, Nanoseconds};
use crate::event::Timeout;
use crate::process::Process;
use crate::sink::SpanSink;
use crate::span::{AttributeSink, Rfc3339, Span};

pub(super) struct Printer<W> {
    out: LineOutput<W>,
    line: String,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out: LineOutput::new(out),
            line: String::new(),
        }
    }
}

impl<W: Write> SpanSink for Printer<W> {
    fn span(&mut self, _process: &Process, span: &Span<'_>) {
        self.line.clear();
        if write_span(&mut self.line, span).is_ok() {
            self.line.push('\n');
            self.out.line(self.line.as_bytes());
        }
    }

    fn tick(&mut self, _now: Instant) {
        self.out.flush();
    }

    fn finish(&mut self) {
        self.out.flush();
    }
}

fn write_span(line: &mut String, span: &Span<'_>) -> fmt::Result {
    let call = span.call;
    let mut time = Rfc3339::default();
    let clock = time
        .format(Timeout {
            sec: (span.start_unix_ns / 1_000_000_000).cast_signed(),
            nsec: (span.start_unix_ns % 1_000_000_000).cast_signed(),
        })
        .and_then(|text| text.get(11..26))
        .unwrap_or("??:??:??.??????");
    let who = format!("{}/{}", Escaped(&call.comm), call.tid);
    write!(
        line,
        "{clock} {who:<22} {:<7} {}(",
        call.abi.name(),
        call.operation.name()
    )?;
    write_arguments(line, span)?;
    line.push(')');
    write_result(line, span)
}

/// What the caller passed.
fn write_arguments(line: &mut String, span: &Span<'_>) -> fmt::Result {
    let call = span.call;
    let name = Escaped(call.name.as_deref().unwrap_or("?"));
    if call.operation.takes_descriptor() {
        write!(line, "{}<{name}>", call.mqdes.unwrap_or(-1))?;
    } else {
        write!(line, "{name}")?;
    }
    let mut arguments = Arguments::default();
    span.attributes(&mut arguments);
    for text in [&arguments.oflag, &arguments.mode, &arguments.notify]
        .into_iter()
        .flatten()
    {
        write!(line, ", {text}")?;
    }
    if call.operation.is_send() || call.operation.is_receive() {
        write!(line, ", {}", call.msg_len)?;
    }
    if call.operation.is_send()
        && let Some(priority) = call.priority
    {
        write!(line, ", prio {priority}")?;
    }
    if let Some(timeout) = call.timeout {
        let mut text = Rfc3339::default();
        match text.format(timeout) {
            Some(text) => write!(line, ", until {text}")?,
            None => write!(line, ", until {{{}, {}}}", timeout.sec, timeout.nsec)?,
        }
    }
    Ok(())
}

/// What came of it.
fn write_result(line: &mut String, span: &Span<'_>) -> fmt::Result {
    let call = span.call;
    match (&span.error_type, call.death_signal) {
        (Some(signal), Some(_)) => write!(line, " = killed by {signal}")?,
        (Some(error), None) => write!(line, " = -1 {error}")?,
        (None, _) => write!(line, " = {}", call.ret)?,
    }
    if call.operation.is_receive()
        && call.ret >= 0
        && let Some(priority) = call.priority
    {
        write!(line, "  prio {priority}")?;
    }
    if let (Some(depth), Some(queue)) = (call.depth, call.queue) {
        write!(line, "  depth {depth}/{}", queue.max_messages)?;
    }
    if call.start_unknown {
        line.push_str("  blocked since before");
    }
    if call.restarts.is_some() {
        line.push_str("  restarted");
    }
    write!(
        line,
        "  {}",
        Nanoseconds(span.end_unix_ns.saturating_sub(span.start_unix_ns))
    )?;
    if let (Some(sender), Some(seconds)) = (call.sender, span.time_in_queue()) {
        write!(
            line,
            "  \u{2190} {} after {}",
            sender.tid,
            Nanoseconds((seconds * 1e9) as u64)
        )?;
    }
    Ok(())
}

/// Text of attributes whose spelling is decided in `span`.
#[derive(Default)]
struct Arguments {
    oflag: Option<String>,
    mode: Option<String>,
    notify: Option<String>,
}

impl AttributeSink for Arguments {
    fn text(&mut self, key: &'static str, value: &str) {
        match key {
            "posix_mq.oflag" => self.oflag = Some(value.to_owned()),
            "posix_mq.mode" => self.mode = Some(value.to_owned()),
            "posix_mq.notify" => self.notify = Some(value.to_owned()),
            _ => {}
        }
    }

    fn int(&mut self, key: &'static str, value: i64) {
        if let ("posix_mq.notify_signal", Some(notify)) = (key, &mut self.notify) {
            let signal = crate::span::signal_name(u32::try_from(value).unwrap_or(0));
            write!(notify, " {signal}").unwrap_or_default();
        }
    }

    fn double(&mut self, _key: &'static str, _value: f64) {}

    fn bool(&mut self, _key: &'static str, _value: bool) {}

    fn bytes(&mut self, _key: &'static str, _value: &[u8]) {}
}
