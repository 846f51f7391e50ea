//! A request as it goes over the wire: its bytes, compressed if that is
//! configured, and before them the prefix that gRPC has.
//!
//! Source: "gRPC over HTTP2" of the gRPC documentation (length-prefixed
//! messages).

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A request that can be sent any number of times. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Message {
    /// Empty in OTLP over HTTP.
    prefix: Bytes,
    payload: Bytes,
}

impl Message {
    /// A request that is the whole body.
    pub fn plain(payload: Bytes) -> Self {
        Self {
            prefix: Bytes::new(),
            payload,
        }
    }

    /// A request in the frame of gRPC.
    ///
    /// # Errors
    /// If the payload is 4 GiB or more.
    pub fn framed(payload: Bytes, is_compressed: bool) -> io::Result<Self> {
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut prefix = [0; 5];
        prefix[0] = u8::from(is_compressed);
        prefix[1..5].copy_from_slice(&len.to_be_bytes());
        Ok(Self {
            prefix: Bytes::copy_from_slice(&prefix),
            payload,
        })
    }

    /// The body of an HTTP request, without copying the bytes.
    pub fn body(&self) -> MessageBody {
        let parts = [&self.prefix, &self.payload];
        MessageBody {
            parts: parts.map(|part| Some(part.clone()).filter(|part| !part.is_empty())),
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn only_grpc_has_a_prefix() {
        let payload = Bytes::from_static(b"spans");
        for (message, expected) in [
            (Message::plain(payload.clone()), &b"spans"[..]),
            (Message::plain(Bytes::new()), b""),
            (
                Message::framed(payload.clone(), false).unwrap(),
                b"\0\0\0\0\x05spans",
            ),
            (
                Message::framed(payload, true).unwrap(),
                b"\x01\0\0\0\x05spans",
            ),
            (Message::framed(Bytes::new(), false).unwrap(), b"\0\0\0\0\0"),
        ] {
            let body = message.body();
            assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
            assert_eq!(body.is_end_stream(), expected.is_empty());
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }
}
