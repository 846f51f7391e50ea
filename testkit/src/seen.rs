//! What a collector has seen, and how it answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use tokio::sync::watch;
use tonic::Status;

use crate::span::{Traced, flatten};

/// How the collector answers a request.
#[derive(Clone, Debug)]
pub enum Answer {
    Accept,
    /// Accepts the spans, but says that it rejected this many of them, and why.
    Partial {
        rejected: i64,
        message: String,
    },
    /// Over HTTP with the status that the Collector makes of it.
    Refuse(Status),
    /// Answers with exactly this, over HTTP only.
    Http(http::Response<Vec<u8>>),
    /// Accepts after this delay.
    Delay(Duration),
    /// Never answers.
    Stall,
}

impl Answer {
    pub fn unavailable() -> Self {
        Self::Refuse(Status::unavailable(
            "this collector was asked to be unavailable",
        ))
    }

    pub fn partial(rejected: i64, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Partial { rejected, message }
    }
}

/// Everything that has arrived so far.
#[derive(Default)]
pub struct Seen {
    /// Spans of accepted requests.
    pub spans: Vec<Traced>,
    /// Number of spans in accepted requests that were counted but not kept.
    pub passed_over: u64,
    pub metrics: Vec<ResourceMetrics>,
    pub logs: Vec<ResourceLogs>,
    /// Peer addresses of the connections that carried spans.
    pub peers: BTreeSet<SocketAddr>,
    /// When each request for spans arrived, whatever its answer.
    pub came: Vec<Instant>,
    pub accepted_requests: u64,
    pub refused_requests: u64,
    /// Metadata or headers of the last request.
    pub metadata: HeaderMap,
}

type Answers = Box<dyn FnMut(&ExportTraceServiceRequest) -> Answer + Send>;

/// Whether to keep a span.
type Keeps = Box<dyn Fn(&Traced) -> bool + Send>;

/// A request that is not accepted.
pub(crate) enum Refused {
    Status(Status),
    Http(http::Response<Vec<u8>>),
}

pub(crate) struct State {
    pub(crate) answers: Mutex<Answers>,
    pub(crate) keeps: Mutex<Keeps>,
    pub(crate) seen: watch::Sender<Seen>,
}

impl State {
    /// Takes spans, or not, as it was told to.
    pub(crate) async fn export(
        &self,
        request: ExportTraceServiceRequest,
        metadata: HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Result<ExportTraceServiceResponse, Refused> {
        let answer = lock(&self.answers)(&request);
        let refuses = matches!(answer, Answer::Refuse(_) | Answer::Http(_));
        self.seen.send_modify(|seen| {
            seen.came.push(Instant::now());
            seen.peers.extend(peer);
            seen.metadata = metadata;
            seen.refused_requests += u64::from(refuses);
        });
        let mut partial_success = None;
        match answer {
            Answer::Accept => {}
            Answer::Partial { rejected, message } => {
                partial_success = Some(ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message: message,
                });
            }
            Answer::Refuse(status) => return Err(Refused::Status(status)),
            Answer::Http(response) => return Err(Refused::Http(response)),
            Answer::Delay(while_) => tokio::time::sleep(while_).await,
            Answer::Stall => std::future::pending().await,
        }
        self.take(flatten(request.resource_spans));
        Ok(ExportTraceServiceResponse { partial_success })
    }

    pub(crate) fn export_metrics(&self, request: ExportMetricsServiceRequest, metadata: HeaderMap) {
        self.seen.send_modify(|seen| {
            seen.metrics.extend(request.resource_metrics);
            seen.metadata = metadata;
        });
    }

    pub(crate) fn export_logs(&self, request: ExportLogsServiceRequest, metadata: HeaderMap) {
        self.seen.send_modify(|seen| {
            seen.logs.extend(request.resource_logs);
            seen.metadata = metadata;
        });
    }

    fn take(&self, mut spans: Vec<Traced>) {
        let came = spans.len();
        spans.retain(&*lock(&self.keeps));
        let passed_over = came - spans.len();
        self.seen.send_modify(|seen| {
            seen.accepted_requests += 1;
            seen.passed_over += u64::try_from(passed_over).unwrap_or(0);
            seen.spans.append(&mut spans);
        });
    }
}

/// Ignores poisoning: nothing panics while it holds a lock, and the data would still be whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
