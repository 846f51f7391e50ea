//! Spans as lines for people, in the style of strace.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::time::Instant;

use super::LineOutput;
use super::colours::Colours;
use crate::commands::text::{Escaped, Nanoseconds};
use crate::event::{Call, Timeout};
use crate::process::Process;
use crate::rfc3339::Rfc3339;
use crate::sink::SpanSink;
use crate::span::{AttributeSink, Span};

/// Shorter calls are padded to this column, so that results line up.
const RESULT_COLUMN: usize = 66;
/// Threads remembered, to tell what messages and sends come of.
const MAX_THREADS: usize = 4096;

pub(super) struct Printer<W> {
    out: LineOutput<W>,
    line: String,
    colours: Colours,
    /// By thread id, from all calls: a receive can end before its send does.
    threads: HashMap<u32, Known>,
}

/// What is remembered of a thread.
#[derive(Debug, Default)]
struct Known {
    comm: String,
    received: Option<Received>,
}

/// The last receive that took a message.
#[derive(Debug)]
struct Received {
    start_ns: u64,
    end_ns: u64,
    queue: Option<String>,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W, colours: Colours) -> Self {
        Self {
            out: LineOutput::new(out),
            line: String::new(),
            colours,
            threads: HashMap::new(),
        }
    }

    fn remember(&mut self, call: &Call<'_>) {
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&call.tid) {
            self.threads.clear();
        }
        let known = self.threads.entry(call.tid).or_default();
        if known.comm != call.comm {
            call.comm.as_ref().clone_into(&mut known.comm);
        }
        if call.operation.is_receive() && call.ret >= 0 {
            known.received = Some(Received {
                start_ns: call.start_ns,
                end_ns: call.end_ns,
                queue: call.name.as_deref().map(str::to_owned),
            });
        }
    }
}

impl<W: Write> SpanSink for Printer<W> {
    fn span(&mut self, _process: &Process, span: &Span<'_>) {
        // What follows a call has no line of its own.
        if span.is_process {
            return;
        }
        self.remember(span.call);
        self.line.clear();
        if write_span(&mut self.line, span, self.colours, &self.threads).is_ok() {
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

fn write_span(
    line: &mut String,
    span: &Span<'_>,
    colours: Colours,
    threads: &HashMap<u32, Known>,
) -> fmt::Result {
    let call = span.call;
    let mut time = Rfc3339::default();
    let (date, clock) = date_and_clock(&mut time, span.call_start_unix_ns());
    write!(
        line,
        "{}{clock}{} {:<22} {:<7} ",
        colours.dim(),
        colours.plain(),
        Thread(&call.comm, call.tid).to_string(),
        call.abi.name(),
    )?;
    let begin = line.chars().count();
    write!(line, "{}(", call.operation.name())?;
    write_arguments(line, span, date)?;
    line.push(')');
    for _ in line.chars().count() - begin..RESULT_COLUMN {
        line.push(' ');
    }
    write_result(line, span, colours)?;
    write_journey(line, span, colours, threads)?;
    write_cause(line, span, colours, threads)
}

/// The day with its `T`, and the time of day in microseconds.
pub(super) fn date_and_clock(time: &mut Rfc3339, unix_ns: u64) -> (&str, &str) {
    let text = time
        .format(Timeout {
            sec: (unix_ns / 1_000_000_000).cast_signed(),
            nsec: (unix_ns % 1_000_000_000).cast_signed(),
        })
        .unwrap_or(UNKNOWN_TIME);
    let (date, clock) = text.split_at_checked(DATE_BYTES).unwrap_or(("", text));
    (date, clock.get(..15).unwrap_or(clock))
}

/// Length of the date and its `T` in RFC 3339.
const DATE_BYTES: usize = "2026-11-24T".len();
const UNKNOWN_TIME: &str = "????-??-??T??:??:??.??????";

/// Displayed as `comm/tid`.
pub(super) struct Thread<'a>(pub(super) &'a str, pub(super) u32);

impl fmt::Display for Thread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Escaped(self.0), self.1)
    }
}

/// Writes the arguments of the call.
///
/// A timeout on `date`, the day of the call, is written as a time of day.
fn write_arguments(line: &mut String, span: &Span<'_>, date: &str) -> fmt::Result {
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
            Some(text) => {
                let of_day = text.strip_prefix(date).filter(|_| !date.is_empty());
                write!(line, ", until {}", of_day.unwrap_or(text))?;
            }
            None => write!(line, ", until {{{}, {}}}", timeout.sec, timeout.nsec)?,
        }
    }
    Ok(())
}

fn write_result(line: &mut String, span: &Span<'_>, colours: Colours) -> fmt::Result {
    let call = span.call;
    line.push_str(" = ");
    write_outcome(line, span, colours)?;
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
    if let Some(step_ns) = span.times.clock_step_ns {
        write!(line, "  clock set by {:+.3} s", step_ns as f64 / 1e9)?;
    }
    write!(
        line,
        "  {}",
        Nanoseconds(
            span.times
                .end_unix_ns
                .saturating_sub(span.call_start_unix_ns())
        )
    )
}

/// Writes the return value, or how the call failed.
pub(super) fn write_outcome(line: &mut String, span: &Span<'_>, colours: Colours) -> fmt::Result {
    let (colour, plain) = (colours.of_outcome(span), colours.plain());
    match (&span.failure, span.call.death_signal) {
        (Some(signal), Some(_)) => write!(line, "{colour}killed by {signal}{plain}"),
        (Some(error), None) => write!(line, "{colour}-1 {error}{plain}"),
        (None, _) if span.call.reentered => write!(line, "{colour}? interrupted{plain}"),
        (None, _) => write!(line, "{colour}{}{plain}", span.call.ret),
    }
}

/// Writes who sent a received message, and how long it was in the queue.
fn write_journey(
    line: &mut String,
    span: &Span<'_>,
    colours: Colours,
    threads: &HashMap<u32, Known>,
) -> fmt::Result {
    let (Some(sender), Some(seconds)) = (span.call.sender, span.time_in_queue()) else {
        return Ok(());
    };
    let sent_by = threads.get(&sender.cause.call.tid);
    let name = sent_by.map_or("?", |known| known.comm.as_str());
    let from = Thread(name, sender.cause.call.tid);
    write_origin(
        line,
        colours,
        format_args!("{from}"),
        (seconds * 1e9) as u64,
    )
}

fn write_origin(
    line: &mut String,
    colours: Colours,
    from: fmt::Arguments<'_>,
    after_ns: u64,
) -> fmt::Result {
    let (colour, plain) = (colours.of_journey(), colours.plain());
    let after = Nanoseconds(after_ns);
    write!(line, "  {colour}\u{2190} {from} after {after}{plain}")
}

/// Writes which receive a send comes of, with a question mark if that is not proven.
fn write_cause(
    line: &mut String,
    span: &Span<'_>,
    colours: Colours,
    threads: &HashMap<u32, Known>,
) -> fmt::Result {
    let call = span.call;
    let Some(cause) = call.receive_before else {
        return Ok(());
    };
    let received = threads
        .get(&call.tid)
        .and_then(|known| known.received.as_ref())
        .filter(|received| received.start_ns == cause.call.start_ns);
    let Some(received) = received else {
        return Ok(());
    };
    let queue = Escaped(received.queue.as_deref().unwrap_or("?"));
    let doubt = if cause.is_parent { "" } else { "?" };
    let after_ns = call.start_ns.saturating_sub(received.end_ns);
    write_origin(line, colours, format_args!("{queue}{doubt}"), after_ns)
}

/// Text of attributes that `span` spells out.
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
            let signal = crate::errno::signal_name(u32::try_from(value).unwrap_or(0));
            write!(notify, " {signal}").unwrap_or_default();
        }
    }

    fn double(&mut self, _key: &'static str, _value: f64) {}

    fn bool(&mut self, _key: &'static str, _value: bool) {}

    fn bytes(&mut self, _key: &'static str, _value: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Traces;
    use crate::event::{CallKey, Cause, Operation};
    use crate::ids::Ids;
    use crate::span::SpanSettings;
    use crate::test_calls::{SEND, receive};

    /// 2026-11-24T06:00:00Z, the second of the timeout in `receive`.
    const TIMEOUT_SECOND: u64 = 1_795_500_000;

    fn line(call: &Call<'_>, start_unix_ns: u64, colours: bool) -> String {
        let settings = SpanSettings::new(Ids::new(7), Traces::default());
        let span = Span::new(call, &settings, (start_unix_ns, start_unix_ns + 1_500));
        let known = |comm: &str, received| Known {
            comm: comm.to_owned(),
            received,
        };
        let received = Received {
            start_ns: 400_000,
            end_ns: 990_000,
            queue: Some("/in\x1b".to_owned()),
        };
        let threads = HashMap::from([
            (99, known("shop\x1b", None)),
            (101, known("orders", Some(received))),
        ]);
        let mut line = String::new();
        write_span(&mut line, &span, Colours(colours), &threads).unwrap();
        line
    }

    #[test]
    fn a_line_reads_like_strace() {
        let start = (TIMEOUT_SECOND - 1) * 1_000_000_000;
        let day = line(&receive(), start, false);
        let (call, result) = day.split_once(" = ").unwrap();
        assert_eq!(
            call.trim_end(),
            "05:59:59.000000 orders/101             i386    \
             mq_timedreceive_time32(3</orders>, 64, until 06:00:00.000000250Z)"
        );
        assert_eq!(call.chars().count(), 16 + 23 + 8 + RESULT_COLUMN);
        assert_eq!(
            result,
            "5  prio 7  depth 1/10  1.5 µs  \u{2190} shop\\u{1b}/99 after 690.0 µs"
        );
    }

    #[test]
    fn a_timeout_on_another_day_has_its_date() {
        let yesterday = line(&receive(), (TIMEOUT_SECOND - 86_400) * 1_000_000_000, false);
        assert!(
            yesterday.contains(", until 2026-11-24T06:00:00.000000250Z)"),
            "{yesterday}"
        );
    }

    #[test]
    fn the_colour_is_that_of_the_outcome() {
        let mut call = receive();
        for (ret, colour) in [
            (5, "\x1b[32m5"),
            (-110, "\x1b[33m-1 ETIMEDOUT"),
            (-90, "\x1b[31m-1 EMSGSIZE"),
        ] {
            call.ret = ret;
            let coloured = line(&call, 0, true);
            assert!(coloured.contains(colour), "{coloured:?}");
            assert!(!line(&call, 0, false).contains('\x1b'));
        }
    }

    #[test]
    fn a_send_tells_which_receive_it_comes_of() {
        let mut call = receive();
        call.operation = Operation::MqTimedsend;
        (call.ret, call.sender) = (0, None);
        let mut cause = Cause {
            call: CallKey {
                tid: 101,
                start_ns: 400_000,
            },
            root: SEND,
            is_parent: true,
            application_trace: None,
        };
        call.receive_before = Some(cause);
        let proven = line(&call, 0, false);
        assert!(
            proven.ends_with("1.5 µs  \u{2190} /in\\u{1b} after 10.0 µs"),
            "{proven}"
        );
        cause.is_parent = false;
        call.receive_before = Some(cause);
        let possible = line(&call, 0, false);
        assert!(
            possible.ends_with("\u{2190} /in\\u{1b}? after 10.0 µs"),
            "{possible}"
        );
        cause.call.start_ns -= 1;
        call.receive_before = Some(cause);
        assert!(!line(&call, 0, false).contains('\u{2190}'));
    }

    #[test]
    fn names_of_threads_are_bounded_and_renewed() {
        let mut printer = Printer::new(Vec::new(), Colours(false));
        let mut call = receive();
        for tid in 0..MAX_THREADS as u32 + 10 {
            call.tid = tid;
            printer.remember(&call);
        }
        assert_eq!(printer.threads.len(), 10);
        call.comm = "renamed".into();
        printer.remember(&call);
        assert_eq!(
            printer
                .threads
                .get(&call.tid)
                .map(|known| known.comm.as_str()),
            Some("renamed")
        );
    }
}
