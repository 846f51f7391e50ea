//! gRPC framing: turns a request into the body of an HTTP/2 request, and
//! decodes the encoded parts of an answer.
//!
//! Source: "gRPC over HTTP2" of the gRPC documentation (length-prefixed
//! messages, `grpc-message` percent-encoded, `-bin` headers in base64).

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::encode::wire::{FieldValue, Fields};

/// A framed message. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Message {
    prefix: Bytes,
    payload: Bytes,
}

impl Message {
    /// Frames a request.
    ///
    /// # Errors
    /// If the payload is 4 GiB or more.
    pub fn new(payload: Bytes, is_compressed: bool) -> io::Result<Self> {
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut prefix = [0; 5];
        prefix[0] = u8::from(is_compressed);
        prefix[1..5].copy_from_slice(&len.to_be_bytes());
        Ok(Self {
            prefix: Bytes::copy_from_slice(&prefix),
            payload,
        })
    }

    /// The body of a request, without copying the bytes.
    pub fn body(&self) -> MessageBody {
        MessageBody {
            parts: [Some(self.prefix.clone()), Some(self.payload.clone())],
        }
    }
}

/// The prefix, then the payload.
#[derive(Debug)]
pub struct MessageBody {
    parts: [Option<Bytes>; 2],
}

impl Body for MessageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.parts.iter_mut().find_map(Option::take);
        Poll::Ready(next.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.iter().all(Option::is_none)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.parts.iter().flatten().map(Bytes::len).sum::<usize>();
        SizeHint::with_exact(left as u64)
    }
}

/// The part of an accepted request that the collector rejected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartialSuccess {
    /// 0 if the answer holds only a warning, or nothing.
    pub rejected_spans: u64,
    pub error_message: String,
}

impl PartialSuccess {
    /// Parses a framed `ExportTraceServiceResponse`. If it cannot be read,
    /// nothing was rejected: the status said that the request was accepted.
    pub fn parse(body: &[u8]) -> Self {
        let mut read = Self::default();
        // A compressed answer was not asked for.
        let Some((&0, rest)) = body.split_first() else {
            return read;
        };
        let message = rest.get(4..).unwrap_or_default();
        for field in Fields::new(message).filter_map(Result::ok) {
            if field.number != 1 {
                continue;
            }
            for field in Fields::new(field.value.bytes()).filter_map(Result::ok) {
                match (field.number, field.value) {
                    (1, FieldValue::Varint(spans)) => {
                        read.rejected_spans = u64::try_from(spans.cast_signed()).unwrap_or(0);
                    }
                    (2, FieldValue::Len(text)) => {
                        read.error_message = String::from_utf8_lossy(text).into_owned();
                    }
                    _ => {}
                }
            }
        }
        read
    }
}

/// Decodes the text of a `grpc-message` header.
pub fn percent_decode(text: &[u8]) -> String {
    percent_encoding::percent_decode(text)
        .decode_utf8_lossy()
        .into_owned()
}

/// Decodes a `-bin` header: standard base64, padded or not. `None` for anything
/// else.
pub fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    const PADDED_OR_NOT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    PADDED_OR_NOT.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        for (text, expected) in [
            ("plain", "plain"),
            ("50%25 of%20it", "50% of it"),
            ("%C3%BC", "ü"),
            ("%zz%4", "%zz%4"),
            ("", ""),
        ] {
            assert_eq!(percent_decode(text.as_bytes()), expected);
        }
    }

    #[test]
    fn base64_is_undone() {
        for (text, expected) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zg", Some("f")),
            ("Zm8", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYmFy", Some("foobar")),
            ("Zm9v!", None),
            ("Z", None),
        ] {
            let decoded = base64_decode(text.as_bytes());
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn partial_success_is_read_and_nonsense_is_none() {
        let body = b"\0\0\0\0\x09\x0a\x07\x08\x03\x12\x03bad";
        let expected = PartialSuccess {
            rejected_spans: 3,
            error_message: "bad".to_owned(),
        };
        assert_eq!(PartialSuccess::parse(body), expected);
        for body in [
            &b""[..],
            b"\0\0\0\0\0",
            b"\x01\0\0\0\x01x",
            b"\0\0\0\0\x02\x0a\xff",
        ] {
            assert_eq!(PartialSuccess::parse(body), PartialSuccess::default());
        }
    }
}
