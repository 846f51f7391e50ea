//! Collected metrics as OTLP requests.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram as ProtoHistogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;

use super::family::{Collected, Family, Kind, Label, Labels, Number, Point};
use crate::encode::{SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION};
use crate::histogram::{Histogram, bounds};
use crate::resource::{AttributeValue, Resource};

/// Points in one request. A histogram's is a kilobyte, and at most two with the
/// longest name, so a request stays far below the 4 MiB
/// that gRPC servers take.
const MAX_POINTS: usize = 1_000;

/// The metrics as requests of a bounded size.
pub fn requests(collected: &Collected, resource: &Resource) -> Vec<ExportMetricsServiceRequest> {
    let mut requests = Vec::new();
    let mut metrics = Vec::new();
    let mut room = MAX_POINTS;
    for family in &collected.families {
        let mut points = family.points.as_slice();
        while !points.is_empty() {
            let (now, later) = points.split_at(points.len().min(room));
            metrics.push(metric(collected, family, now));
            points = later;
            room -= now.len();
            if room == 0 {
                requests.push(request(std::mem::take(&mut metrics), resource));
                room = MAX_POINTS;
            }
        }
    }
    if !metrics.is_empty() {
        requests.push(request(metrics, resource));
    }
    requests
}

fn request(metrics: Vec<Metric>, resource: &Resource) -> ExportMetricsServiceRequest {
    let attributes = resource.attributes.iter().map(|(key, value)| {
        let value = match value {
            AttributeValue::String(text) => ProtoValue::StringValue(text.clone()),
            AttributeValue::Int(number) => ProtoValue::IntValue(*number),
            AttributeValue::Double(number) => ProtoValue::DoubleValue(*number),
            AttributeValue::Bool(yes) => ProtoValue::BoolValue(*yes),
        };
        attribute(key, value)
    });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(ProtoResource {
                attributes: attributes.collect(),
                ..ProtoResource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: SCOPE_NAME.to_owned(),
                    version: SCOPE_VERSION.to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics,
                schema_url: SCHEMA_URL.to_owned(),
            }],
            schema_url: SCHEMA_URL.to_owned(),
        }],
    }
}

fn metric(collected: &Collected, family: &Family, points: &[Point]) -> Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let numbers = || {
        points
            .iter()
            .filter_map(|point| number_point(collected, family.kind, point))
            .collect()
    };
    let data = match family.kind {
        Kind::Counter | Kind::UpDownCounter => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: temporality,
            is_monotonic: family.kind == Kind::Counter,
        }),
        Kind::Gauge => metric::Data::Gauge(Gauge {
            data_points: numbers(),
        }),
        Kind::Histogram => metric::Data::Histogram(ProtoHistogram {
            data_points: points
                .iter()
                .filter_map(|point| histogram_point(collected, point))
                .collect(),
            aggregation_temporality: temporality,
        }),
    };
    Metric {
        name: family.name.to_owned(),
        description: family.description.to_owned(),
        unit: family.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn number_point(collected: &Collected, kind: Kind, point: &Point) -> Option<NumberDataPoint> {
    let value = match &point.number {
        Number::Count(count) => {
            number_data_point::Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX))
        }
        Number::Double(number) => number_data_point::Value::AsDouble(*number),
        Number::Durations(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(&point.labels),
        start_time_unix_nano: if kind == Kind::Gauge {
            0
        } else {
            point.start_unix_ns.unwrap_or(collected.start_unix_ns)
        },
        time_unix_nano: collected.unix_ns,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn histogram_point(collected: &Collected, point: &Point) -> Option<HistogramDataPoint> {
    let Number::Durations(histogram) = &point.number else {
        return None;
    };
    let histogram: &Histogram = histogram;
    let range = histogram.range();
    Some(HistogramDataPoint {
        attributes: attributes(&point.labels),
        start_time_unix_nano: point.start_unix_ns.unwrap_or(collected.start_unix_ns),
        time_unix_nano: collected.unix_ns,
        count: histogram.count(),
        sum: Some(histogram.sum()),
        bucket_counts: histogram.buckets().to_vec(),
        explicit_bounds: bounds().collect(),
        min: range.map(|(min, _)| min),
        max: range.map(|(_, max)| max),
        ..HistogramDataPoint::default()
    })
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels
        .iter()
        .map(|(key, label)| {
            let value = match label {
                Label::Static(text) => ProtoValue::StringValue((*text).to_owned()),
                Label::Text(text) => ProtoValue::StringValue(text.as_ref().to_owned()),
                Label::Int(number) => ProtoValue::IntValue(*number),
                Label::Bool(yes) => ProtoValue::BoolValue(*yes),
            };
            attribute(key, value)
        })
        .collect()
}

fn attribute(key: &str, value: ProtoValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
