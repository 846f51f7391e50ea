//! The model that OTLP and Prometheus share: metrics of opentelemetry-proto.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
    Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, exponential_histogram_data_point,
    metric, number_data_point,
};

use super::catalog::{Definition, MetricKind};
use crate::config::Histograms;
use crate::histogram::{BUCKETS, Distribution, Exponential, bounds};

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

/// The durations of one series.
pub(super) struct DurationPoint<'a> {
    pub(super) period: Period,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) durations: &'a Distribution,
    /// At most one of each explicit bucket.
    pub(super) exemplars: Vec<Exemplar>,
}

impl DurationPoint<'_> {
    fn explicit(self, buckets: &[u64; BUCKETS]) -> HistogramDataPoint {
        let totals = self.durations.totals();
        let range = totals.range();
        HistogramDataPoint {
            attributes: self.attributes,
            start_time_unix_nano: self.period.start_unix_ns,
            time_unix_nano: self.period.unix_ns,
            count: self.durations.count(),
            sum: Some(totals.sum()),
            bucket_counts: buckets.to_vec(),
            explicit_bounds: bounds().collect(),
            min: range.map(|(min, _)| min),
            max: range.map(|(_, max)| max),
            exemplars: self.exemplars,
            ..HistogramDataPoint::default()
        }
    }

    fn exponential(self, exponential: &Exponential) -> ExponentialHistogramDataPoint {
        let totals = self.durations.totals();
        let range = totals.range();
        let buckets = exponential.buckets();
        let positive = exponential_histogram_data_point::Buckets {
            offset: exponential.buckets().next().map_or(0, |(at, _)| at),
            bucket_counts: buckets.map(|(_, count)| count).collect(),
        };
        ExponentialHistogramDataPoint {
            attributes: self.attributes,
            start_time_unix_nano: self.period.start_unix_ns,
            time_unix_nano: self.period.unix_ns,
            count: self.durations.count(),
            sum: Some(totals.sum()),
            scale: exponential.scale(),
            zero_count: exponential.zeros(),
            positive: Some(positive),
            min: range.map(|(min, _)| min),
            max: range.map(|(_, max)| max),
            exemplars: self.exemplars,
            ..ExponentialHistogramDataPoint::default()
        }
    }
}

/// Durations in seconds, in buckets of this form. Series without it are left out.
pub(super) fn durations<'a>(
    definition: &Definition,
    form: Histograms,
    points: impl IntoIterator<Item = DurationPoint<'a>>,
) -> Metric {
    let points = points.into_iter();
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let data = match form {
        Histograms::Explicit => metric::Data::Histogram(Histogram {
            data_points: points
                .filter_map(|point| point.durations.explicit().map(|b| point.explicit(b)))
                .collect(),
            aggregation_temporality,
        }),
        Histograms::Exponential => metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: points
                .filter_map(|point| point.durations.exponential().map(|e| point.exponential(e)))
                .collect(),
            aggregation_temporality,
        }),
    };
    metric(definition, data)
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

fn metric(definition: &Definition, data: metric::Data) -> Metric {
    Metric {
        name: definition.name.to_owned(),
        description: definition.description.to_owned(),
        unit: definition.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}
