//! The messages in a collector's answers, which are the same in both protocols.
//! Anything in them may be wrong or too long.

use std::time::Duration;

use crate::encode::wire::{FieldValue, Fields};

/// Bytes of an answer that are kept. Answers are short; anything beyond is
/// dropped.
pub(super) const MAX_ANSWER: usize = 256 << 10;
/// Bytes of the collector's text that are kept.
const MAX_TEXT: usize = 1024;

/// The part of an accepted request that the collector rejected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartialSuccess {
    /// 0 if the answer holds only a warning, or nothing.
    pub rejected_spans: u64,
    pub error_message: String,
}

impl PartialSuccess {
    /// Parses an `ExportTraceServiceResponse`. If it cannot be read, nothing
    /// was rejected: the status said that the request was accepted.
    pub fn parse(message: &[u8]) -> Self {
        let mut read = Self::default();
        for field in Fields::new(message).filter_map(Result::ok) {
            if field.number != 1 {
                continue;
            }
            for field in Fields::new(field.value.bytes()).filter_map(Result::ok) {
                match (field.number, field.value) {
                    (1, FieldValue::Varint(spans)) => {
                        read.rejected_spans = u64::try_from(spans.cast_signed()).unwrap_or(0);
                    }
                    (2, FieldValue::Len(text)) => read.error_message = short_text(text),
                    _ => {}
                }
            }
        }
        read
    }
}

/// A `google.rpc.Status`. Its code says nothing that the answer does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RpcStatus {
    pub message: String,
    /// `RetryInfo.retry_delay` of the details; `None` if it is missing or negative.
    pub retry_delay: Option<Duration>,
}

impl RpcStatus {
    /// Reads what can be read.
    pub fn parse(status: &[u8]) -> Self {
        let message = find(status, 2).first().map(|text| short_text(text));
        Self {
            message: message.unwrap_or_default(),
            retry_delay: retry_delay(status),
        }
    }
}

fn find(message: &[u8], number: u32) -> Vec<&[u8]> {
    Fields::new(message)
        .filter_map(Result::ok)
        .filter(|field| field.number == number)
        .map(|field| field.value.bytes())
        .collect()
}

fn retry_delay(status: &[u8]) -> Option<Duration> {
    let any = find(status, 3).into_iter().find(|any| {
        find(any, 1)
            .first()
            .is_some_and(|url| url.ends_with(b"google.rpc.RetryInfo"))
    })?;
    let info = *find(any, 2).first()?;
    let delay = *find(info, 1).first()?;
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::new(delay).filter_map(Result::ok) {
        match field.number {
            1 => seconds = field.value.number().cast_signed(),
            2 => nanos = field.value.number().cast_signed(),
            _ => {}
        }
    }
    let seconds = u64::try_from(seconds).ok()?;
    let nanos = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

/// The beginning of a text of the collector's.
pub(super) fn short_text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    cut(&mut text);
    text
}

pub(super) fn cut(text: &mut String) {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `google.rpc.Status` with one detail.
    fn status(type_url: &str, seconds: i64, nanos: i64) -> Vec<u8> {
        use crate::encode::wire::{push_bytes, push_varint};
        let mut delay = vec![1 << 3];
        push_varint(&mut delay, seconds.cast_unsigned());
        delay.push(2 << 3);
        push_varint(&mut delay, nanos.cast_unsigned());
        let mut info = Vec::new();
        push_bytes(&mut info, 1, &delay);
        let mut any = Vec::new();
        push_bytes(&mut any, 1, type_url.as_bytes());
        push_bytes(&mut any, 2, &info);
        let mut status = vec![1 << 3, 8];
        push_bytes(&mut status, 2, b"busy");
        push_bytes(&mut status, 3, b"\x0a\x01x");
        push_bytes(&mut status, 3, &any);
        status
    }

    #[test]
    fn message_and_retry_info_of_a_status_are_read() {
        const URL: &str = "type.googleapis.com/google.rpc.RetryInfo";
        let read = |seconds, nanos| RpcStatus::parse(&status(URL, seconds, nanos));
        let half = Duration::from_millis(1_500);
        assert_eq!(read(1, 500_000_000).message, "busy");
        assert_eq!(read(1, 500_000_000).retry_delay, Some(half));
        assert_eq!(read(0, 0).retry_delay, Some(Duration::ZERO));
        for (url, seconds, nanos) in [
            (URL, -1, 0),
            (URL, 1, -1),
            (URL, 1, 1_000_000_000),
            ("type.googleapis.com/google.rpc.DebugInfo", 1, 0),
        ] {
            let read = RpcStatus::parse(&status(url, seconds, nanos));
            assert_eq!(read.retry_delay, None);
        }
        assert_eq!(RpcStatus::parse(b"\xff\xff"), RpcStatus::default());
    }

    #[test]
    fn partial_success_is_read_and_nonsense_is_none() {
        let message = b"\x0a\x07\x08\x03\x12\x03bad";
        let expected = PartialSuccess {
            rejected_spans: 3,
            error_message: "bad".to_owned(),
        };
        assert_eq!(PartialSuccess::parse(message), expected);
        for message in [&b""[..], b"x", b"\x0a\xff"] {
            assert_eq!(PartialSuccess::parse(message), PartialSuccess::default());
        }
    }

    #[test]
    fn of_a_text_the_beginning_is_kept() {
        for (text, len) in [("x".repeat(2_000), 1_024), ("ü".repeat(2_000), 1_024)] {
            assert_eq!(short_text(text.as_bytes()).len(), len);
        }
        assert_eq!(short_text("üa".repeat(700).as_bytes()).len(), 1_023);
        assert_eq!(short_text(b"a\xff"), "a\u{fffd}");
    }
}
