//! An OTLP/gRPC trace service that keeps what it is sent, and misbehaves when asked to.

use std::cell::Cell;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::span::{Traced, flatten};

/// How the next requests are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Accept,
    /// Refuses this many requests as unavailable, then accepts.
    Unavailable {
        times: u32,
    },
    /// Refuses so many of each ten requests as unavailable.
    UnavailableOften {
        of_ten: u64,
    },
    /// Takes a request but says that it rejected this many of its spans.
    Partial {
        rejected: i64,
    },
    /// Accepts after a while.
    Delay(Duration),
}

/// Whether a span is worth its memory.
type Keeps = Box<dyn Fn(&Traced) -> bool + Send>;

#[derive(Default)]
struct Received {
    spans: Vec<Traced>,
    keeps: Option<Keeps>,
    /// Spans that were counted and not kept.
    passed_over: u64,
    requests: u64,
    refused: u64,
    metadata: Vec<(String, String)>,
}

struct State {
    received: Mutex<Received>,
    answer: Mutex<Answer>,
    changed: watch::Sender<u64>,
}

/// Nothing panics while it holds one of the locks; if it did, the data would still be whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Service(Arc<State>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let state = &self.0;
        let answer = {
            let mut answer = lock(&state.answer);
            let now = *answer;
            if let Answer::Unavailable { times } = now {
                *answer = match times {
                    0 | 1 => Answer::Accept,
                    _ => Answer::Unavailable { times: times - 1 },
                };
            }
            now
        };
        let refuses = match answer {
            Answer::Unavailable { times } => times > 0,
            Answer::UnavailableOften { of_ten } => {
                let received = lock(&state.received);
                (received.requests + received.refused) % 10 < of_ten
            }
            Answer::Accept | Answer::Partial { .. } | Answer::Delay(_) => false,
        };
        if refuses {
            lock(&state.received).refused += 1;
            state.changed.send_modify(|version| *version += 1);
            return Err(Status::unavailable("this sink was asked to be unavailable"));
        }
        if let Answer::Delay(while_) = answer {
            tokio::time::sleep(while_).await;
        }
        let mut partial_success = None;
        {
            let mut received = lock(&state.received);
            received.requests += 1;
            received.metadata = request
                .metadata()
                .iter()
                .filter_map(|pair| match pair {
                    tonic::metadata::KeyAndValueRef::Ascii(key, value) => {
                        Some((key.to_string(), value.to_str().ok()?.to_owned()))
                    }
                    tonic::metadata::KeyAndValueRef::Binary(..) => None,
                })
                .collect();
            received.take(flatten(request.into_inner().resource_spans));
        }
        if let Answer::Partial { rejected } = answer {
            partial_success = Some(ExportTracePartialSuccess {
                rejected_spans: rejected,
                error_message: "this sink was asked to reject".to_owned(),
            });
        }
        state.changed.send_modify(|version| *version += 1);
        Ok(Response::new(ExportTraceServiceResponse {
            partial_success,
        }))
    }
}

/// A running sink; it ends when dropped.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// A loopback address that is free now, and that neither another call here nor the kernel gives away:
/// the port is below those that outgoing connections get (net.ipv4.ip_local_port_range).
pub(crate) async fn free_address() -> Result<SocketAddr> {
    const PORTS: Range<u16> = 10_000..32_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Programs that run at once begin in different places.
    let begin = std::process::id().wrapping_mul(101);
    for _ in PORTS {
        let step = u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from(begin.wrapping_add(step) % u32::from(PORTS.end - PORTS.start))?;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", PORTS.start + offset)).await {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
}

impl Received {
    fn take(&mut self, mut spans: Vec<Traced>) {
        if let Some(keeps) = &self.keeps {
            let came = spans.len();
            spans.retain(keeps);
            self.passed_over += u64::try_from(came - spans.len()).unwrap_or(0);
        }
        self.spans.append(&mut spans);
    }
}

impl Sink {
    pub(crate) async fn start() -> Result<Sink> {
        Self::serve(TcpListener::bind(("127.0.0.1", 0)).await?, None)
    }

    pub(crate) async fn start_on(address: SocketAddr) -> Result<Sink> {
        Self::serve(TcpListener::bind(address).await?, None)
    }

    pub(crate) async fn start_tls(certificate_pem: &str, key_pem: &str) -> Result<Sink> {
        let identity = Identity::from_pem(certificate_pem, key_pem);
        let tls = ServerTlsConfig::new().identity(identity);
        Self::serve(TcpListener::bind(("127.0.0.1", 0)).await?, Some(tls))
    }

    fn serve(listener: TcpListener, tls: Option<ServerTlsConfig>) -> Result<Sink> {
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            received: Mutex::default(),
            answer: Mutex::new(Answer::Accept),
            changed: watch::Sender::new(0),
        });
        let service = TraceServiceServer::new(Service(Arc::clone(&state)))
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(16 << 20);
        // Room for whole requests: with the default of 64 KiB a sender waits for many rounds, idle.
        let mut server = Server::builder()
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(32 << 20);
        if let Some(tls) = tls {
            server = server.tls_config(tls)?;
        }
        let (stop, stopped) = oneshot::channel();
        let router = server.add_service(service);
        let server = tokio::spawn(router.serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move {
                // Either way it is time to stop: told so, or the handle is gone.
                drop(stopped.await);
            },
        ));
        Ok(Sink {
            address,
            state,
            stop: Some(stop),
            server,
        })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *lock(&self.state.answer) = answer;
    }

    /// From now on only these are kept, and the others counted: those of a flood would fill the memory.
    pub(crate) fn keep_only(&self, keeps: impl Fn(&Traced) -> bool + Send + 'static) {
        lock(&self.state.received).keeps = Some(Box::new(keeps));
    }

    /// Spans that came and were not kept.
    pub(crate) fn passed_over(&self) -> u64 {
        lock(&self.state.received).passed_over
    }

    pub(crate) fn spans(&self) -> Vec<Traced> {
        lock(&self.state.received).spans.clone()
    }

    pub(crate) fn spans_that(&self, are_wanted: impl Fn(&Traced) -> bool) -> Vec<Traced> {
        let received = lock(&self.state.received);
        let wanted = received.spans.iter().filter(|span| are_wanted(span));
        wanted.cloned().collect()
    }

    /// How many spans are kept.
    pub(crate) fn count(&self) -> usize {
        lock(&self.state.received).spans.len()
    }

    pub(crate) fn requests(&self) -> u64 {
        lock(&self.state.received).requests
    }

    pub(crate) fn refused(&self) -> u64 {
        lock(&self.state.received).refused
    }

    /// The last request's metadata of this key.
    pub(crate) fn metadata(&self, key: &str) -> Option<String> {
        lock(&self.state.received)
            .metadata
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
    }

    /// Waits until at least `count` spans satisfy `is_ours`.
    pub(crate) async fn wait_for_spans(
        &self,
        count: usize,
        bound: Duration,
        is_ours: impl Fn(&Traced) -> bool,
    ) -> Result<()> {
        // Each span is looked at once: there can be hundreds of thousands.
        let (looked_at, ours) = (Cell::new(0), Cell::new(0));
        let enough = || {
            let received = lock(&self.state.received);
            let new = received.spans.iter().skip(looked_at.get());
            ours.set(ours.get() + new.filter(|s| is_ours(s)).count());
            looked_at.set(received.spans.len());
            ours.get() >= count
        };
        if self.wait_until(bound, enough).await.is_err() {
            bail!(
                "{} of {count} spans had arrived after {bound:?} ({} of any process)",
                ours.get(),
                looked_at.get()
            );
        }
        Ok(())
    }

    /// Waits until something that a request changes is so.
    pub(crate) async fn wait_until(
        &self,
        bound: Duration,
        condition: impl Fn() -> bool,
    ) -> Result<()> {
        let mut changed = self.state.changed.subscribe();
        tokio::time::timeout(bound, changed.wait_for(|_| condition()))
            .await
            .context("the condition did not come about")??;
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.server.abort();
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn request(names: &[&str]) -> ExportTraceServiceRequest {
        let spans = names
            .iter()
            .map(|&name| Span {
                name: name.to_owned(),
                ..Span::default()
            })
            .collect();
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    #[tokio::test]
    async fn keeps_what_it_accepts_and_not_what_it_refuses() -> Result<()> {
        let sink = Sink::start().await?;
        let mut client = TraceServiceClient::connect(sink.endpoint()).await?;
        sink.answer(Answer::Unavailable { times: 2 });
        assert!(client.export(request(&["a"])).await.is_err());
        assert!(client.export(request(&["a"])).await.is_err());
        client.export(request(&["a", "b"])).await?;
        sink.wait_for_spans(2, Duration::from_secs(10), |_| true)
            .await?;
        let names: Vec<_> = sink.spans().into_iter().map(|s| s.span.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((sink.requests(), sink.refused()), (1, 2));
        Ok(())
    }

    #[tokio::test]
    async fn counts_what_it_does_not_keep() -> Result<()> {
        let sink = Sink::start().await?;
        let mut client = TraceServiceClient::connect(sink.endpoint()).await?;
        sink.keep_only(|traced| traced.span.name == "b");
        client.export(request(&["a", "b", "c"])).await?;
        let names: Vec<_> = sink.spans().into_iter().map(|s| s.span.name).collect();
        assert_eq!(names, ["b"]);
        assert_eq!(sink.passed_over(), 2);
        Ok(())
    }

    #[tokio::test]
    async fn tells_of_rejected_spans() -> Result<()> {
        let sink = Sink::start().await?;
        let mut client = TraceServiceClient::connect(sink.endpoint()).await?;
        sink.answer(Answer::Partial { rejected: 1 });
        let response = client.export(request(&["a", "b"])).await?.into_inner();
        assert_eq!(response.partial_success.map(|p| p.rejected_spans), Some(1));
        Ok(())
    }

    #[tokio::test]
    async fn says_how_many_are_missing() -> Result<()> {
        let sink = Sink::start().await?;
        let error = sink
            .wait_for_spans(1, Duration::from_millis(1), |_| true)
            .await
            .err()
            .map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.starts_with("0 of 1 spans")));
        Ok(())
    }
}
