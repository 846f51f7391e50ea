//! A collector that answers as it is told and remembers what it accepted.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mqspan::config::Correlation;
use mqspan::config::{Exporters, HumanDuration, Otlp, Retry};
use mqspan::encode::{self, EncodedResource};
use mqspan::event::Call;
use mqspan::export::counters::Snapshot;
use mqspan::export::{Exporter, Left, SpanSender};
use mqspan::span::Span;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::oracle;

/// One answer; an OK once the script is over.
pub(crate) enum Answer {
    Ok,
    Refuse(Status),
    Partial(i64),
    /// Takes all, with a message of so many bytes.
    Long(usize),
    /// None, ever.
    Stall,
}

/// The status for a request, if it is refused.
pub(crate) type Refuses = Box<dyn Fn(&ExportTraceServiceRequest) -> Option<Status> + Send + Sync>;

/// What a collector has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: Vec<Instant>,
    pub(crate) metadata: MetadataMap,
    /// Names of the spans of requests answered by OK or in part.
    pub(crate) accepted: Vec<String>,
}

struct Service {
    script: Mutex<VecDeque<Answer>>,
    refuses: Option<Refuses>,
    seen: Arc<watch::Sender<Seen>>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let refused = self.refuses.as_ref();
        let answer = match refused.and_then(|refuses| refuses(request.get_ref())) {
            Some(status) => Some(Answer::Refuse(status)),
            None => self.script.lock().unwrap().pop_front(),
        };
        let names: Vec<_> = (request.get_ref().resource_spans.iter())
            .flat_map(|group| &group.scope_spans)
            .flat_map(|scope| &scope.spans)
            .map(|span| span.name.clone())
            .collect();
        let taken = matches!(
            answer,
            None | Some(Answer::Ok | Answer::Partial(_) | Answer::Long(_))
        );
        self.seen.send_modify(|seen| {
            seen.requests.push(Instant::now());
            seen.metadata = request.metadata().clone();
            if taken {
                seen.accepted.extend(names);
            }
        });
        match answer {
            None | Some(Answer::Ok) => Ok(Response::new(ExportTraceServiceResponse::default())),
            Some(Answer::Refuse(status)) => Err(status),
            Some(Answer::Stall) => std::future::pending().await,
            Some(Answer::Partial(rejected_spans)) => {
                Ok(partial(rejected_spans, "some were bad".to_owned()))
            }
            Some(Answer::Long(len)) => Ok(partial(0, "x".repeat(len))),
        }
    }
}

fn partial(rejected_spans: i64, error_message: String) -> Response<ExportTraceServiceResponse> {
    Response::new(ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message,
        }),
    })
}

/// How a collector listens.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) script: Vec<Answer>,
    pub(crate) max_message: Option<usize>,
    /// Refuses requests by what is in them, before the script is asked.
    pub(crate) refuses: Option<Refuses>,
    pub(crate) tls: Option<ServerTlsConfig>,
}

pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    pub(crate) seen: watch::Receiver<Seen>,
    /// Its own, so that it can be killed with all connections.
    server: Option<Runtime>,
}

impl Collector {
    pub(crate) async fn start(options: Options) -> Self {
        let address = options.address.unwrap_or(([127, 0, 0, 1], 0).into());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let bound = runtime.spawn(TcpListener::bind(address));
        let listener = bound.await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, receiver) = watch::channel(Seen::default());
        let mut service = TraceServiceServer::new(Service {
            script: Mutex::new(options.script.into()),
            refuses: options.refuses,
            seen: Arc::new(seen),
        })
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd);
        if let Some(bytes) = options.max_message {
            service = service.max_decoding_message_size(bytes);
        }
        let mut server = Server::builder();
        if let Some(tls) = options.tls {
            server = server.tls_config(tls).unwrap();
        }
        let server = server
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self {
            address,
            seen: receiver,
            server: {
                runtime.spawn(server);
                Some(runtime)
            },
        }
    }

    pub(crate) async fn scripted(script: Vec<Answer>) -> Self {
        Self::start(Options {
            script,
            ..Options::default()
        })
        .await
    }

    /// Stops listening and closes all connections.
    pub(crate) async fn kill(mut self) {
        let runtime = self.server.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5)))
            .await
            .unwrap();
    }

    /// Waits until what was seen is so.
    pub(crate) async fn until(&mut self, so: impl FnMut(&Seen) -> bool) {
        let wait = self.seen.wait_for(so);
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("the collector did not see it in time")
            .unwrap();
    }

    pub(crate) fn accepted(&self) -> usize {
        self.seen.borrow().accepted.len()
    }
}

/// Settings that retry fast.
pub(crate) fn settings(address: SocketAddr) -> Otlp {
    Otlp {
        endpoint: format!("http://{address}").parse().unwrap(),
        retry_on_failure: Retry {
            initial_interval: HumanDuration::millis(1),
            max_interval: HumanDuration::millis(20),
            ..Retry::default()
        },
        ..Otlp::default()
    }
}

/// A running exporter and what to feed it with.
pub(crate) struct Agent {
    pub(crate) sender: SpanSender,
    pub(crate) exporter: Exporter,
    resource: Arc<EncodedResource>,
}

impl Agent {
    pub(crate) fn start(otlp: Otlp) -> Self {
        Self::start_with(&Exporters {
            otlp,
            ..Exporters::default()
        })
    }

    pub(crate) fn start_with(config: &Exporters) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (sender, exporter) = Exporter::start(config, &runtime).unwrap();
        Self {
            sender,
            exporter,
            resource: Arc::new(encode::resource(&oracle::resource(1))),
        }
    }

    /// One batch of so many spans.
    pub(crate) fn push(&mut self, spans: usize) {
        self.push_calls(&vec![oracle::receive(); spans]);
    }

    pub(crate) fn push_calls(&mut self, calls: &[Call<'_>]) {
        self.hold(calls);
        self.sender.flush();
    }

    /// Puts spans into the batch that waits to be full.
    pub(crate) fn hold(&mut self, calls: &[Call<'_>]) {
        let resource = Arc::clone(&self.resource);
        self.hold_with(&resource, calls);
    }

    /// Puts calls of this process into the batch that waits to be full.
    pub(crate) fn hold_as(&mut self, pid: u32, calls: &[Call<'_>]) {
        let resource = Arc::new(encode::resource(&oracle::resource(pid)));
        let mut calls = calls.to_vec();
        for call in &mut calls {
            call.process.pid = pid;
        }
        self.hold_with(&resource, &calls);
    }

    fn hold_with(&mut self, resource: &Arc<EncodedResource>, calls: &[Call<'_>]) {
        let settings = oracle::settings(Correlation::Parent);
        for call in calls {
            let span = Span::new(call, &settings, oracle::unix_ns(call));
            self.sender
                .push(Instant::now(), (call.process, None), resource, &span);
        }
    }

    /// Shuts down and checks that the sums balance.
    pub(crate) async fn finish(self, deadline: Duration) -> (Snapshot, Left) {
        let sink = self.exporter.otlp().unwrap().clone();
        drop(self.sender);
        let left = self.exporter.shutdown(deadline).await;
        let counters = sink.counters();
        assert_eq!(
            counters.pushed + counters.recovered,
            counters.exported + counters.rejected_total() + counters.lost.total() + left.otlp_spans,
            "{counters:?} {left:?}"
        );
        assert_eq!(counters.in_flight, 0);
        (counters, left)
    }

    /// Shuts down when all is sent.
    pub(crate) async fn drain(self) -> Snapshot {
        let (counters, left) = self.finish(Duration::from_secs(20)).await;
        assert_eq!(left, Left::default());
        counters
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.server.take() {
            runtime.shutdown_background();
        }
    }
}
