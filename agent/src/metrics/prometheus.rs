//! Collected metrics in Prometheus' text format, version 0.0.4, or in that of
//! OpenMetrics 1.0.0, which has exemplars. Both have explicit buckets only:
//! Prometheus' native histograms need protobuf.
//!
//! Names follow "Prometheus and OpenMetrics Compatibility" of the OpenTelemetry
//! specification: characters other than letters, digits and underscores become
//! underscores, followed by the unit and, for sums that only grow, `_total`.
//! Label values are untrusted: queue names may contain anything.

use std::borrow::Cow;
use std::fmt::Write as _;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, HistogramDataPoint, Metric, NumberDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;

use super::requests::points;
use crate::resource::Resource;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// Value of the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The whole answer to a scrape.
pub fn text(metrics: &[Metric], resource: &Resource, format: Format) -> String {
    let mut out = String::with_capacity(16 << 10);
    // The specification puts the resource into `target_info`.
    out.push_str(match format {
        Format::Text => "# HELP target_info Target metadata\n# TYPE target_info gauge\n",
        Format::OpenMetrics => "# HELP target Target metadata\n# TYPE target info\n",
    });
    let attributes = ProtoResource::from(resource).attributes;
    write_series(&mut out, "target_info", &attributes, None);
    out.push_str(" 1\n");
    for metric in metrics {
        write_metric(&mut out, metric, format);
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn is_counter(metric: &Metric) -> bool {
    matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic)
}

/// The name without the `_total` of a counter.
fn family(metric: &Metric) -> String {
    let mut name = snake(&metric.name);
    let unit = match metric.unit.as_str() {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    name.push_str(unit);
    name
}

fn name(metric: &Metric) -> String {
    let total = if is_counter(metric) { "_total" } else { "" };
    family(metric) + total
}

/// Turns dots and the like into underscores. Keys are ours and start with a letter.
fn snake(key: &str) -> String {
    key.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

fn write_metric(out: &mut String, metric: &Metric, format: Format) {
    if points(metric) == 0 {
        return;
    }
    let name = name(metric);
    let is_open = format == Format::OpenMetrics;
    let described = if is_open {
        family(metric)
    } else {
        name.clone()
    };
    let kind = match &metric.data {
        Some(Data::Histogram(_)) => "histogram",
        _ if is_counter(metric) => "counter",
        _ => "gauge",
    };
    push(out, format_args!("# HELP {described} "));
    escape(out, &metric.description, is_open);
    push(out, format_args!("\n# TYPE {described} {kind}\n"));
    match &metric.data {
        Some(Data::Sum(sum)) => write_numbers(out, &name, &sum.data_points),
        Some(Data::Gauge(gauge)) => write_numbers(out, &name, &gauge.data_points),
        Some(Data::Histogram(histogram)) => {
            for point in &histogram.data_points {
                write_histogram(out, &name, point, format);
            }
        }
        _ => {}
    }
}

fn write_numbers(out: &mut String, name: &str, points: &[NumberDataPoint]) {
    for point in points {
        write_series(out, name, &point.attributes, None);
        match point.value {
            Some(Number::AsInt(number)) => push(out, format_args!(" {number}\n")),
            Some(Number::AsDouble(number)) => push(out, format_args!(" {number}\n")),
            None => out.push_str(" NaN\n"),
        }
    }
}

/// Prometheus' buckets are cumulative, and the last one counts everything.
fn write_histogram(out: &mut String, name: &str, point: &HistogramDataPoint, format: Format) {
    let bucket_name = format!("{name}_bucket");
    let mut cumulative = 0;
    let bounds = point.explicit_bounds.iter().copied();
    let mut lower = f64::NEG_INFINITY;
    for (bound, count) in bounds.chain([f64::INFINITY]).zip(&point.bucket_counts) {
        cumulative += count;
        let text = bound_text(bound, format);
        write_series(out, &bucket_name, &point.attributes, Some(&text));
        push(out, format_args!(" {cumulative}"));
        if format == Format::OpenMetrics {
            let mut exemplars = point.exemplars.iter();
            let inside = |value: f64| lower < value && value <= bound;
            let found = exemplars.find_map(|exemplar| match exemplar.value {
                Some(ExemplarValue::AsDouble(value)) if inside(value) => Some((exemplar, value)),
                _ => None,
            });
            if let Some((exemplar, value)) = found {
                write_exemplar(out, exemplar, value);
            }
        }
        out.push('\n');
        lower = bound;
    }
    write_series(out, &format!("{name}_sum"), &point.attributes, None);
    push(out, format_args!(" {}\n", point.sum.unwrap_or_default()));
    write_series(out, &format!("{name}_count"), &point.attributes, None);
    push(out, format_args!(" {cumulative}\n"));
}

fn write_exemplar(out: &mut String, exemplar: &Exemplar, value: f64) {
    out.push_str(" # {trace_id=\"");
    write_hex(out, &exemplar.trace_id);
    out.push_str("\",span_id=\"");
    write_hex(out, &exemplar.span_id);
    let (sec, ns) = (
        exemplar.time_unix_nano / 1_000_000_000,
        exemplar.time_unix_nano % 1_000_000_000,
    );
    push(out, format_args!("\"}} {value} {sec}.{ns:09}"));
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        push(out, format_args!("{byte:02x}"));
    }
}

/// Formats numbers like Go, and so like collectors, because `le` is text.
/// OpenMetrics wants a point in whole numbers ("Considerations: Canonical
/// Numbers").
fn bound_text(bound: f64, format: Format) -> String {
    if bound == f64::INFINITY {
        return "+Inf".to_owned();
    }
    if bound >= 1e-4 {
        let point = match format {
            Format::OpenMetrics if bound.fract() == 0.0 => ".0",
            _ => "",
        };
        return format!("{bound}{point}");
    }
    let text = format!("{bound:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

fn write_series(out: &mut String, name: &str, attributes: &[KeyValue], bound: Option<&str>) {
    out.push_str(name);
    if attributes.is_empty() && bound.is_none() {
        return;
    }
    out.push('{');
    for (at, attribute) in attributes.iter().enumerate() {
        let value = value_text(attribute.value.as_ref());
        write_label(out, at == 0, &snake(&attribute.key), &value);
    }
    if let Some(bound) = bound {
        write_label(out, attributes.is_empty(), "le", bound);
    }
    out.push('}');
}

fn value_text(value: Option<&AnyValue>) -> Cow<'_, str> {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::IntValue(number)) => number.to_string().into(),
        Some(Value::DoubleValue(number)) => number.to_string().into(),
        Some(Value::BoolValue(yes)) => yes.to_string().into(),
        Some(Value::ArrayValue(array)) => json(array).to_string().into(),
        // Resources have no other kinds of values.
        _ => "".into(),
    }
}

/// An array as the specification writes it where a value has to be text ("AnyValue representation for non-OTLP protocols").
fn json(array: &ArrayValue) -> serde_json::Value {
    let one = |value: &AnyValue| match &value.value {
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::IntValue(number)) => (*number).into(),
        Some(Value::DoubleValue(number)) => (*number).into(),
        Some(Value::BoolValue(yes)) => (*yes).into(),
        Some(Value::ArrayValue(inner)) => json(inner),
        _ => serde_json::Value::Null,
    };
    array.values.iter().map(one).collect()
}

fn write_label(out: &mut String, first: bool, key: &str, value: &str) {
    if !first {
        out.push(',');
    }
    out.push_str(key);
    out.push_str("=\"");
    escape(out, value, true);
    out.push('"');
}

/// Escapes what the format gives a meaning. A carriage return has none, but
/// would still end a line for some readers.
fn escape(out: &mut String, text: &str, quoted: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quoted => out.push_str("\\\""),
            '\r' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// Writing to a string cannot fail.
fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).unwrap_or_default();
}

#[cfg(test)]
mod tests;
