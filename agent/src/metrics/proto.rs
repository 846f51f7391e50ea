//! The model that OTLP and Prometheus share: metrics of opentelemetry-proto.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
    metric, number_data_point,
};

use super::catalog::{Definition, MetricKind};
use crate::histogram::{Histogram as Durations, bounds};

/// The period that numbers cover, in Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Period {
    /// Start of the sums.
    pub start_unix_ns: u64,
    /// When the numbers were read.
    pub unix_ns: u64,
}

pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

pub(super) fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

/// The only attribute of the series that stands for all beyond a limit
/// ("Metrics SDK", "Overflow attribute").
pub(super) fn overflow() -> KeyValue {
    attribute("otel.metric.overflow", Value::BoolValue(true))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

pub(super) fn number(period: Period, attributes: Vec<KeyValue>, count: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: period.start_unix_ns,
        time_unix_nano: period.unix_ns,
        value: Some(number_data_point::Value::AsInt(
            count.try_into().unwrap_or(i64::MAX),
        )),
        ..NumberDataPoint::default()
    }
}

/// Durations in seconds.
pub(super) fn durations(
    period: Period,
    attributes: Vec<KeyValue>,
    durations: &Durations,
) -> HistogramDataPoint {
    let range = durations.range();
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: period.start_unix_ns,
        time_unix_nano: period.unix_ns,
        count: durations.count(),
        sum: Some(durations.sum()),
        bucket_counts: durations.buckets().to_vec(),
        explicit_bounds: bounds().collect(),
        min: range.map(|(min, _)| min),
        max: range.map(|(_, max)| max),
        ..HistogramDataPoint::default()
    }
}

/// A sum or a gauge, by the kind of `definition`.
pub(super) fn numbers(definition: &Definition, data_points: Vec<NumberDataPoint>) -> Metric {
    let data = if definition.kind == MetricKind::Gauge {
        metric::Data::Gauge(Gauge { data_points })
    } else {
        metric::Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: definition.kind == MetricKind::Counter,
        })
    };
    metric(definition, data)
}

pub(super) fn histograms(definition: &Definition, data_points: Vec<HistogramDataPoint>) -> Metric {
    let data = metric::Data::Histogram(Histogram {
        data_points,
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
    });
    metric(definition, data)
}

fn metric(definition: &Definition, data: metric::Data) -> Metric {
    Metric {
        name: definition.name.to_owned(),
        description: definition.description.to_owned(),
        unit: definition.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}
