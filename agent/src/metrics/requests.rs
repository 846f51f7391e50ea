//! Metrics as OTLP requests of a bounded size.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, Gauge, Histogram, Metric, ResourceMetrics, ScopeMetrics, Sum,
};

use crate::encode::{SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION};
use crate::resource::Resource;

/// Maximum number of points in one request. A histogram's point takes one
/// kilobyte, or two with the longest name, so a request stays far below the 4
/// MiB that gRPC servers accept.
const MAX_POINTS: usize = 1_000;

/// Splits the metrics into requests. A metric with many points is in several.
pub fn requests(
    metrics: impl IntoIterator<Item = Metric>,
    resource: &Resource,
) -> Vec<ExportMetricsServiceRequest> {
    let mut requests = Vec::new();
    let mut full = Vec::new();
    let mut room = MAX_POINTS;
    for mut metric in metrics {
        loop {
            let rest = split_off(&mut metric, room);
            room -= points(&metric).min(room);
            full.push(metric);
            if room == 0 {
                requests.push(request(std::mem::take(&mut full), resource));
                room = MAX_POINTS;
            }
            match rest {
                Some(rest) => metric = rest,
                None => break,
            }
        }
    }
    if !full.is_empty() {
        requests.push(request(full, resource));
    }
    requests
}

fn request(metrics: Vec<Metric>, resource: &Resource) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.into()),
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

/// Points in a request.
pub(super) fn points_of(request: &ExportMetricsServiceRequest) -> u64 {
    let scopes = request
        .resource_metrics
        .iter()
        .flat_map(|r| &r.scope_metrics);
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    metrics.map(|metric| points(metric) as u64).sum()
}

pub(super) fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    }
}

/// Splits off the points from `at` on, as a metric of their own.
fn split_off(metric: &mut Metric, at: usize) -> Option<Metric> {
    if points(metric) <= at {
        return None;
    }
    let rest = match metric.data.as_mut()? {
        Data::Sum(sum) => Data::Sum(Sum {
            data_points: sum.data_points.split_off(at),
            ..*sum
        }),
        Data::Gauge(gauge) => Data::Gauge(Gauge {
            data_points: gauge.data_points.split_off(at),
        }),
        Data::Histogram(histogram) => Data::Histogram(Histogram {
            data_points: histogram.data_points.split_off(at),
            ..*histogram
        }),
        Data::ExponentialHistogram(histogram) => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: histogram.data_points.split_off(at),
            ..*histogram
        }),
        _ => return None,
    };
    Some(Metric {
        name: metric.name.clone(),
        description: metric.description.clone(),
        unit: metric.unit.clone(),
        metadata: Vec::new(),
        data: Some(rest),
    })
}
