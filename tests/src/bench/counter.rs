//! A collector that only counts: gRPC by hand over h2, decoding only the framing around spans.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use prost::encoding::{WireType, decode_key, decode_varint};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::agent::POLL;

/// A running counter. It stops when dropped.
pub(super) struct Counter {
    address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    spans: AtomicU64,
    /// Bytes of messages as they arrived, compressed or not.
    bytes: AtomicU64,
}

impl Counter {
    pub(super) async fn start() -> Result<Counter> {
        Self::start_on(([127, 0, 0, 1], 0).into()).await
    }

    pub(super) async fn start_on(address: SocketAddr) -> Result<Counter> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counts = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, counts).await {
                        eprintln!("a connection of the counting collector: {error:#}");
                    }
                });
            }
        });
        Ok(Counter {
            address,
            counts,
            task,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn spans(&self) -> u64 {
        self.counts.spans.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    pub(super) async fn wait_for(&self, spans: u64, bound: Duration) -> Result<()> {
        let give_up = tokio::time::Instant::now() + bound;
        while self.spans() < spans {
            ensure!(
                tokio::time::Instant::now() < give_up,
                "{} of {spans} spans arrived in {bound:?}",
                self.spans()
            );
            tokio::time::sleep(POLL / 10).await;
        }
        Ok(())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, counts: Arc<Counts>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = h2::server::Builder::new()
        .initial_window_size(8 << 20)
        .initial_connection_window_size(32 << 20)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let counts = Arc::clone(&counts);
        tokio::spawn(async move {
            if let Err(error) = answer(request.into_body(), respond, &counts).await {
                eprintln!("a request to the counting collector: {error:#}");
            }
        });
    }
    Ok(())
}

async fn answer(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    counts: &Counts,
) -> Result<()> {
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let spans = spans_in_frame(&message)?;
    counts
        .bytes
        .fetch_add(message.len() as u64, Ordering::Relaxed);
    counts.spans.fetch_add(spans, Ordering::Relaxed);
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .body(())?;
    let mut send = respond.send_response(response, false)?;
    // The five-byte frame header of an empty ExportTraceServiceResponse.
    send.send_data(Bytes::from_static(&[0; 5]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)?;
    Ok(())
}

/// Counts the spans in a gRPC frame: one byte that flags compression, here gzip, four bytes of
/// length, and the message.
fn spans_in_frame(frame: &[u8]) -> Result<u64> {
    let (&[compressed, ..], message) = frame.split_first_chunk::<5>().context("no frame")?;
    if compressed == 0 {
        return spans_in(message);
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(message).read_to_end(&mut plain)?;
    spans_in(&plain)
}

/// Counts spans by ExportTraceServiceRequest.resource_spans (1), ResourceSpans.scope_spans (2) and
/// ScopeSpans.spans (2).
fn spans_in(request: &[u8]) -> Result<u64> {
    let mut spans = 0;
    for resource in messages(request, 1) {
        for scope in messages(resource?, 2) {
            for span in messages(scope?, 2) {
                span?;
                spans += 1;
            }
        }
    }
    Ok(spans)
}

/// The fields with this number. All of the fields must be messages.
fn messages(mut bytes: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8]>> {
    let mut next = move || -> Result<Option<&[u8]>> {
        while bytes.has_remaining() {
            let (tag, kind) = decode_key(&mut bytes)?;
            if kind != WireType::LengthDelimited {
                bail!("field {tag} is no message");
            }
            let len = usize::try_from(decode_varint(&mut bytes)?)?;
            let (field, rest) = bytes.split_at_checked(len).context("a field is cut off")?;
            bytes = rest;
            if tag == number {
                return Ok(Some(field));
            }
        }
        Ok(None)
    };
    std::iter::from_fn(move || next().transpose())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message as _;

    use super::*;

    #[test]
    fn counts_what_a_decoder_would_find() -> Result<()> {
        let scope = |spans: usize| ScopeSpans {
            spans: vec![Span::default(); spans],
            schema_url: "s".to_owned(),
            ..ScopeSpans::default()
        };
        let resource = |scopes: &[usize]| ResourceSpans {
            scope_spans: scopes.iter().map(|&spans| scope(spans)).collect(),
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![resource(&[3, 0]), resource(&[]), resource(&[4])],
        };
        let bytes = request.encode_to_vec();
        assert_eq!(spans_in(&bytes)?, 7);
        assert!(spans_in(bytes.get(..bytes.len() - 1).unwrap_or_default()).is_err());
        Ok(())
    }
}
