//! An OTLP collector that keeps the spans, metrics and log records it gets, and answers spans as
//! told.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};

pub use crate::seen::{Answer, Seen};
use crate::seen::{State, lock};
use crate::span::Traced;
use crate::{otlp_grpc, otlp_http};

/// What a collector speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Grpc,
    /// OTLP over HTTP/1.1 and HTTP/2, with protobuf.
    Http,
}

/// How a collector listens.
#[derive(Default)]
pub struct Options {
    pub protocol: Protocol,
    /// Defaults to a free port on loopback.
    pub address: Option<SocketAddr>,
    pub tls: Option<ServerTlsConfig>,
    /// Larger requests are refused.
    pub max_request_bytes: Option<usize>,
    /// At this age of a connection, the collector asks for a new one with GOAWAY and soon closes
    /// it.
    pub max_connection_age: Option<Duration>,
}

/// A running collector. It stops when dropped.
pub struct Collector {
    pub address: SocketAddr,
    state: Arc<State>,
    /// A runtime of its own, so that all connections end with it. `None` only while it ends.
    runtime: Option<Runtime>,
}

impl Collector {
    pub fn start() -> Result<Self> {
        Self::start_with(Options::default())
    }

    pub fn start_on(address: SocketAddr) -> Result<Self> {
        Self::start_with(Options {
            address: Some(address),
            ..Options::default()
        })
    }

    pub fn start_tls(tls: ServerTlsConfig) -> Result<Self> {
        Self::start_with(Options {
            tls: Some(tls),
            ..Options::default()
        })
    }

    pub fn start_with(options: Options) -> Result<Self> {
        let address = options.address.unwrap_or(([127, 0, 0, 1], 0).into());
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            answers: Mutex::new(Box::new(|_| Answer::Accept)),
            keeps: Mutex::new(Box::new(|_| true)),
            seen: watch::Sender::default(),
        });
        let max_request_bytes = options.max_request_bytes.unwrap_or(16 << 20);
        let routes = match options.protocol {
            Protocol::Grpc => otlp_grpc::routes(&state, max_request_bytes),
            Protocol::Http => otlp_http::routes(&state, max_request_bytes),
        };
        // Room for whole requests. With the default of 64 KiB, a sender idles through many round
        // trips.
        let mut server = Server::builder()
            .accept_http1(options.protocol == Protocol::Http)
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(32 << 20);
        if let Some(tls) = options.tls {
            server = server.tls_config(tls)?;
        }
        if let Some(age) = options.max_connection_age {
            server = server.max_connection_age(age).max_connection_age_grace(age);
        }
        let router = server.add_routes(routes);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            anyhow::Ok(router.serve_with_incoming(incoming).await?)
        });
        Ok(Self {
            address,
            state,
            runtime: Some(runtime),
        })
    }

    /// Stops listening and closes all connections.
    pub async fn kill(mut self) -> Result<()> {
        let runtime = self.runtime.take().context("it was killed before")?;
        let end = move || runtime.shutdown_timeout(Duration::from_secs(5));
        Ok(tokio::task::spawn_blocking(end).await?)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers requests as this says from now on.
    pub fn answer(
        &self,
        answers: impl FnMut(&ExportTraceServiceRequest) -> Answer + Send + 'static,
    ) {
        *lock(&self.state.answers) = Box::new(answers);
    }

    /// Gives these answers to the next requests, and accepts those after them.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut answers = answers.into_iter().collect::<Vec<_>>().into_iter();
        self.answer(move |_| answers.next().unwrap_or(Answer::Accept));
    }

    /// Keeps only these spans from now on and counts the others, which in a flood would fill the
    /// memory.
    pub fn keep_only(&self, keeps: impl Fn(&Traced) -> bool + Send + 'static) {
        *lock(&self.state.keeps) = Box::new(keeps);
    }

    /// Everything that has arrived. Nothing more is taken while the guard is held.
    pub fn seen(&self) -> impl Deref<Target = Seen> {
        self.state.seen.borrow()
    }

    pub fn passed_over(&self) -> u64 {
        self.seen().passed_over
    }

    pub fn spans(&self) -> Vec<Traced> {
        self.seen().spans.clone()
    }

    pub fn spans_that(&self, are_wanted: impl Fn(&Traced) -> bool) -> Vec<Traced> {
        let seen = self.seen();
        let wanted = seen.spans.iter().filter(|span| are_wanted(span));
        wanted.cloned().collect()
    }

    /// Number of spans kept.
    pub fn count(&self) -> usize {
        self.seen().spans.len()
    }

    pub fn accepted_requests(&self) -> u64 {
        self.seen().accepted_requests
    }

    pub fn refused_requests(&self) -> u64 {
        self.seen().refused_requests
    }

    /// The value of `key` in the last request's metadata.
    pub fn metadata(&self, key: &str) -> Option<String> {
        let seen = self.seen();
        let value = seen.metadata.get(key)?;
        Some(value.to_str().ok()?.to_owned())
    }

    /// Waits until at least `count` spans satisfy `is_ours`.
    pub async fn wait_for_spans(
        &self,
        count: usize,
        bound: Duration,
        is_ours: impl Fn(&Traced) -> bool,
    ) -> Result<()> {
        // Look at each span only once, since there can be hundreds of thousands.
        let (looked_at, ours) = (Cell::new(0), Cell::new(0));
        let enough = |seen: &Seen| {
            let new = seen.spans.iter().skip(looked_at.get());
            ours.set(ours.get() + new.filter(|s| is_ours(s)).count());
            looked_at.set(seen.spans.len());
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

    /// Waits until `condition` holds for what has arrived.
    pub async fn wait_until(
        &self,
        bound: Duration,
        condition: impl Fn(&Seen) -> bool,
    ) -> Result<()> {
        let mut changed = self.state.seen.subscribe();
        tokio::time::timeout(bound, changed.wait_for(condition))
            .await
            .context("the condition did not come about")??;
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
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
        let collector = Collector::start()?;
        let mut client = TraceServiceClient::connect(collector.endpoint()).await?;
        collector.answer_next([Answer::unavailable(), Answer::unavailable()]);
        assert!(client.export(request(&["a"])).await.is_err());
        assert!(client.export(request(&["a"])).await.is_err());
        client.export(request(&["a", "b"])).await?;
        collector
            .wait_for_spans(2, Duration::from_secs(10), |_| true)
            .await?;
        let names: Vec<_> = collector.spans().into_iter().map(|s| s.span.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            (collector.accepted_requests(), collector.refused_requests()),
            (1, 2)
        );
        Ok(())
    }

    #[tokio::test]
    async fn counts_what_it_does_not_keep() -> Result<()> {
        let collector = Collector::start()?;
        let mut client = TraceServiceClient::connect(collector.endpoint()).await?;
        collector.keep_only(|traced| traced.span.name == "b");
        client.export(request(&["a", "b", "c"])).await?;
        let names: Vec<_> = collector.spans().into_iter().map(|s| s.span.name).collect();
        assert_eq!(names, ["b"]);
        assert_eq!(collector.passed_over(), 2);
        Ok(())
    }

    #[tokio::test]
    async fn tells_of_rejected_spans() -> Result<()> {
        let collector = Collector::start()?;
        let mut client = TraceServiceClient::connect(collector.endpoint()).await?;
        collector.answer(|_| Answer::partial(1, "bad"));
        let response = client.export(request(&["a", "b"])).await?.into_inner();
        assert_eq!(response.partial_success.map(|p| p.rejected_spans), Some(1));
        Ok(())
    }

    #[tokio::test]
    async fn nothing_listens_where_it_was_killed() -> Result<()> {
        let collector = Collector::start()?;
        let address = collector.address;
        let mut client = TraceServiceClient::connect(collector.endpoint()).await?;
        collector.kill().await?;
        assert!(client.export(request(&["a"])).await.is_err());
        Collector::start_on(address)?;
        Ok(())
    }

    #[tokio::test]
    async fn says_how_many_are_missing() -> Result<()> {
        let collector = Collector::start()?;
        let error = collector
            .wait_for_spans(1, Duration::from_millis(1), |_| true)
            .await
            .err()
            .map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.starts_with("0 of 1 spans")));
        Ok(())
    }
}
