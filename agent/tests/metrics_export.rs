//! Metrics as a collector gets them: decoded by opentelemetry-proto from a metrics service on
//! loopback, and compared with the calls that were made.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod exporting;
mod reference;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exporting::{collector, collector_on, over_each_protocol};
use mqspan::internals::balance::{Balance, Decoded};
use mqspan::internals::config::Correlation;
use mqspan::internals::config::{
    Compression, Exporters, FileExporter, Histograms, HumanDuration, Metrics, Otlp, Secret,
    SendingQueue, Size,
};
use mqspan::internals::encode;
use mqspan::internals::event::{Call, Operation, Queue};
use mqspan::internals::export::Exporter;
use mqspan::internals::export::counters::SinkCounts;
use mqspan::internals::export::destination::Destination;
use mqspan::internals::export::logs::LogCounts;
use mqspan::internals::export::operation::{Ending, ExportCounts, Exports};
use mqspan::internals::export::queue::Level;
use mqspan::internals::histogram::{Distribution, Forms};
use mqspan::internals::kernel::{ProbeRuns, ProbeStats, Waiting};
use mqspan::internals::loss::{Loss, Losses};
use mqspan::internals::metrics::catalog::{OWN_METRICS, QUEUE_METRICS};
use mqspan::internals::metrics::exchange::exchange;
use mqspan::internals::metrics::instruments::Instruments;
use mqspan::internals::metrics::prometheus::{self, Format};
use mqspan::internals::metrics::proto::Period;
use mqspan::internals::metrics::queue_metrics::queue_metrics;
use mqspan::internals::metrics::requests::requests;
use mqspan::internals::metrics::series::{MAX_SERIES, QueueSnapshot};
use mqspan::internals::metrics::state::{OwnState, SinkState};
use mqspan::internals::metrics::{MetricsExporter, MetricsSource, QueueMetrics};
use mqspan::internals::owner::LostByOwner;
use mqspan::internals::resource::Resource;
use mqspan::internals::span::Span;
use mqspan_testkit::collector::{Collector, Protocol};
use mqspan_testkit::free_address;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, exemplar, metric,
    number_data_point,
};

over_each_protocol!(
    a_collector_gets_what_was_counted,
    many_queues_are_split_and_the_rest_shares_one_series,
    a_collector_that_is_away_holds_nothing_up_and_may_come_back,
);

const MS: u64 = 1_000_000;

/// The metrics that came, after asserting the headers that they must carry.
fn metrics_of(collector: &Collector, protocol: Protocol) -> Vec<Metric> {
    let encoding = match protocol {
        Protocol::Grpc => "grpc-encoding",
        Protocol::Http => "content-encoding",
    };
    assert_eq!(collector.metadata("x-tenant").unwrap(), "seven");
    assert_eq!(collector.metadata(encoding).unwrap(), "gzip");
    let seen = collector.seen();
    let scopes = (seen.metrics.iter()).flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| scope.metrics.clone()).collect()
}

fn exporter(protocol: Protocol, address: SocketAddr) -> MetricsExporter {
    let settings = Otlp {
        headers: [("x-tenant".to_owned(), Secret::new("seven"))].into(),
        compression: Compression::Gzip,
        timeout: HumanDuration::seconds(5),
        ..exporting::settings(protocol, address)
    };
    let (_, reader) = exchange();
    let source = Arc::new(MetricsSource::new(
        reader,
        &BTreeMap::new(),
        Decoded::default,
    ));
    MetricsExporter::new(source, settings, &Metrics::default()).unwrap()
}

/// What the metrics count for these calls, as a reader gets it.
async fn counted<'a>(calls: impl IntoIterator<Item = Call<'a>>) -> Arc<QueueSnapshot> {
    counted_with(calls, 0..0).await
}

/// Likewise, where each message that was received is processed once for each of these ms.
async fn counted_with<'a>(
    calls: impl IntoIterator<Item = Call<'a>>,
    processed_ms: Range<u64>,
) -> Arc<QueueSnapshot> {
    let (publisher, reader) = exchange();
    let mut metrics = QueueMetrics::new(publisher, Duration::MAX, Forms::BOTH);
    for call in calls {
        metrics.call(&call);
        // Of calls that succeed the spans are kept.
        if call.ret >= 0 {
            metrics.exemplar(&call, ids_of(&call));
        }
        if call.takes_message() {
            for ms in processed_ms.clone() {
                let end_ns = call.end_ns + ms * MS;
                metrics.processed(&call, end_ns);
                metrics.process_exemplar(&call, end_ns, ids_of(&call));
            }
        }
    }
    metrics.finish();
    drop(metrics);
    reader.read().await
}

fn ids_of(call: &Call<'_>) -> ([u8; 16], [u8; 8]) {
    let number = call.end_ns;
    (u128::from(number).to_be_bytes(), number.to_be_bytes())
}

const PERIOD: Period = Period {
    start_unix_ns: 1_000,
    unix_ns: 2_000,
};

fn of_queues(snapshot: &QueueSnapshot, form: Histograms) -> Vec<Metric> {
    let waiting = [Waiting {
        queue: Some("/orders".to_owned()),
        ipc_namespace: 4_026_531_839,
        send: false,
        callers: 2,
    }];
    queue_metrics(snapshot, &waiting, form, PERIOD, |boot_ns| boot_ns)
}

fn collected(snapshot: &QueueSnapshot) -> Vec<Metric> {
    let own = OwnState {
        balance: Balance {
            seen: 12,
            exported: 7,
            lost: Losses::from_iter([(Loss::RingFull, 3)]),
            pending: 2,
            ..Balance::default()
        },
        ..OwnState::default()
    };
    let own = Instruments::default().collect(own, Histograms::Explicit, PERIOD);
    of_queues(snapshot, Histograms::Explicit)
        .into_iter()
        .chain(own)
        .collect()
}

/// Attributes as `key=value`, sorted.
fn shown(attributes: &[KeyValue]) -> String {
    let mut shown: Vec<String> = attributes
        .iter()
        .map(|attribute| {
            let value = attribute.value.clone().unwrap().value.unwrap();
            match value {
                any_value::Value::StringValue(text) => format!("{}={text}", attribute.key),
                any_value::Value::IntValue(number) => format!("{}={number}", attribute.key),
                any_value::Value::BoolValue(yes) => format!("{}={yes}", attribute.key),
                any_value::Value::ArrayValue(array) => {
                    format!("{}={} values", attribute.key, array.values.len())
                }
                other => panic!("{other:?}"),
            }
        })
        .collect();
    shown.sort();
    shown.join(" ")
}

fn numbers(points: &[NumberDataPoint], start: u64) -> BTreeMap<String, i64> {
    let mut numbers = BTreeMap::new();
    for point in points {
        assert_eq!(
            (point.start_time_unix_nano, point.time_unix_nano),
            (start, 2_000)
        );
        let number = match point.value.unwrap() {
            number_data_point::Value::AsInt(number) => number,
            number_data_point::Value::AsDouble(number) => (number * 1e9).round() as i64,
        };
        let old = numbers.insert(shown(&point.attributes), number);
        assert_eq!(old, None);
    }
    numbers
}

/// The points of a sum that counts since the agent's start and must be `monotonic` or not.
fn sums(metrics: &[Metric], name: &str, monotonic: bool) -> BTreeMap<String, i64> {
    sums_since(metrics, name, monotonic, 1_000)
}

fn sums_since(
    metrics: &[Metric],
    name: &str,
    monotonic: bool,
    start: u64,
) -> BTreeMap<String, i64> {
    let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
    let Some(metric::Data::Sum(sum)) = &metric.data else {
        panic!("{metric:?}");
    };
    assert_eq!(sum.is_monotonic, monotonic, "{name}");
    let cumulative: i32 = AggregationTemporality::Cumulative.into();
    assert_eq!(sum.aggregation_temporality, cumulative);
    numbers(&sum.data_points, start)
}

fn histograms(metrics: &[Metric], name: &str) -> BTreeMap<String, HistogramDataPoint> {
    let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
    let Some(metric::Data::Histogram(histogram)) = &metric.data else {
        panic!("{metric:?}");
    };
    assert_eq!(metric.unit, "s");
    let points = histogram.data_points.iter();
    points
        .map(|point| (shown(&point.attributes), point.clone()))
        .collect()
}

fn some_calls() -> Vec<Call<'static>> {
    let mut calls = Vec::new();
    for took_ms in [0, 4, 6, 30, 20_000] {
        let mut receive = reference::receive();
        receive.end_ns = receive.start_ns + took_ms * MS;
        if took_ms >= 30 {
            receive.sender = reference::full_receive().sender;
        }
        calls.push(receive);
    }
    let mut timed_out = reference::receive();
    timed_out.ret = -110;
    timed_out.sender = None;
    calls.push(timed_out);
    let mut too_large = reference::receive();
    too_large.operation = Operation::MqTimedsend;
    too_large.ret = -90;
    calls.push(too_large);
    for _ in 0..3 {
        let mut send = reference::receive();
        send.operation = Operation::MqTimedsend;
        send.ret = 0;
        send.sender = None;
        calls.push(send);
    }
    let last = calls.last_mut().unwrap();
    last.end_ns += 60_000 * MS;
    last.depth = Some(6);
    calls
}

/// The value of each exemplar, and how long its call took, in ms, by its ids.
fn exemplars(point: &HistogramDataPoint) -> Vec<(f64, u64)> {
    let first = reference::receive();
    let exemplars = point.exemplars.iter().map(|exemplar| {
        let Some(exemplar::Value::AsDouble(value)) = exemplar.value else {
            panic!("{exemplar:?}");
        };
        let number = u64::from_be_bytes(exemplar.span_id.as_slice().try_into().unwrap());
        let trace_id = u128::from(number).to_be_bytes();
        assert_eq!(exemplar.trace_id, trace_id);
        // Times are not converted in these tests.
        assert_eq!(exemplar.time_unix_nano, number);
        (value, (number - first.start_ns) / MS)
    });
    exemplars.collect()
}

async fn a_collector_gets_what_was_counted(protocol: Protocol) {
    let collector = collector(protocol);
    let exporter = exporter(protocol, collector.address);
    let snapshot = counted(some_calls()).await;
    exporter.export(collected(&snapshot)).await;

    {
        let seen = collector.seen();
        assert_eq!(seen.metrics.len(), 1);
        let resource = seen.metrics[0].resource.clone().unwrap();
        let resource = shown(&resource.attributes);
        for part in ["service.name=mqspan ", "host.name=", "service.instance.id="] {
            assert!(resource.contains(part), "{resource}");
        }
    }
    let metrics = metrics_of(&collector, protocol);
    let of = |operation: &str, kind: &str, error: &str, errno: &str| {
        format!(
            "{error}messaging.destination.name=/orders messaging.operation.name={operation} \
             messaging.operation.type={kind} messaging.system=posix_mq {errno}\
             posix_mq.ipc_namespace=4026531839"
        )
    };
    let receive = of("mq_timedreceive_time32", "receive", "", "");
    let send = of("mq_timedsend", "send", "", "");
    // An error by the configuration or not, a failure has its errno.
    let errno = "posix_mq.errno=ETIMEDOUT ";
    let timed_out = of("mq_timedreceive_time32", "receive", "", errno);
    let errno = "posix_mq.errno=EMSGSIZE ";
    let too_large = of("mq_timedsend", "send", "error.type=EMSGSIZE ", errno);
    // A series counts from its first call on.
    let first = reference::receive();
    let counter = |name, start| sums_since(&metrics, name, true, start);
    let sent = counter("messaging.client.sent.messages", first.end_ns);
    let attempts = [(send.clone(), 3), (too_large.clone(), 1)];
    assert_eq!(sent, BTreeMap::from(attempts));
    let consumed = counter("messaging.client.consumed.messages", first.start_ns);
    assert_eq!(consumed, BTreeMap::from([(receive.clone(), 5)]));

    let duration = histograms(&metrics, "messaging.client.operation.duration");
    assert_eq!(duration.len(), 4);
    for (series, count) in [(&send, 3), (&timed_out, 1), (&too_large, 1)] {
        assert_eq!(duration[series].count, count);
    }
    let point = &duration[&receive];
    assert_eq!(point.count, 5);
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    let bucket = |seconds: f64| {
        let at = point.explicit_bounds.iter().position(|b| *b >= seconds);
        point.bucket_counts[at.unwrap_or(point.explicit_bounds.len())]
    };
    assert_eq!([0.0, 0.004, 0.006, 0.03, 20.0].map(bucket), [1; 5]);
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
    assert_eq!((point.min, point.max), (Some(0.0), Some(20.0)));
    assert!((point.sum.unwrap() - 20.04).abs() < 1e-9);

    // The slowest four.
    let slowest = [(0.004, 4), (0.006, 6), (0.03, 30), (20.0, 20_000)];
    assert_eq!(exemplars(point), slowest);
    assert!(duration[&timed_out].exemplars.is_empty());

    let time_in_queue = histograms(&metrics, "posix_mq.time_in_queue");
    assert_eq!(time_in_queue.len(), 1);
    let point = &time_in_queue[&receive];
    assert_eq!(exemplars(point), [(0.030_005, 30), (20.000_005, 20_000)]);
    let at = point.explicit_bounds.iter().position(|b| *b == 0.05);
    assert_eq!((point.count, point.bucket_counts[at.unwrap()]), (2, 1));
    // The messages were created 5 µs before the calls began.
    assert!((point.sum.unwrap() - 20.030_01).abs() < 1e-9);

    let depth = metrics
        .iter()
        .find(|metric| metric.name == "posix_mq.queue.depth");
    let Some(metric::Data::Gauge(depth)) = &depth.unwrap().data else {
        panic!("{depth:?}");
    };
    let queue = "messaging.destination.name=/orders messaging.system=posix_mq \
                 posix_mq.ipc_namespace=4026531839";
    assert_eq!(
        numbers(&depth.data_points, 0),
        BTreeMap::from([(queue.to_owned(), 6)])
    );

    let calls = sums(&metrics, "mqspan.call.count", true);
    assert_eq!(calls.values().sum::<i64>(), 10);
    let pending = sums(&metrics, "mqspan.call.pending", false);
    assert_eq!(pending, BTreeMap::from([(String::new(), 2)]));
    assert_eq!(calls["mqspan.outcome=exported"], 7);
    assert_eq!(calls["mqspan.loss.reason=ring_full mqspan.outcome=lost"], 3);
    let blocked = sums(&metrics, "posix_mq.blocked_caller.count", false);
    let orders = "messaging.destination.name=/orders messaging.operation.type=";
    let rest = " messaging.system=posix_mq posix_mq.ipc_namespace=4026531839";
    assert_eq!(blocked[&format!("{orders}receive{rest}")], 2);
    assert_eq!(blocked[&format!("{orders}send{rest}")], 0);
}

/// 12 ms and 20 ms are of two powers of two, but of one bucket.
#[tokio::test]
async fn a_bucket_has_its_newest_exemplar_alone() {
    let of_ms = |start_ms: u64, took_ms: u64| {
        let mut receive = reference::receive();
        receive.start_ns += start_ms * MS;
        receive.end_ns = receive.start_ns + took_ms * MS;
        receive
    };
    for (calls, newest) in [
        ([of_ms(0, 12), of_ms(100, 20)], (0.02, 120)),
        ([of_ms(0, 20), of_ms(100, 12)], (0.012, 112)),
    ] {
        let metrics = of_queues(&*counted(calls).await, Histograms::Explicit);
        let points = histograms(&metrics, "messaging.client.operation.duration");
        let point = points.values().next().unwrap();
        assert_eq!(exemplars(point), [newest]);
    }
}

/// The points that a collector gets where `metrics.histograms` is `exponential`, each with the
/// durations that it was made of.
#[tokio::test]
async fn exponential_buckets_have_every_duration() {
    let calls = || some_calls().into_iter().filter(|call| call.ret == 64);
    let durations = calls().map(|call| call.end_ns - call.start_ns);
    let durations: Vec<u64> = durations.collect();
    let snapshot = counted(calls()).await;
    let metrics = of_queues(&snapshot, Histograms::Exponential);
    // As it arrives.
    let request = requests(metrics, &Resource::default()).remove(0);
    let bytes = prost::Message::encode_to_vec(&request);
    let request: ExportMetricsServiceRequest = prost::Message::decode(&*bytes).unwrap();
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    for (name, values) in [
        ("messaging.client.operation.duration", &durations[..]),
        // The messages were created 5 µs before the calls began.
        (
            "posix_mq.time_in_queue",
            &[30 * MS + 5_000, 20_000 * MS + 5_000],
        ),
    ] {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
        let Some(metric::Data::ExponentialHistogram(histogram)) = &metric.data else {
            panic!("{metric:?}");
        };
        let cumulative: i32 = AggregationTemporality::Cumulative.into();
        assert_eq!(histogram.aggregation_temporality, cumulative);
        let [point] = histogram.data_points.as_slice() else {
            panic!("{histogram:?}");
        };
        let zeros = values.iter().filter(|ns| **ns == 0).count() as u64;
        assert_eq!(
            (point.count, point.zero_count),
            (values.len() as u64, zeros)
        );
        let sum = values.iter().sum::<u64>() as f64 / 1e9;
        assert!((point.sum.unwrap() - sum).abs() < 1e-9);
        assert_eq!(point.max, Some(*values.iter().max().unwrap() as f64 / 1e9));
        let positive = point.positive.as_ref().unwrap();
        assert!(positive.bucket_counts.len() <= 160);
        assert_eq!(
            positive.bucket_counts.iter().sum::<u64>(),
            point.count - zeros
        );
        let bound = |at: usize| {
            let index = positive.offset + at as i32;
            2_f64.powf(f64::from(index) / 2_f64.powi(point.scale))
        };
        for (at, count) in positive.bucket_counts.iter().enumerate() {
            let (low, high) = (bound(at), bound(at + 1));
            let inside = values.iter().filter(|ns| {
                let seconds = **ns as f64 / 1e9;
                low < seconds && seconds <= high
            });
            assert_eq!(inside.count() as u64, *count, "{low} {high}");
        }
    }
    // Explicit buckets are there for those who scrape.
    let explicit = of_queues(&snapshot, Histograms::Explicit);
    let explicit = histograms(&explicit, "messaging.client.operation.duration");
    assert_eq!(
        explicit.values().next().unwrap().count,
        durations.len() as u64
    );
}

async fn many_queues_are_split_and_the_rest_shares_one_series(protocol: Protocol) {
    let collector = collector(protocol);
    let exporter = exporter(protocol, collector.address);
    let queues = MAX_SERIES + 500;
    let calls = (0..queues).map(|number| Call {
        name: Some(Cow::Owned(format!("/{}{number}", "n".repeat(240)))),
        queue: Some(Queue {
            ino: number as u64,
            max_messages: 1,
            max_message_size: 1,
        }),
        ..reference::receive()
    });
    let snapshot = counted(calls).await;
    exporter.export(collected(&snapshot)).await;

    let mut points = BTreeMap::new();
    for metric in metrics_of(&collector, protocol) {
        if let Some(metric::Data::Histogram(histogram)) = metric.data
            && metric.name == "messaging.client.operation.duration"
        {
            for point in histogram.data_points {
                let old = points.insert(shown(&point.attributes), point.count);
                assert_eq!(old, None);
            }
        }
    }
    assert_eq!(points.len(), MAX_SERIES);
    assert_eq!(points.values().sum::<u64>(), queues as u64);
    assert_eq!(points["otel.metric.overflow=true"], 501);
    let seen = collector.seen();
    assert!(seen.metrics.len() > 3);
    for request in &seen.metrics {
        let bytes = prost::Message::encoded_len(request);
        assert!(bytes < 2 << 20, "{bytes}");
    }
}

async fn a_collector_that_is_away_holds_nothing_up_and_may_come_back(protocol: Protocol) {
    let address = free_address().unwrap();
    let exporter = exporter(protocol, address);
    let metrics = collected(&*counted(some_calls()).await);
    let start = Instant::now();
    exporter.export(metrics.clone()).await;
    exporter.export(metrics.clone()).await;
    assert!(start.elapsed() < Duration::from_secs(2));

    let collector = collector_on(protocol, address);
    exporter.export(metrics.clone()).await;
    assert_eq!(collector.seen().metrics.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_exchanged_exporter_counted_stays_in_the_sums() {
    let settings = reference::settings(Correlation::Parent);
    let resource = Arc::new(encode::resource(&reference::resource(1)));
    let call = reference::receive();
    let span = Span::new(&call, &settings, reference::unix_ns(&call));
    let directory = tempfile::tempdir().unwrap();
    let mut sinks = Vec::new();
    for (name, capacity, spans) in [("old", 1 << 20, 3), ("new", 2 << 20, 2)] {
        let export = Exporters {
            otlp: Otlp {
                enabled: false,
                sending_queue: SendingQueue {
                    queue_size: Size(capacity),
                    ..SendingQueue::default()
                },
                ..Otlp::default()
            },
            file: FileExporter {
                path: directory.path().join(name),
                ..FileExporter::default()
            },
        };
        let runtime = tokio::runtime::Handle::current();
        let (mut sender, exporter) = Exporter::start(&export, &runtime).unwrap();
        for _ in 0..spans {
            sender.push(
                Instant::now(),
                (reference::process(1), None),
                &resource,
                &span,
            );
        }
        drop(sender);
        sinks.push(exporter.file().unwrap().clone());
        exporter.shutdown(Duration::from_secs(5)).await;
    }
    let state = SinkState::read("file", &sinks).unwrap();
    assert_eq!(
        (state.counters.exports.exported, state.counters.processed),
        (5, 5)
    );
    let [(destination, exported)] = state.exporters.as_slice() else {
        panic!("{state:?}");
    };
    assert_eq!(
        (destination, exported.exports.exported),
        (&Destination::file(), 5)
    );
    let durations = exported.exports.durations.iter();
    let ended: u64 = durations
        .map(|(ending, took)| {
            assert_eq!(*ending, Ending::default());
            took.count()
        })
        .sum();
    assert!(ended >= 2);
    assert_eq!(
        (state.queue.spans, state.queue.capacity_bytes),
        (0, 2 << 20)
    );
    assert!(SinkState::read("file", []).is_none());
}

#[tokio::test]
async fn each_protocol_is_an_exporter_of_its_own() {
    let mut sinks = Vec::new();
    for protocol in [Protocol::Grpc, Protocol::Http, Protocol::Grpc] {
        let collector = collector(protocol);
        let mut agent = exporting::Agent::start(exporting::settings(protocol, collector.address));
        agent.push(2);
        sinks.push(agent.exporter.otlp().unwrap().clone());
        agent.drain().await;
    }
    let state = SinkState::read("otlp", &sinks).unwrap();
    assert_eq!(state.counters.exports.exported, 6);
    let exported = state.exporters.iter();
    let exported: Vec<_> = exported
        .map(|(destination, counts)| (destination.exporter, counts.exports.exported))
        .collect();
    // Each of the three collectors has an address of its own.
    let wanted = [
        ("otlp_grpc_span_exporter", 2),
        ("otlp_http_span_exporter", 2),
        ("otlp_grpc_span_exporter", 2),
    ];
    assert_eq!(exported, wanted);
}

/// The name and type that the Collector's Prometheus exporters give a metric. Sources: "OTLP Metric
/// points to Prometheus" in "Prometheus and OpenMetrics Compatibility", and
/// `BuildCompliantMetricName()` in prometheus/otlptranslator.
fn name_by_collector(metric: &Metric) -> (String, &'static str) {
    let (monotonic, kind) = match metric.data.as_ref().unwrap() {
        metric::Data::Sum(sum) if sum.is_monotonic => (true, "counter"),
        metric::Data::Sum(_) | metric::Data::Gauge(_) => (false, "gauge"),
        metric::Data::Histogram(_) | metric::Data::ExponentialHistogram(_) => (false, "histogram"),
        metric::Data::Summary(_) => (false, "summary"),
    };
    let mut words: Vec<&str> = metric
        .name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let unit = match metric.unit.as_str() {
        "s" => Some("seconds"),
        "ms" => Some("milliseconds"),
        "us" => Some("microseconds"),
        "ns" => Some("nanoseconds"),
        "By" => Some("bytes"),
        "MiBy" => Some("mebibytes"),
        "%" => Some("percent"),
        "1" if kind == "gauge" => Some("ratio"),
        annotation if annotation.starts_with('{') || annotation.is_empty() => None,
        other => panic!(
            "{other} of {} is a unit that this test does not know",
            metric.name
        ),
    };
    words.extend(unit.filter(|unit| !words.contains(unit)));
    if monotonic {
        words.retain(|word| *word != "total");
        words.push("total");
    }
    (words.join("_"), kind)
}

/// The keys of all attributes of a metric.
fn keys(metric: &Metric) -> BTreeSet<&str> {
    let attributes: Vec<&[KeyValue]> = match metric.data.as_ref().unwrap() {
        metric::Data::Sum(sum) => sum.data_points.iter().map(|p| &*p.attributes).collect(),
        metric::Data::Gauge(gauge) => gauge.data_points.iter().map(|p| &*p.attributes).collect(),
        metric::Data::Histogram(histogram) => {
            let points = histogram.data_points.iter();
            points.map(|p| &*p.attributes).collect()
        }
        other => panic!("{other:?}"),
    };
    let keys = attributes.into_iter().flatten();
    keys.map(|attribute| attribute.key.as_str()).collect()
}

fn destination(exporter: &'static str) -> Destination {
    Destination {
        exporter,
        address: Some("collector".to_owned()),
        port: Some(4317),
    }
}

fn exports(exporter: &'static str) -> Exports {
    let mut counts = ExportCounts::default();
    counts
        .durations
        .entry(Ending::default())
        .or_insert_with(|| Distribution::new(Forms::BOTH))
        .record(1);
    Exports {
        destination: destination(exporter),
        counts,
    }
}

/// Receives by programs of two ABIs are of two operations, their processing is of one.
#[tokio::test]
async fn processing_has_one_series_a_queue() {
    let call = |operation, start_ns| Call {
        operation,
        start_ns,
        end_ns: start_ns + MS,
        ..reference::receive()
    };
    let calls = [
        call(Operation::MqTimedreceive, 5 * MS),
        call(Operation::MqTimedreceiveTime32, 7 * MS),
    ];
    let snapshot = counted_with(calls, 1..4).await;
    for form in [Histograms::Explicit, Histograms::Exponential] {
        let metrics = of_queues(&snapshot, form);
        let named = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();
        let counts = |metric: &Metric| match metric.data.as_ref().unwrap() {
            metric::Data::Histogram(all) => all.data_points.iter().map(|p| p.count).collect(),
            metric::Data::ExponentialHistogram(all) => {
                all.data_points.iter().map(|p| p.count).collect()
            }
            other => panic!("{other:?}"),
        };
        let processed: Vec<u64> = counts(named("messaging.process.duration"));
        assert_eq!(processed, [6]);
        let received: Vec<u64> = counts(named("messaging.client.operation.duration"));
        assert_eq!(received, [1, 1]);
    }
}

#[tokio::test]
async fn scrapes_and_collectors_call_every_metric_the_same() {
    let snapshot = counted_with(some_calls(), 1..2).await;
    let mut own = OwnState {
        probes: vec![ProbeStats {
            program: "fe_recv".into(),
            symbol: "mq".into(),
            missed: 1,
            runs: Some(ProbeRuns {
                count: 1,
                time: Duration::from_secs(1),
            }),
        }],
        log_records: Some(LogCounts {
            exports: vec![exports("otlp_grpc_log_exporter")],
            ..LogCounts::default()
        }),
        points: vec![exports("otlp_grpc_metric_exporter")],
        owners: vec![LostByOwner {
            owner: None,
            container: None,
            reason: Loss::RingFull,
            calls: 1,
        }],
        ..OwnState::default()
    };
    own.sinks.push(SinkState {
        name: "otlp",
        counters: SinkCounts::default(),
        queue: Level::default(),
        exporters: vec![(
            destination("otlp_grpc_span_exporter"),
            SinkCounts::default(),
        )],
    });
    let mut metrics = of_queues(&snapshot, Histograms::Explicit);
    metrics.extend(Instruments::default().collect(own, Histograms::Explicit, PERIOD));
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    let known = QUEUE_METRICS.iter().chain(OWN_METRICS);
    assert_eq!(names, known.map(|metric| metric.name).collect());
    for metric in &metrics {
        let known = QUEUE_METRICS.iter().chain(OWN_METRICS);
        let definition = known.into_iter().find(|known| known.name == metric.name);
        for key in keys(metric) {
            let listed = format!("`{key}`");
            let is_known = definition.unwrap().attributes.contains(&listed);
            assert!(
                is_known || key == "otel.metric.overflow",
                "{key} of {}",
                metric.name
            );
        }
    }

    let by_collector: BTreeMap<String, &str> = requests(metrics.clone(), &Resource::default())
        .iter()
        .flat_map(|request| &request.resource_metrics[0].scope_metrics[0].metrics)
        .map(name_by_collector)
        .collect();
    let text = prometheus::text(&metrics, &Resource::default(), Format::Text);
    let scraped: BTreeMap<String, &str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .filter(|(name, _)| *name != "target_info")
        .map(|(name, kind)| (name.to_owned(), kind))
        .collect();
    assert_eq!(by_collector, scraped);
    assert_eq!(scraped["mqspan_call_count_total"], "counter");
    assert_eq!(scraped["mqspan_call_pending"], "gauge");
}
