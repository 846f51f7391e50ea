//! The agent's log over OTLP, as a collector receives it. The log is process-wide, so there is only
//! one test.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mqspan::internals::config::{HumanDuration, LogLevel, Logs, Otlp, OtlpLogs, Protocol};
use mqspan::internals::export::destination::Destination;
use mqspan::internals::export::logs::{LogCounts, LogsExporter};
use mqspan::internals::export::operation::ErrorType;
use mqspan::internals::logs;
use mqspan::internals::resource::Resource;
use mqspan_testkit::collector as testkit;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Keeps every request and refuses the first. Answers one request per permit.
#[derive(Clone)]
struct Collector {
    requests: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
    permits: Arc<Semaphore>,
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.permits.acquire().await.unwrap().forget();
        let mut requests = self.requests.lock().unwrap();
        requests.push(request.into_inner());
        if requests.len() > 1 {
            return Ok(Response::new(ExportLogsServiceResponse::default()));
        }
        Err(Status::invalid_argument("not this one"))
    }
}

impl Collector {
    fn records(&self) -> Vec<LogRecord> {
        let requests = self.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_logs);
        records_of(resources)
    }
}

fn records_of<'a>(resources: impl IntoIterator<Item = &'a ResourceLogs>) -> Vec<LogRecord> {
    let resources = resources.into_iter().inspect(|logs| {
        let resource = logs.resource.as_ref().unwrap();
        assert_eq!(text(&resource.attributes, "service.name"), "mqspan");
    });
    let scopes = resources.flat_map(|logs| &logs.scope_logs);
    scopes.flat_map(|scope| scope.log_records.clone()).collect()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    string(found.unwrap().value.as_ref())
}

fn string(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_records_whatever_the_collector_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let collector = Collector {
        requests: Arc::default(),
        permits: Arc::new(Semaphore::new(2)),
    };
    let service = LogsServiceServer::new(collector.clone());
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    // Standard error may lose lines here. The warning about them is below this level.
    logs::start(&Logs {
        level: LogLevel::Error,
        otlp: OtlpLogs { enabled: true },
        ..Logs::default()
    })
    .unwrap();
    let mut resource = Resource::default();
    resource.set_text("service.name", "mqspan");
    let config = Otlp {
        endpoint: format!("http://{address}").parse().unwrap(),
        timeout: HumanDuration::seconds(5),
        ..Otlp::default()
    };
    let exporter = Arc::new(LogsExporter::start(config.clone(), &resource).unwrap());
    let counts = exporter.counts();
    let queue = "/orders\n\u{fffd}";
    tracing::error!(target: "mqspan::test", queue, calls = 3, "refused");
    until(|| failed(&counts()) == 1).await;

    // A reload that changes the protocol.
    let over_http = testkit::Collector::start_with(testkit::Options {
        protocol: testkit::Protocol::Http,
        ..testkit::Options::default()
    })
    .unwrap();
    let otlp = Otlp {
        protocol: Protocol::HttpProtobuf,
        endpoint: over_http.endpoint().parse().unwrap(),
        ..config.clone()
    };
    exporter.set_collector(otlp).unwrap();
    tracing::error!(target: "mqspan::test", "over HTTP");
    until(|| exported(&counts()) == 1).await;
    let came = over_http.seen().logs.clone();
    assert_eq!(string(records_of(&came)[0].body.as_ref()), "over HTTP");
    exporter.set_collector(config).unwrap();
    tracing::error!(target: "mqspan::test", "kept");
    tracing::error!(target: "h2::client", "a library's");
    tracing::warn!(target: "mqspan::test", "below the level");
    until(|| exported(&counts()) == 2).await;

    // More events than the queue holds, while nobody drains it.
    let runtime = tokio::runtime::Handle::current();
    let burst = runtime.spawn_blocking(|| {
        for _ in 0..10_000 {
            tracing::error!(target: "mqspan::test", "many");
        }
    });
    burst.await.unwrap();
    collector.permits.add_permits(10_000);
    let finish = Arc::clone(&exporter);
    runtime
        .spawn_blocking(move || finish.finish())
        .await
        .unwrap();

    let records = collector.records();
    let [refused, kept, many @ ..] = records.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!(string(refused.body.as_ref()), "refused");
    assert_eq!(refused.severity_text, "ERROR");
    assert_eq!(text(&refused.attributes, "queue"), queue);
    assert_eq!(refused.event_name, "");
    assert_eq!(string(kept.body.as_ref()), "kept");
    assert!(
        many.iter()
            .all(|record| string(record.body.as_ref()) == "many")
    );
    let counts = counts();
    let [exports, by_http] = counts.exports.as_slice() else {
        panic!("{counts:?}");
    };
    let destination = Destination {
        exporter: "otlp_grpc_log_exporter",
        address: Some("127.0.0.1".to_owned()),
        port: Some(address.port()),
    };
    assert_eq!(exports.destination, destination);
    assert_eq!(by_http.destination.exporter, "otlp_http_log_exporter");
    assert_eq!(by_http.counts.exported, 1);
    let failures: Vec<_> = exports.counts.failures.iter().collect();
    assert_eq!(failures, [(&ErrorType::Grpc(3), &1)]);
    let exported = exported(&counts);
    assert_eq!(exported, 2 + many.len() as u64);
    assert_eq!(counts.processed, exported + 1);
    assert_eq!(counts.processed + counts.queue_full, 10_003);
    assert_eq!(counts.queue_full, 10_000 - counts.capacity);
    assert_eq!((counts.waiting, exports.counts.in_flight), (0, 0));
}

fn exported(counts: &LogCounts) -> u64 {
    counts.exports.iter().map(|e| e.counts.exported).sum()
}

fn failed(counts: &LogCounts) -> u64 {
    let failures = counts
        .exports
        .iter()
        .flat_map(|e| e.counts.failures.values());
    failures.sum()
}

async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap();
}
