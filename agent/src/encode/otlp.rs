//! One span as the bytes of OTLP's `Span` message.
//!
//! Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto` and
//! `common/v1/common.proto`. Each attribute is written into a window of fixed
//! size, so that with its key known at compile time all but the value is
//! stores of constants.

use crate::span::{AttributeSink, Link, Span};

use super::wire::{Writer, padded_varint, put_varint, varint_len};

/// Low bits of `Span.flags` and `Link.flags`: the W3C trace flag "sampled".
/// What is exported was sampled; the target of a link may have been.
const SAMPLED: u32 = 0x001;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: the next bit means something.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: the parent, or the link's target, came
/// from elsewhere. True of a sender: its context arrives with the message, as
/// if extracted from it. Not true of the interrupted call of the same thread.
const IS_REMOTE: u32 = 0x200;

/// Room for all of an attribute but text.
const WINDOW: usize = 64;
/// Keys up to this length take the fast path: with tags, lengths and the
/// longest varint they fill no more than the window.
const MAX_KEY: usize = 40;
/// Bytes of text in a span from which its length may not fit two bytes. All
/// else in a span is less than 4 KiB.
const LONG_TEXT: usize = 12 << 10;

/// Writes a span with the tag of `ScopeSpans.spans` and its length.
///
/// Nothing is allocated. Without enough room the writer is left overrun, as
/// [`Writer::finish`] tells.
#[inline]
pub fn span(writer: &mut Writer<'_>, span: &Span<'_>) {
    let call = span.call;
    let name_len = call.name.as_ref().map_or(0, |name| name.len());
    let error_len = span.error_type.as_ref().map_or(0, |text| text.len());
    // The queue stands in the name and in an attribute.
    if 2 * name_len + call.comm.len() + error_len < LONG_TEXT {
        framed::<2>(writer, span);
    } else {
        framed::<5>(writer, span);
    }
}

/// With a length of `N` bytes: two are exact for 128 to 16,383 bytes.
#[inline(always)]
fn framed<const N: usize>(writer: &mut Writer<'_>, span: &Span<'_>) {
    writer.bytes(&[2 << 3 | 2]);
    let at = writer.position();
    writer.bytes(&[0; N]);
    identity(writer, span);
    name(writer, span);
    times(writer, span);
    span.attributes(&mut Attributes { writer });
    if let Some(sender) = &span.sender_link {
        let flags = SAMPLED | HAS_IS_REMOTE | IS_REMOTE;
        link(writer, sender, "sender", flags);
    }
    if let Some(interrupted) = &span.restart_link {
        link(writer, interrupted, "interrupted", SAMPLED | HAS_IS_REMOTE);
    }
    if let Some(message) = span.error {
        status(writer, message);
    }
    let len = writer.position().saturating_sub(at.saturating_add(N));
    writer.patch(at, padded_varint::<N>(len));
}

/// `trace_id`, `span_id`, `flags` and, of a child, `parent_span_id`.
#[inline(always)]
fn identity(writer: &mut Writer<'_>, span: &Span<'_>) {
    let Some(room) = writer.window::<44>() else {
        return;
    };
    let mut flags = SAMPLED | HAS_IS_REMOTE;
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
        flags |= IS_REMOTE;
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
fn name(writer: &mut Writer<'_>, span: &Span<'_>) {
    let (operation, queue) = span.name();
    writer.bytes(&[5 << 3 | 2]);
    match queue {
        Some(queue) => {
            writer.varint((operation.len() + 1 + queue.len()) as u64);
            writer.bytes(operation.as_bytes());
            writer.bytes(b" ");
            writer.bytes(queue.as_bytes());
        }
        None => {
            writer.varint(operation.len() as u64);
            writer.bytes(operation.as_bytes());
        }
    }
}

/// `kind`, `start_time_unix_nano` and `end_time_unix_nano`.
#[inline(always)]
fn times(writer: &mut Writer<'_>, span: &Span<'_>) {
    let Some(room) = writer.window::<20>() else {
        return;
    };
    room[0] = 6 << 3;
    room[1] = span.kind() as u8;
    room[2] = 7 << 3 | 1;
    room[3..11].copy_from_slice(&span.start_unix_ns.to_le_bytes());
    room[11] = 8 << 3 | 1;
    room[12..20].copy_from_slice(&span.end_unix_ns.to_le_bytes());
    writer.advance(20);
}

/// `links`: ids, flags and the attribute `posix_mq.link` that says which.
fn link(writer: &mut Writer<'_>, link: &Link, role: &'static str, flags: u32) {
    const KEY: &str = "posix_mq.link";
    let value_len = 2 + role.len();
    let pair_len = 2 + KEY.len() + 2 + value_len;
    let len = 28 + 2 + pair_len + 5;
    writer.bytes(&[13 << 3 | 2, len as u8, 1 << 3 | 2, 16]);
    writer.bytes(&link.trace_id);
    writer.bytes(&[2 << 3 | 2, 8]);
    writer.bytes(&link.span_id);
    writer.bytes(&[4 << 3 | 2, pair_len as u8, 1 << 3 | 2, KEY.len() as u8]);
    writer.bytes(KEY.as_bytes());
    writer.bytes(&[2 << 3 | 2, value_len as u8, 1 << 3 | 2, role.len() as u8]);
    writer.bytes(role.as_bytes());
    writer.bytes(&[6 << 3 | 5]);
    writer.bytes(&flags.to_le_bytes());
}

/// `status` with `STATUS_CODE_ERROR` and a message.
fn status(writer: &mut Writer<'_>, message: &str) {
    let message_len = varint_len(message.len() as u64) + message.len();
    writer.bytes(&[15 << 3 | 2]);
    writer.varint((1 + message_len + 2) as u64);
    writer.field(2 << 3 | 2, message.as_bytes());
    writer.bytes(&[3 << 3, 2]);
}

/// Writes attributes as `Span.attributes`.
struct Attributes<'a, 'room> {
    writer: &'a mut Writer<'room>,
}

impl Attributes<'_, '_> {
    /// `{key, value}` where `value` is a whole `AnyValue` of one byte of tag
    /// and `N` bytes.
    #[inline(always)]
    fn fixed<const N: usize>(&mut self, key: &'static str, tag: u8, value: [u8; N]) {
        let Some(room) = self.writer.window::<WINDOW>() else {
            return;
        };
        let key_end = 4 + key.len();
        room[0] = ATTRIBUTE;
        room[1] = (2 + key.len() + 3 + N) as u8;
        room[2] = 1 << 3 | 2;
        room[3] = key.len() as u8;
        put(room, 4, key.as_bytes());
        put(room, key_end, &[2 << 3 | 2, 1 + N as u8, tag]);
        put(room, key_end + 3, &value);
        self.writer.advance(key_end + 3 + N);
    }

    /// Any key and value; `tag` is the value's field in `AnyValue`.
    #[inline(never)]
    fn general(&mut self, key: &str, tag: u8, prefix: Option<u64>, value: &[u8]) {
        let any_len = 1 + prefix.map_or(0, varint_len) + value.len();
        let pair_len =
            1 + varint_len(key.len() as u64) + key.len() + 1 + varint_len(any_len as u64) + any_len;
        self.writer.bytes(&[ATTRIBUTE]);
        self.writer.varint(pair_len as u64);
        self.writer.field(1 << 3 | 2, key.as_bytes());
        self.writer.bytes(&[2 << 3 | 2]);
        self.writer.varint(any_len as u64);
        self.writer.bytes(&[tag]);
        if let Some(prefix) = prefix {
            self.writer.varint(prefix);
        }
        self.writer.bytes(value);
    }
}

/// `Span.attributes`, field 9.
const ATTRIBUTE: u8 = 9 << 3 | 2;

/// Copies to `at`, where that is inside.
#[inline(always)]
fn put(room: &mut [u8; WINDOW], at: usize, bytes: &[u8]) {
    if let Some(room) = room.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}

impl AttributeSink for Attributes<'_, '_> {
    #[inline(always)]
    fn text(&mut self, key: &'static str, value: &str) {
        const TAG: u8 = 1 << 3 | 2;
        let pair_len = 2 + key.len() + 4 + value.len();
        if key.len() > MAX_KEY || pair_len > 0x7f {
            let len = Some(value.len() as u64);
            return self.general(key, TAG, len, value.as_bytes());
        }
        let Some(room) = self.writer.window::<WINDOW>() else {
            return;
        };
        let key_end = 4 + key.len();
        room[0] = ATTRIBUTE;
        room[1] = pair_len as u8;
        room[2] = 1 << 3 | 2;
        room[3] = key.len() as u8;
        put(room, 4, key.as_bytes());
        let any_len = 2 + value.len() as u8;
        let head = [2 << 3 | 2, any_len, TAG, value.len() as u8];
        put(room, key_end, &head);
        self.writer.advance(key_end + 4);
        self.writer.bytes(value.as_bytes());
    }

    #[inline(always)]
    fn int(&mut self, key: &'static str, value: i64) {
        const TAG: u8 = 3 << 3;
        let value = value.cast_unsigned();
        if key.len() > MAX_KEY {
            return self.general(key, TAG, Some(value), &[]);
        }
        let Some(room) = self.writer.window::<WINDOW>() else {
            return;
        };
        let key_end = 4 + key.len();
        let mut varint = [0; 10];
        let len = put_varint(&mut varint, value);
        room[0] = ATTRIBUTE;
        room[1] = (2 + key.len() + 3 + len) as u8;
        room[2] = 1 << 3 | 2;
        room[3] = key.len() as u8;
        put(room, 4, key.as_bytes());
        put(room, key_end, &[2 << 3 | 2, 1 + len as u8, TAG]);
        put(room, key_end + 3, &varint);
        self.writer.advance(key_end + 3 + len);
    }

    #[inline(always)]
    fn double(&mut self, key: &'static str, value: f64) {
        const TAG: u8 = 4 << 3 | 1;
        if key.len() > MAX_KEY {
            return self.general(key, TAG, None, &value.to_le_bytes());
        }
        self.fixed(key, TAG, value.to_le_bytes());
    }

    #[inline(always)]
    fn bool(&mut self, key: &'static str, value: bool) {
        const TAG: u8 = 2 << 3;
        if key.len() > MAX_KEY {
            return self.general(key, TAG, Some(value.into()), &[]);
        }
        self.fixed(key, TAG, [value.into()]);
    }
}
