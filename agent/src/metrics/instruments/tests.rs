//! The agent's own metrics as the SDK collects them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;

use super::super::catalog::Definition;
use super::super::state::SinkState;
use super::*;
use crate::balance::Balance;
use crate::export::counters::SinkCounts;
use crate::export::destination::Destination;
use crate::export::operation::{ErrorType, ExportCounts};
use crate::export::queue::Level;
use crate::loss::{Loss, Losses};

/// The numbers of a sum; whether it only grows.
fn numbers(metrics: &[Metric], definition: Definition) -> (bool, Vec<i64>) {
    let metric = metrics.iter().find(|metric| metric.name == definition.name);
    let Some(Data::Sum(sum)) = &metric.unwrap().data else {
        panic!("{metric:?}");
    };
    let points = sum.data_points.iter().map(|point| match point.value {
        Some(Number::AsInt(number)) => number,
        _ => panic!("{point:?}"),
    });
    let mut numbers: Vec<i64> = points.collect();
    numbers.sort_unstable();
    (sum.is_monotonic, numbers)
}

fn collect(state: OwnState) -> Vec<Metric> {
    Instruments::default().collect(state, Histograms::Explicit, Period::default())
}

#[test]
fn calls_add_up_to_those_seen_and_show_losses_before_they_happen() {
    let balance = Balance {
        seen: 131,
        exported: 100,
        filtered: 10,
        sampled_out: 5,
        rejected: 3,
        lost: Losses::from_iter([(Loss::RingFull, 6), (Loss::QueueFull, 4)]),
        pending: 3,
    };
    assert!(balance.is_even());
    let metrics = collect(OwnState {
        balance,
        ..OwnState::default()
    });
    let (grows, calls) = numbers(&metrics, catalog::CALLS);
    assert!(grows);
    assert_eq!(calls.len(), 4 + Loss::ALL.len());
    assert_eq!(calls.iter().sum::<i64>(), 131 - 3);
    assert_eq!(numbers(&metrics, catalog::PENDING_CALLS), (false, vec![3]));
}

/// The numbers of a sum by one attribute, empty where it is absent.
fn by(metrics: &[Metric], definition: Definition, key: &str) -> BTreeMap<String, i64> {
    let metric = metrics.iter().find(|metric| metric.name == definition.name);
    let Some(Data::Sum(sum)) = &metric.unwrap().data else {
        panic!("{metric:?}");
    };
    let mut sums = BTreeMap::new();
    for point in &sum.data_points {
        let value = point.attributes.iter().find(|a| a.key == key);
        let value = value.map(|a| format!("{:?}", a.value.as_ref().unwrap().value));
        let Some(Number::AsInt(number)) = point.value else {
            panic!("{point:?}");
        };
        *sums.entry(value.unwrap_or_default()).or_insert(0) += number;
    }
    sums
}

fn text(value: &str) -> String {
    format!("{:?}", Some(AnyValue::StringValue(value.to_owned())))
}

fn to_collector(counters: SinkCounts) -> SinkState {
    let destination = Destination {
        exporter: "otlp_grpc_span_exporter",
        address: Some("collector".to_owned()),
        port: Some(4317),
    };
    SinkState {
        name: "otlp",
        exporters: vec![(destination, counters.clone())],
        counters,
        queue: Level {
            spans: 6,
            bytes: 100,
            capacity_bytes: 200,
        },
    }
}

#[test]
fn what_was_dropped_before_the_exporter_is_the_processors() {
    let counters = SinkCounts {
        exports: ExportCounts {
            exported: 9,
            failures: [(ErrorType::Grpc(3), 2), (ErrorType::Timeout, 3)].into(),
            ..ExportCounts::default()
        },
        processed: 14,
        dropped: Losses::from_iter([(Loss::QueueFull, 5), (Loss::Closed, 1)]),
        ..SinkCounts::default()
    };
    let metrics = collect(OwnState {
        sinks: vec![to_collector(counters)],
        ..OwnState::default()
    });
    assert_eq!(
        by(&metrics, catalog::SPANS_EXPORTED, "error.type"),
        BTreeMap::from([
            (String::new(), 9),
            (text("INVALID_ARGUMENT"), 2),
            (text("timeout"), 3)
        ])
    );
    assert_eq!(
        by(&metrics, catalog::SPANS_PROCESSED, "error.type"),
        BTreeMap::from([
            (String::new(), 14),
            (text("queue_full"), 5),
            (text("already_shutdown"), 1)
        ])
    );
    let server = by(&metrics, catalog::SPANS_EXPORTED, "server.address");
    assert_eq!(server, BTreeMap::from([(text("collector"), 14)]));
    for (definition, level) in [
        (catalog::SPAN_QUEUE_SIZE, 6),
        (catalog::QUEUE_USAGE, 100),
        (catalog::QUEUE_LIMIT, 200),
    ] {
        assert_eq!(numbers(&metrics, definition), (false, vec![level]));
    }
}

#[test]
fn spans_start_sampled_or_dropped_and_the_processor_time_has_its_mode() {
    let mut state = OwnState::default();
    (state.started.sampled, state.started.dropped) = (7, 3);
    state.process.user_time = Duration::from_secs(2);
    state.process.system_time = Duration::from_secs(1);
    let metrics = collect(state);
    assert_eq!(
        by(
            &metrics,
            catalog::SPANS_STARTED,
            "otel.span.sampling_result"
        ),
        BTreeMap::from([(text("RECORD_AND_SAMPLE"), 7), (text("DROP"), 3)])
    );
    let time = metrics.iter().find(|m| m.name == "process.cpu.time");
    let Some(Data::Sum(sum)) = &time.unwrap().data else {
        panic!("{time:?}");
    };
    let times = sum.data_points.iter().map(|point| {
        let [mode] = point.attributes.as_slice() else {
            panic!("{point:?}");
        };
        let Some(Number::AsDouble(seconds)) = point.value else {
            panic!("{point:?}");
        };
        assert_eq!(mode.key, "cpu.mode");
        (
            format!("{:?}", mode.value.as_ref().unwrap().value),
            seconds as u64,
        )
    });
    assert_eq!(
        times.collect::<BTreeMap<_, _>>(),
        BTreeMap::from([(text("user"), 2), (text("system"), 1)])
    );
}

#[test]
fn retries_are_counted_by_reason() {
    let counters = SinkCounts {
        requests: 9,
        retries: 5,
        exhausted_retries: 2,
        splits: 1,
        corrupt_records: 7,
        ..SinkCounts::default()
    };
    let metrics = collect(OwnState {
        sinks: vec![to_collector(counters)],
        ..OwnState::default()
    });
    for (definition, counts) in [
        (catalog::EXPORT_REQUESTS, vec![9]),
        (catalog::EXPORT_RETRIES, vec![2, 3]),
        (catalog::EXPORT_SPLITS, vec![1]),
        (catalog::CORRUPT_RECORDS, vec![7]),
    ] {
        assert_eq!(numbers(&metrics, definition), (true, counts));
    }
}

#[test]
fn troubles_are_counted_before_there_are_any() {
    for (log_lines_lost, panics) in [(0, 0), (5, 1)] {
        let metrics = collect(OwnState {
            log_lines_lost,
            panics,
            ..OwnState::default()
        });
        let of = |definition| numbers(&metrics, definition);
        assert_eq!(
            of(catalog::LOG_LOST),
            (true, vec![log_lines_lost.cast_signed()])
        );
        assert_eq!(of(catalog::PANIC_COUNT), (true, vec![panics.cast_signed()]));
    }
}

#[test]
fn a_series_that_is_gone_is_not_told_again() {
    let instruments = Instruments::default();
    let probe = crate::kernel::ProbeStats {
        program: "a".into(),
        symbol: "b".into(),
        missed: 2,
        runs: None,
    };
    let with = OwnState {
        probes: vec![probe],
        ..OwnState::default()
    };
    let metrics = instruments.collect(with, Histograms::Explicit, Period::default());
    assert_eq!(numbers(&metrics, catalog::PROBE_MISSED), (true, vec![2]));
    let state = OwnState::default();
    let metrics = instruments.collect(state, Histograms::Explicit, Period::default());
    let missed = |metric: &&Metric| metric.name == catalog::PROBE_MISSED.name;
    assert_eq!(metrics.iter().find(missed), None);
}
