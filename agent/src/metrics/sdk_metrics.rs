//! What the agent reports as an OpenTelemetry SDK would: "Semantic conventions
//! for OpenTelemetry SDK metrics".
//!
//! Left out on purpose: `otel.sdk.processor.span.queue.capacity` counts spans,
//! but the limit of the queue is in bytes (`mqspan.queue.limit`).
//! `otel.sdk.span.live` counts spans that have started and not ended, but a span
//! exists here only once its call is over (`mqspan.call.pending`).

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::common::v1::KeyValue as ProtoKeyValue;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::transform::common::tonic::Attributes;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, HTTP_RESPONSE_STATUS_CODE, OTEL_COMPONENT_NAME, OTEL_COMPONENT_TYPE,
    OTEL_SPAN_SAMPLING_RESULT, RPC_RESPONSE_STATUS_CODE, SERVER_ADDRESS, SERVER_PORT,
};

use super::catalog;
use super::observed::{Observed, Observer, signed};
use super::proto::{DurationPoint, Period, durations, int, text};
use super::state::{OwnState, SinkState};
use crate::config::Histograms;
use crate::export::counters::SinkCounts;
use crate::export::destination::Destination;
use crate::export::logs::LogCounts;
use crate::export::operation::{Answer, Ending, ErrorType, ExportCounts};
use crate::export::refusal::code as grpc_code;
use crate::loss::Loss;

/// `otel.component.type` of what queues spans, and of what queues log records.
const SPAN_PROCESSOR: &str = "batching_span_processor";
const LOG_PROCESSOR: &str = "batching_log_processor";

pub(super) fn register(observed: &Observed) {
    spans(observed);
    queues(observed);
    exporters(observed);
    requests(observed);
    log_records(observed);
    points(observed);
}

fn spans(observed: &Observed) {
    observed.counter(catalog::SPANS_STARTED, |state, observer| {
        for (result, spans) in [
            ("RECORD_AND_SAMPLE", state.started.sampled),
            ("DROP", state.started.dropped),
        ] {
            observer.observe(spans, &[KeyValue::new(OTEL_SPAN_SAMPLING_RESULT, result)]);
        }
    });
    observed.counter(catalog::SPANS_PROCESSED, |state, observer| {
        for sink in &state.sinks {
            let processor = processor(sink);
            observer.observe(sink.counters.processed, &processor);
            for (reason, spans) in sink.counters.dropped.some() {
                let error = match reason {
                    Loss::Closed => "already_shutdown",
                    reason => reason.name(),
                };
                observer.observe(spans, &with(&processor, ERROR_TYPE, error));
            }
        }
    });
}

fn queues(observed: &Observed) {
    let of_queue = |definition, value: fn(&SinkState) -> u64| {
        observed.up_down_counter(definition, move |state, observer| {
            for sink in &state.sinks {
                observer.observe(signed(value(sink)), &processor(sink));
            }
        });
    };
    of_queue(catalog::SPAN_QUEUE_SIZE, |sink| sink.queue.spans);
    of_queue(catalog::QUEUE_USAGE, |sink| sink.queue.bytes);
    of_queue(catalog::QUEUE_LIMIT, |sink| sink.queue.capacity_bytes);
    observed.counter(catalog::CORRUPT_RECORDS, |state, observer| {
        for sink in &state.sinks {
            observer.observe(sink.counters.corrupt_records, &processor(sink));
        }
    });
}

fn exporters(observed: &Observed) {
    observed.counter(catalog::SPANS_EXPORTED, |state, observer| {
        for (destination, counts) in of_spans(state) {
            exported(destination, &counts.exports, observer);
        }
    });
    observed.up_down_counter(catalog::SPANS_IN_FLIGHT, |state, observer| {
        for (destination, counts) in of_spans(state) {
            let in_flight = signed(counts.exports.in_flight);
            observer.observe(in_flight, &exporter(destination));
        }
    });
}

fn requests(observed: &Observed) {
    let count = |definition, value: fn(&SinkCounts) -> u64| {
        observed.counter(definition, move |state, observer| {
            for (destination, counts) in of_spans(state) {
                observer.observe(value(counts), &exporter(destination));
            }
        });
    };
    count(catalog::EXPORT_REQUESTS, |counts| counts.requests);
    count(catalog::EXPORT_SPLITS, |counts| counts.splits);
    observed.counter(catalog::EXPORT_RETRIES, |state, observer| {
        for (destination, counts) in of_spans(state) {
            let exporter = exporter(destination);
            let exhausted = counts.exhausted_retries;
            let other = counts.retries.saturating_sub(exhausted);
            for (reason, requests) in [("resource_exhausted", exhausted), ("other", other)] {
                let attributes = with(&exporter, "mqspan.retry.reason", reason);
                observer.observe(requests, &attributes);
            }
        }
    });
}

fn log_records(observed: &Observed) {
    observed.counter(catalog::LOG_RECORDS_PROCESSED, |state, observer| {
        if let Some(records) = &state.log_records {
            let processor = component(LOG_PROCESSOR, "0");
            observer.observe(records.processed, &processor);
            let full = with(&processor, ERROR_TYPE, "queue_full");
            observer.observe(records.queue_full, &full);
        }
    });
    let of_queue = |definition, value: fn(&LogCounts) -> u64| {
        observed.up_down_counter(definition, move |state, observer| {
            if let Some(records) = &state.log_records {
                observer.observe(signed(value(records)), &component(LOG_PROCESSOR, "0"));
            }
        });
    };
    of_queue(catalog::LOG_QUEUE_SIZE, |records| records.waiting);
    of_queue(catalog::LOG_QUEUE_CAPACITY, |records| records.capacity);
    observed.counter(catalog::LOG_RECORDS_EXPORTED, |state, observer| {
        for exports in state
            .log_records
            .iter()
            .flat_map(|records| &records.exports)
        {
            exported(&exports.destination, &exports.counts, observer);
        }
    });
    observed.up_down_counter(catalog::LOG_RECORDS_IN_FLIGHT, |state, observer| {
        for exports in state
            .log_records
            .iter()
            .flat_map(|records| &records.exports)
        {
            let in_flight = signed(exports.counts.in_flight);
            observer.observe(in_flight, &exporter(&exports.destination));
        }
    });
}

fn points(observed: &Observed) {
    observed.counter(catalog::POINTS_EXPORTED, |state, observer| {
        for exports in &state.points {
            exported(&exports.destination, &exports.counts, observer);
        }
    });
    observed.up_down_counter(catalog::POINTS_IN_FLIGHT, |state, observer| {
        for exports in &state.points {
            let in_flight = signed(exports.counts.in_flight);
            observer.observe(in_flight, &exporter(&exports.destination));
        }
    });
}

fn exported(destination: &Destination, counts: &ExportCounts, observer: Observer<'_, u64>) {
    let exporter = exporter(destination);
    observer.observe(counts.exported, &exporter);
    for (error, items) in &counts.failures {
        observer.observe(*items, &with(&exporter, ERROR_TYPE, error.name()));
    }
}

fn of_spans(state: &OwnState) -> impl Iterator<Item = (&Destination, &SinkCounts)> {
    let all = state.sinks.iter().flat_map(|sink| &sink.exporters);
    all.map(|(destination, counts)| (destination, counts))
}

fn with(
    attributes: &[KeyValue],
    key: &'static str,
    value: impl Into<opentelemetry::Value>,
) -> Vec<KeyValue> {
    let more = KeyValue::new(key, value);
    attributes.iter().cloned().chain([more]).collect()
}

fn component(kind: &'static str, name: &str) -> Vec<KeyValue> {
    vec![
        KeyValue::new(OTEL_COMPONENT_TYPE, kind),
        KeyValue::new(OTEL_COMPONENT_NAME, format!("{kind}/{name}")),
    ]
}

fn processor(sink: &SinkState) -> Vec<KeyValue> {
    component(SPAN_PROCESSOR, sink.name)
}

/// There is one exporter of a kind at a time.
fn exporter(destination: &Destination) -> Vec<KeyValue> {
    let mut attributes = component(destination.exporter, "0");
    if let Some(address) = &destination.address {
        attributes.push(KeyValue::new(SERVER_ADDRESS, address.clone()));
    }
    if let Some(port) = destination.port {
        attributes.push(KeyValue::new(SERVER_PORT, i64::from(port)));
    }
    attributes
}

/// The durations of exports. The SDK does not accept histograms that were summed
/// elsewhere.
pub(super) fn export_durations(state: &OwnState, form: Histograms, period: Period) -> Metric {
    let spans =
        of_spans(state).map(|(destination, counts)| (destination, &counts.exports.durations));
    let logs = state
        .log_records
        .iter()
        .flat_map(|records| &records.exports);
    let own = logs.chain(&state.points);
    let own = own.map(|exports| (&exports.destination, &exports.counts.durations));
    let mut points = Vec::new();
    for (destination, all) in spans.chain(own) {
        for (ending, took) in all {
            points.push(DurationPoint {
                period,
                attributes: ending_attributes(destination, *ending),
                durations: took,
                exemplars: Vec::new(),
            });
        }
    }
    durations(&catalog::EXPORT_DURATION, form, points)
}

fn ending_attributes(destination: &Destination, ending: Ending) -> Vec<ProtoKeyValue> {
    let mut attributes = Attributes::from(exporter(destination)).0;
    match ending.answer {
        Some(Answer::Grpc(code)) => {
            attributes.push(text(RPC_RESPONSE_STATUS_CODE, grpc_code::symbol(code)));
        }
        Some(Answer::Http(status)) => {
            attributes.push(int(HTTP_RESPONSE_STATUS_CODE, status.into()));
        }
        None => {}
    }
    let error = ending.error.map(ErrorType::name);
    attributes.extend(error.map(|error| text(ERROR_TYPE, error)));
    attributes
}
