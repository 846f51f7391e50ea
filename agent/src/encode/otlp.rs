//! Encodes one span as OTLP's `Span` message.
//!
//! Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto` and
//! `common/v1/common.proto`. Each attribute is written into a window of fixed
//! size. Its key is known at compile time, so everything but the value becomes
//! stores of constants.

use opentelemetry_semantic_conventions::attribute as semconv;

use crate::span::{AttributeSink, Link, Span};

use super::wire::{WireWriter, copy_text, padded_varint, varint, varint_len};

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: the next bit is meaningful. The eight
/// lowest bits are the trace flags.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: the parent, or the link's target, is
/// remote. This is true of a sender, whose context arrives with the message as
/// if extracted from it. It is not true of the interrupted call of the same
/// thread.
const IS_REMOTE: u32 = 0x200;

/// Bytes of room for an attribute, its text excluded.
const WINDOW: usize = 64;
/// Bytes of room for a text attribute whose lengths take one byte each.
const TEXT_WINDOW: usize = 160;
/// Keys up to this length take the fast path: with tags, lengths and the
/// longest varint they still fit the window.
const MAX_KEY: usize = 40;
/// Bytes of text in a span from which its length may not fit two bytes.
/// Everything else in a span is less than 4 KiB.
const LONG_TEXT: usize = 12 << 10;

/// Writes a span with the tag of `ScopeSpans.spans` and its length.
///
/// Allocates nothing. If the room is too short the writer is left overrun,
/// which [`WireWriter::finish`] reports. The writer is passed by value
/// throughout, so that its position stays in a register.
#[inline]
pub fn span<'room>(mut writer: WireWriter<'room>, span: &Span<'_>) -> WireWriter<'room> {
    let call = span.call;
    let name_len = call.name.as_ref().map_or(0, |name| name.len());
    let template_len = span.template.as_ref().map_or(0, |text| text.len());
    // The queue and its template are in the name and in attributes.
    let is_long = 2 * (name_len + template_len) + call.comm.len() >= LONG_TEXT;
    writer.bytes(&[2 << 3 | 2]);
    let at = writer.position();
    let len_len = if is_long { 5 } else { 2 };
    writer.advance(len_len);
    writer = head(writer, span);
    let mut sink = Attributes { writer };
    span.attributes(&mut sink);
    writer = sink.writer;
    if let Some(sender) = &span.sender_link {
        let flags = HAS_IS_REMOTE | IS_REMOTE;
        let is_parent = span.parent_span_id == Some(sender.span_id);
        writer = link(writer, sender, "sender", is_parent, flags);
    }
    if let Some(receive) = &span.receive_link {
        let is_parent = span.parent_span_id == Some(receive.span_id);
        writer = link(writer, receive, "receive", is_parent, HAS_IS_REMOTE);
    }
    if let Some(application) = &span.application_link {
        writer = link(writer, application, "application", false, HAS_IS_REMOTE);
    }
    if let Some(interrupted) = &span.restart_link {
        writer = link(writer, interrupted, "interrupted", false, HAS_IS_REMOTE);
    }
    if span.is_error {
        writer = status(writer, crate::status::message(call).as_str());
    }
    let len = writer.position().saturating_sub(at.saturating_add(len_len));
    if is_long {
        writer.patch(at, padded_varint::<5>(len));
    } else {
        // Exact for 128 to 16,383 bytes.
        writer.patch(at, padded_varint::<2>(len));
    }
    writer
}

/// Writes everything before the attributes.
#[inline(always)]
fn head<'room>(mut writer: WireWriter<'room>, span: &Span<'_>) -> WireWriter<'room> {
    identity(&mut writer, span);
    if let Some(state) = &span.trace_state {
        writer.field(3 << 3 | 2, state.as_str().as_bytes());
    }
    name(&mut writer, span);
    times(&mut writer, span);
    writer
}

/// `trace_id`, `span_id`, `flags` and, for a child, `parent_span_id`.
#[inline(always)]
fn identity(writer: &mut WireWriter<'_>, span: &Span<'_>) {
    let Some(room) = writer.window::<44>() else {
        return;
    };
    let mut flags = u32::from(span.trace_flags()) | HAS_IS_REMOTE;
    let mut used = 34;
    room[0] = 1 << 3 | 2;
    room[1] = 16;
    room[2..18].copy_from_slice(&span.trace_id);
    room[18] = 2 << 3 | 2;
    room[19] = 8;
    room[20..28].copy_from_slice(&span.span_id);
    if let Some(parent) = &span.parent_span_id {
        room[34] = 4 << 3 | 2;
        room[35] = 8;
        room[36..44].copy_from_slice(parent);
        if span.parent_is_remote {
            flags |= IS_REMOTE;
        }
        used = 44;
    }
    // Field 16, a tag of two bytes.
    room[28] = 0x85;
    room[29] = 0x01;
    room[30..34].copy_from_slice(&flags.to_le_bytes());
    writer.advance(used);
}

/// `name`: the operation, a space and the queue.
#[inline(always)]
fn name(writer: &mut WireWriter<'_>, span: &Span<'_>) {
    let (operation, queue) = span.name();
    let queue_len = queue.map_or(0, |queue| 1 + queue.len());
    writer.bytes(&[5 << 3 | 2]);
    writer.varint((operation.len() + queue_len) as u64);
    writer.bytes(operation.as_bytes());
    if let Some(queue) = queue {
        writer.bytes(b" ");
        writer.bytes(queue.as_bytes());
    }
}

/// `kind`, `start_time_unix_nano` and `end_time_unix_nano`.
#[inline(always)]
fn times(writer: &mut WireWriter<'_>, span: &Span<'_>) {
    let Some(room) = writer.window::<20>() else {
        return;
    };
    room[0] = 6 << 3;
    room[1] = span.kind() as u8;
    room[2] = 7 << 3 | 1;
    room[3..11].copy_from_slice(&span.times.start_unix_ns.to_le_bytes());
    room[11] = 8 << 3 | 1;
    room[12..20].copy_from_slice(&span.times.end_unix_ns.to_le_bytes());
    writer.advance(20);
}

/// `links`: ids, flags and the attribute `posix_mq.link`, which holds the role.
/// That to the parent says so.
#[inline(never)]
fn link<'room>(
    mut writer: WireWriter<'room>,
    link: &Link,
    role: &'static str,
    is_parent: bool,
    flags: u32,
) -> WireWriter<'room> {
    // Without it, Jaeger makes FOLLOWS_FROM of a parent that also has a link.
    const OF_PARENT: (&str, &str) = (semconv::OPENTRACING_REF_TYPE, "child_of");
    let role = ("posix_mq.link", role);
    let second = if is_parent {
        2 + text_len(OF_PARENT)
    } else {
        0
    };
    let len = 28 + 2 + text_len(role) + second + 5;
    writer.bytes(&[13 << 3 | 2, len as u8, 1 << 3 | 2, 16]);
    writer.bytes(&link.trace_id);
    writer.bytes(&[2 << 3 | 2, 8]);
    writer.bytes(&link.span_id);
    writer = link_text(writer, role);
    if is_parent {
        writer = link_text(writer, OF_PARENT);
    }
    writer.bytes(&[6 << 3 | 5]);
    let flags = flags | u32::from(link.trace_flags);
    writer.bytes(&flags.to_le_bytes());
    writer
}

/// Length of a text attribute whose lengths take one byte each.
const fn text_len((key, value): (&str, &str)) -> usize {
    2 + key.len() + 2 + 2 + value.len()
}

/// Writes an attribute of a link.
fn link_text<'room>(
    mut writer: WireWriter<'room>,
    (key, value): (&'static str, &'static str),
) -> WireWriter<'room> {
    let len = text_len((key, value));
    writer.bytes(&[4 << 3 | 2, len as u8, 1 << 3 | 2, key.len() as u8]);
    writer.bytes(key.as_bytes());
    writer.bytes(&[
        2 << 3 | 2,
        2 + value.len() as u8,
        1 << 3 | 2,
        value.len() as u8,
    ]);
    writer.bytes(value.as_bytes());
    writer
}

/// `status` with `STATUS_CODE_ERROR` and a message.
#[inline(never)]
fn status<'room>(mut writer: WireWriter<'room>, message: &str) -> WireWriter<'room> {
    let message_len = varint_len(message.len() as u64) + message.len();
    writer.bytes(&[15 << 3 | 2]);
    writer.varint((1 + message_len + 2) as u64);
    writer.field(2 << 3 | 2, message.as_bytes());
    writer.bytes(&[3 << 3, 2]);
    writer
}

/// Writes attributes as `Span.attributes`.
struct Attributes<'room> {
    writer: WireWriter<'room>,
}

impl Attributes<'_> {
    /// Writes `{key, value}`. The `AnyValue` is the byte `tag` and the first
    /// `len` bytes of `value` and `more`.
    #[inline(always)]
    fn fixed(&mut self, key: &'static str, tag: u8, value: [u8; 8], more: [u8; 2], len: usize) {
        let Some(room) = self.writer.window::<WINDOW>() else {
            return;
        };
        let key_end = 4 + key.len();
        room[0] = ATTRIBUTE;
        room[1] = (2 + key.len() + 3 + len) as u8;
        room[2] = 1 << 3 | 2;
        room[3] = key.len() as u8;
        put(room, 4, key.as_bytes());
        put(room, key_end, &[2 << 3 | 2, 1 + len as u8, tag]);
        put(room, key_end + 3, &value);
        put(room, key_end + 11, &more);
        self.writer.advance(key_end + 3 + len);
    }

    #[cold]
    #[inline(always)]
    fn general(&mut self, key: &str, tag: u8, prefix: Option<u64>, value: &[u8]) {
        self.writer = general(std::mem::take(&mut self.writer), key, tag, prefix, value);
    }
}

/// Writes any key and value. `tag` is the tag of the value's field in
/// `AnyValue`.
#[inline(never)]
fn general<'room>(
    mut writer: WireWriter<'room>,
    key: &str,
    tag: u8,
    prefix: Option<u64>,
    value: &[u8],
) -> WireWriter<'room> {
    let key_len = varint_len(key.len() as u64) + key.len();
    let any_len = 1 + prefix.map_or(0, varint_len) + value.len();
    let pair_len = 1 + key_len + 1 + varint_len(any_len as u64) + any_len;
    writer.bytes(&[ATTRIBUTE]);
    writer.varint(pair_len as u64);
    writer.field(1 << 3 | 2, key.as_bytes());
    writer.bytes(&[2 << 3 | 2]);
    writer.varint(any_len as u64);
    writer.bytes(&[tag]);
    if let Some(prefix) = prefix {
        writer.varint(prefix);
    }
    writer.bytes(value);
    writer
}

/// Tag of `Span.attributes`, field 9.
const ATTRIBUTE: u8 = 9 << 3 | 2;

/// Copies `bytes` to `at`, if they fit.
#[inline(always)]
fn put<const N: usize>(room: &mut [u8; N], at: usize, bytes: &[u8]) {
    if let Some(room) = room.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}

impl AttributeSink for Attributes<'_> {
    #[inline(never)]
    fn bytes(&mut self, key: &'static str, value: &[u8]) {
        const TAG: u8 = 7 << 3 | 2;
        self.general(key, TAG, Some(value.len() as u64), value);
    }

    #[inline(always)]
    fn text(&mut self, key: &'static str, value: &str) {
        const TAG: u8 = 1 << 3 | 2;
        let pair_len = 2 + key.len() + 4 + value.len();
        if key.len() > MAX_KEY || pair_len > 0x7f {
            let len = Some(value.len() as u64);
            return self.general(key, TAG, len, value.as_bytes());
        }
        let Some(room) = self.writer.window::<TEXT_WINDOW>() else {
            return;
        };
        let key_end = 4 + key.len();
        let end = key_end + 4 + value.len();
        room[0] = ATTRIBUTE;
        room[1] = pair_len as u8;
        room[2] = 1 << 3 | 2;
        room[3] = key.len() as u8;
        put(room, 4, key.as_bytes());
        let any_len = 2 + value.len() as u8;
        let head = [2 << 3 | 2, any_len, TAG, value.len() as u8];
        put(room, key_end, &head);
        if let Some(room) = room.get_mut(key_end + 4..end) {
            copy_text(room, value.as_bytes());
        }
        self.writer.advance(end);
    }

    #[inline(always)]
    fn int(&mut self, key: &'static str, value: i64) {
        const TAG: u8 = 3 << 3;
        let value = value.cast_unsigned();
        if key.len() > MAX_KEY {
            return self.general(key, TAG, Some(value), &[]);
        }
        let (low, high, len) = varint(value);
        self.fixed(key, TAG, low, high, len);
    }

    #[inline(always)]
    fn double(&mut self, key: &'static str, value: f64) {
        const TAG: u8 = 4 << 3 | 1;
        if key.len() > MAX_KEY {
            return self.general(key, TAG, None, &value.to_le_bytes());
        }
        self.fixed(key, TAG, value.to_le_bytes(), [0; 2], 8);
    }

    #[inline(always)]
    fn bool(&mut self, key: &'static str, value: bool) {
        const TAG: u8 = 2 << 3;
        if key.len() > MAX_KEY {
            return self.general(key, TAG, Some(value.into()), &[]);
        }
        let low = u64::from(value).to_le_bytes();
        self.fixed(key, TAG, low, [0; 2], 1);
    }
}
