//! A call as an OpenTelemetry span: name, kind, status, ids and attributes.
//!
//! Only this module says which attributes a call has. Encoders walk
//! [`Span::attributes`] with their own sink; nothing is collected.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use opentelemetry_semantic_conventions::attribute as semconv;

use crate::clock::Times;
use crate::config::{ChainMode, Correlation, ReceiveStart, Traces};
use crate::errno;
use crate::event::{ApplicationTrace, Call, CallKey, Cause, Notify, OpenArguments};
use crate::ids::{Ids, SpanId, TraceId};
use crate::rfc3339::Rfc3339;
use crate::stack_text::StackText;
use crate::status;
use crate::templates::Templates;
use crate::trace_state::TraceState;

#[derive(Debug, Clone)]
pub struct SpanSettings {
    pub ids: Ids,
    /// Links, and which failures are not errors.
    pub traces: Traces,
    pub templates: Templates,
}

impl SpanSettings {
    pub fn new(ids: Ids, traces: Traces) -> Self {
        let templates = Templates::new(&traces.destination_templates);
        Self {
            ids,
            traces,
            templates,
        }
    }

    /// Whether calls can be children of this one: of a send the receive of its
    /// message, of a receive the sends that come of it.
    pub fn can_have_children(&self, call: &Call<'_>) -> bool {
        if call.ret < 0 {
            return false;
        }
        if call.operation.is_receive() {
            return match self.traces.chain_mode() {
                ChainMode::Proven => call.parent().is_some(),
                ChainMode::Thread => true,
                ChainMode::Link | ChainMode::None => false,
            };
        }
        call.made_message && self.traces.correlation == Correlation::Parent
    }
}

/// `SpanKind` of the OTLP protocol, with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Internal = 1,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// Of W3C Trace Context.
    pub trace_flags: u8,
}

/// The trace flags of our own traces. Every exported span was sampled; the target
/// of a link may have been. The trace ids are hashes, all of whose bits are as
/// good as random.
pub const SAMPLED_RANDOM: u8 = 0x03;

/// One call as a span. Times are Unix nanoseconds.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    pub call: &'a Call<'a>,
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// The application's span that the call is made for. Else of a receive the send
    /// of its message, of a send the receive that it comes of; see
    /// [`Cause::is_parent`].
    pub parent_span_id: Option<SpanId>,
    /// Whether the context of the parent came with a message.
    pub parent_is_remote: bool,
    /// The application's trace that it is in, which the application has decided to
    /// keep.
    pub application_trace: Option<ApplicationTrace>,
    /// The send of the message, unless [`Correlation::None`]. "Messaging spans" of
    /// the semantic conventions asks for it beside a parent, too.
    pub sender_link: Option<Link>,
    /// Of a send the receive that it may come of, unless that is its parent.
    pub receive_link: Option<Link>,
    /// The application's span that the call is made for, if the application does not
    /// keep it, so that nothing can be its child.
    pub application_link: Option<Link>,
    /// The interrupted call that this one restarts.
    pub restart_link: Option<Link>,
    pub times: Times,
    /// By how much the span starts after the call; see [`ReceiveStart`].
    pub idle_ns: u64,
    /// `STATUS_CODE_ERROR`; else the status is unset.
    pub is_error: bool,
    /// Why the call failed: the symbol of its errno, or the name of the signal that
    /// ended the thread.
    pub failure: Option<Cow<'static, str>>,
    /// `tracestate`, if the ratio of traces decided that this one is kept.
    pub trace_state: Option<TraceState>,
    /// What stands for the queue in the name.
    pub template: Option<Arc<str>>,
    /// Whether other spans can name it as their parent.
    pub can_have_children: bool,
    /// Whether the span is not of the call, a receive, but of what follows it: the
    /// processing of the message.
    pub is_process: bool,
    /// Whether the sink has room set aside for it.
    pub has_room: bool,
    /// `traces.body_size`.
    tells_body_size: bool,
}

/// Takes attributes one by one, in a fixed order, each key once.
pub trait AttributeSink {
    fn text(&mut self, key: &'static str, value: &str);
    fn int(&mut self, key: &'static str, value: i64);
    fn double(&mut self, key: &'static str, value: f64);
    fn bool(&mut self, key: &'static str, value: bool);
    fn bytes(&mut self, key: &'static str, value: &[u8]);
}

impl<'a> Span<'a> {
    pub fn new(call: &'a Call<'a>, settings: &SpanSettings, times: impl Into<Times>) -> Self {
        let ids = &settings.ids;
        let application_trace = call.application_trace();
        let trace_id = application_trace.map_or_else(|| ids.trace_id(call.root()), |of| of.id);
        let parent = call.parent();
        let application_parent = call.application_parent();
        let link = |cause: Cause| {
            let of = cause.application_trace;
            Link {
                trace_id: of.map_or_else(|| ids.trace_id(cause.root), |of| of.id),
                span_id: ids.span_id(cause.call),
                trace_flags: of.map_or(SAMPLED_RANDOM, |of| of.flags),
            }
        };
        let mut times = times.into();
        let idle_ns = idle_ns(call, settings.traces.receive_start);
        times.start_unix_ns = times.start_unix_ns.saturating_add(idle_ns);
        let links_to_sender = settings.traces.correlation != Correlation::None;
        Self {
            trace_id,
            span_id: ids.span_id(call.key()),
            parent_span_id: application_parent
                .map(|span| span.id)
                .or_else(|| parent.map(|cause| ids.span_id(cause.call))),
            parent_is_remote: application_parent.is_none() && call.sender.is_some(),
            application_trace,
            sender_link: call
                .sender
                .filter(|_| links_to_sender)
                .map(|sender| link(sender.cause)),
            receive_link: call
                .receive_before
                .filter(|cause| !cause.is_parent)
                .map(link),
            application_link: call
                .application
                .filter(|span| !span.is_sampled())
                .map(|span| Link {
                    trace_id: span.trace.id,
                    span_id: span.id,
                    trace_flags: span.trace.flags,
                }),
            restart_link: call.restarts.map(|start_ns| {
                let interrupted = CallKey {
                    start_ns,
                    ..call.key()
                };
                // An interrupted receive has no message, so it begins a trace. A send's parent is
                // that of its restart, and so is an application's span.
                let is_same_trace =
                    application_parent.is_some() || parent.is_some() && call.operation.is_send();
                Link {
                    trace_id: if is_same_trace {
                        trace_id
                    } else {
                        ids.trace_id(interrupted)
                    },
                    span_id: ids.span_id(interrupted),
                    trace_flags: application_trace
                        .filter(|_| is_same_trace)
                        .map_or(SAMPLED_RANDOM, |of| of.flags),
                }
            }),
            times,
            idle_ns,
            is_error: is_error(call, &settings.traces),
            failure: failure(call),
            trace_state: None,
            template: call
                .name
                .as_deref()
                .and_then(|name| settings.templates.of_queue(name)),
            can_have_children: settings.can_have_children(call),
            is_process: false,
            has_room: false,
            tells_body_size: settings.traces.body_size,
            call,
        }
    }

    /// The processing of the message that `receive` took, from its return to `end_ns`
    /// since boot. It has no parent yet.
    pub fn of_processing(
        receive: &'a Call<'a>,
        settings: &SpanSettings,
        times: Times,
        end_ns: u64,
    ) -> Self {
        let start_unix_ns = times.end_unix_ns;
        let end_unix_ns = start_unix_ns.saturating_add(end_ns.saturating_sub(receive.end_ns));
        let of_receive = Self::new(receive, settings, times);
        Self {
            span_id: settings.ids.process_id(receive.key()),
            parent_span_id: None,
            parent_is_remote: false,
            receive_link: Some(Link {
                trace_id: of_receive.trace_id,
                span_id: of_receive.span_id,
                trace_flags: of_receive.trace_flags(),
            }),
            application_link: None,
            restart_link: None,
            times: (start_unix_ns, end_unix_ns).into(),
            idle_ns: 0,
            can_have_children: false,
            is_process: true,
            ..of_receive
        }
    }

    /// The flags of its trace.
    pub fn trace_flags(&self) -> u8 {
        self.application_trace
            .map_or(SAMPLED_RANDOM, |trace| trace.flags)
    }

    /// For a parent without a span. The trace stays the same: what comes of this
    /// call is in it. So does the link to a send.
    pub fn become_root(&mut self) {
        self.parent_span_id = None;
    }

    /// The two parts of the name, to be joined by a space: the operation, and
    /// the queue, or its template, if known.
    pub fn name(&self) -> (&'static str, Option<&str>) {
        let queue = self.template.as_deref().or(self.call.name.as_deref());
        (self.operation_name(), queue)
    }

    fn operation_name(&self) -> &'static str {
        if self.is_process {
            "process"
        } else {
            self.call.operation.name()
        }
    }

    /// Send `PRODUCER`, receive `CLIENT`, processing `CONSUMER`, others `INTERNAL`.
    pub fn kind(&self) -> SpanKind {
        let operation = self.call.operation;
        if self.is_process {
            SpanKind::Consumer
        } else if operation.is_send() {
            SpanKind::Producer
        } else if operation.is_receive() {
            SpanKind::Client
        } else {
            SpanKind::Internal
        }
    }

    /// Start of the call in Unix nanoseconds.
    pub fn call_start_unix_ns(&self) -> u64 {
        self.times.start_unix_ns.saturating_sub(self.idle_ns)
    }

    /// Seconds from the return to the timeout; negative past it.
    pub fn deadline_margin(&self) -> Option<f64> {
        let timeout = self.call.timeout.filter(|timeout| timeout.is_valid())?;
        let deadline_ns = i128::from(timeout.sec) * 1_000_000_000 + i128::from(timeout.nsec);
        Some((deadline_ns - i128::from(self.times.end_by_clock_ns)) as f64 / 1e9)
    }

    /// Seconds from the creation of the message to the return of its receive.
    pub fn time_in_queue(&self) -> Option<f64> {
        let sender = self.call.sender.filter(|_| self.call.ret >= 0)?;
        Some(self.call.end_ns.saturating_sub(sender.created_ns) as f64 / 1e9)
    }

    /// Passes every attribute to the sink. Inlined with everything it calls, so
    /// that an encoder's sink knows each key at compile time.
    #[inline(always)]
    pub fn attributes(&self, sink: &mut impl AttributeSink) {
        let call = self.call;
        let operation = call.operation;
        sink.text(semconv::MESSAGING_SYSTEM, "posix_mq");
        sink.text(semconv::MESSAGING_OPERATION_NAME, self.operation_name());
        if self.is_process {
            sink.text(semconv::MESSAGING_OPERATION_TYPE, "process");
        } else if operation.is_send() {
            sink.text(semconv::MESSAGING_OPERATION_TYPE, "send");
        } else if operation.is_receive() {
            sink.text(semconv::MESSAGING_OPERATION_TYPE, "receive");
        }
        if let Some(name) = &call.name {
            sink.text(semconv::MESSAGING_DESTINATION_NAME, name);
        }
        if let Some(template) = &self.template {
            sink.text(semconv::MESSAGING_DESTINATION_TEMPLATE, template);
        }
        if call.unlinked {
            sink.bool(semconv::MESSAGING_DESTINATION_TEMPORARY, true);
        }
        if !self.is_process {
            self.call_attributes(sink);
        }
        sink.int("posix_mq.ipc_namespace", call.ipc_namespace.into());
        sink.int(semconv::THREAD_ID, call.tid.into());
        sink.text(semconv::THREAD_NAME, &call.comm);
    }

    /// The attributes of what is a call.
    #[inline(always)]
    fn call_attributes(&self, sink: &mut impl AttributeSink) {
        let call = self.call;
        let operation = call.operation;
        sink.text("posix_mq.abi", call.abi.name());
        if let Some(mqdes) = call.mqdes {
            sink.int("posix_mq.mqdes", mqdes.into());
        }
        if operation.is_send() || operation.is_receive() {
            self.transfer_attributes(sink);
        }
        if let Some(open) = call.open {
            open_attributes(open, sink);
        }
        match call.notify {
            Some(Notify::Unregister) => sink.text("posix_mq.notify", "none"),
            Some(Notify::Register { notify, signo }) => notify_attributes(notify, signo, sink),
            None => {}
        }
        sink.int("posix_mq.return", call.ret);
        if let Some(failure) = &self.failure {
            if call.death_signal.is_none() {
                sink.text("posix_mq.errno", failure);
            }
            if self.is_error {
                sink.text(semconv::ERROR_TYPE, failure);
            }
        }
        if let Some(depth) = call.depth {
            sink.int("posix_mq.queue.depth", depth.into());
        }
        if let Some(queue) = call.queue {
            sink.int("posix_mq.queue.max_messages", queue.max_messages.into());
            sink.int(
                "posix_mq.queue.max_message_size",
                queue.max_message_size.into(),
            );
        }
        if call.restarts.is_some() {
            sink.bool("posix_mq.restarted", true);
        }
        if call.start_unknown {
            sink.bool("posix_mq.start_unknown", true);
        }
        if let Some(step_ns) = self.times.clock_step_ns {
            sink.double("posix_mq.clock_step", step_ns as f64 / 1e9);
        }
    }

    /// The attributes of sends and receives only.
    #[inline(always)]
    fn transfer_attributes(&self, sink: &mut impl AttributeSink) {
        let call = self.call;
        if let Some(size) = call.body_size().filter(|_| self.tells_body_size) {
            sink.int(semconv::MESSAGING_MESSAGE_BODY_SIZE, size);
        }
        sink.int("posix_mq.msg_len", call.msg_len.cast_signed());
        if let Some(priority) = call.priority
            && (call.operation.is_send() || call.ret >= 0)
        {
            sink.int("posix_mq.priority", priority.into());
        }
        if let Some(timeout) = call.timeout {
            let mut buffer = Rfc3339::default();
            if let Some(text) = buffer.format(timeout) {
                sink.text("posix_mq.abs_timeout", text);
            } else {
                sink.int("posix_mq.abs_timeout_sec", timeout.sec);
                sink.int("posix_mq.abs_timeout_nsec", timeout.nsec);
            }
        }
        if self.idle_ns > 0 {
            sink.double("posix_mq.idle", self.idle_ns as f64 / 1e9);
        }
        if let Some(margin) = self.deadline_margin() {
            sink.double("posix_mq.deadline_margin", margin);
        }
        if call.nonblocking == Some(true) {
            sink.bool("posix_mq.nonblocking", true);
        }
        if call.is_queue_full() {
            sink.bool("posix_mq.queue.full", true);
        }
        if self.receive_link.is_some() {
            sink.text("posix_mq.cause", "same_thread");
        }
        if let Some(seconds) = self.time_in_queue() {
            sink.double("posix_mq.time_in_queue", seconds);
        }
        if let (Some(payload), Some(size)) = (call.payload, call.body_size()) {
            sink.bytes("posix_mq.payload", payload);
            sink.bool(
                "posix_mq.payload_truncated",
                (payload.len() as u64) < size.cast_unsigned(),
            );
        }
    }
}

/// How long a receive waited before its message was made.
fn idle_ns(call: &Call<'_>, start: ReceiveStart) -> u64 {
    match call.sender {
        Some(sender) if start == ReceiveStart::Message && call.ret >= 0 => {
            let until = sender.created_ns.min(call.end_ns);
            until.saturating_sub(call.start_ns)
        }
        _ => 0,
    }
}

fn is_error(call: &Call<'_>, traces: &Traces) -> bool {
    let unset = &traces.unset_status_errnos;
    call.death_signal.is_some()
        || call
            .errno()
            .is_some_and(|errno| status::is_error(call.operation, errno, unset))
}

fn failure(call: &Call<'_>) -> Option<Cow<'static, str>> {
    if let Some(signal) = call.death_signal {
        return Some(errno::signal_name(signal));
    }
    call.errno().map(errno::symbol)
}

#[inline(always)]
fn open_attributes(open: OpenArguments, sink: &mut impl AttributeSink) {
    let mut buffer = StackText::<128>::default();
    open_flags(&mut buffer, open.oflag);
    sink.text("posix_mq.oflag", buffer.as_str());
    if open.oflag & libc::O_CREAT.cast_unsigned() != 0 {
        let mut buffer = StackText::<16>::default();
        // A mode has at most six octal digits.
        write!(buffer, "{:04o}", open.mode).unwrap_or_default();
        sink.text("posix_mq.mode", buffer.as_str());
    }
}

/// The flags that `mq_open(3)` knows, the rest in hexadecimal.
fn open_flags(buffer: &mut StackText<128>, oflag: u32) {
    const FLAGS: [(i32, &str); 5] = [
        (libc::O_CREAT, "O_CREAT"),
        (libc::O_EXCL, "O_EXCL"),
        (libc::O_TRUNC, "O_TRUNC"),
        (libc::O_NONBLOCK, "O_NONBLOCK"),
        (libc::O_CLOEXEC, "O_CLOEXEC"),
    ];
    buffer.push(match oflag & libc::O_ACCMODE.cast_unsigned() {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "O_ACCMODE",
    });
    let mut rest = oflag & !libc::O_ACCMODE.cast_unsigned();
    for (bit, name) in FLAGS {
        if rest & bit.cast_unsigned() != 0 {
            rest &= !bit.cast_unsigned();
            buffer.push("|");
            buffer.push(name);
        }
    }
    if rest != 0 {
        write!(buffer, "|{rest:#x}").unwrap_or_default();
    }
}

#[inline(always)]
fn notify_attributes(notify: i32, signo: i32, sink: &mut impl AttributeSink) {
    // include/uapi/asm-generic/siginfo.h
    match notify {
        0 => sink.text("posix_mq.notify", "SIGEV_SIGNAL"),
        1 => sink.text("posix_mq.notify", "SIGEV_NONE"),
        2 => sink.text("posix_mq.notify", "SIGEV_THREAD"),
        other => sink.text("posix_mq.notify", &other.to_string()),
    }
    if notify == 0 {
        sink.int("posix_mq.notify_signal", signo.into());
    }
}

#[cfg(test)]
mod tests;
