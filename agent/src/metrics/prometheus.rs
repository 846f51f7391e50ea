//! Collected metrics in Prometheus' text format, version 0.0.4.
//!
//! Names follow "Prometheus and OpenMetrics Compatibility" of the
//! OpenTelemetry specification: what is not a letter, digit or underscore
//! becomes an underscore, then come the unit and, for sums that only grow,
//! `_total`. Label values are untrusted: queue names may hold anything.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::family::{Collected, Family, Kind, Label, Labels, Number};
use crate::histogram::{Histogram, bounds};
use crate::resource::{AttributeValue, Resource};

/// For the header `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole answer to a scrape.
pub fn text(collected: &Collected, resource: &Resource) -> String {
    let mut out = String::with_capacity(16 << 10);
    target_info(&mut out, resource);
    for family in &collected.families {
        write_family(&mut out, family);
    }
    out
}

/// The name of a metric.
pub fn name(family: &Family) -> String {
    let mut name = snake(family.name);
    let unit = match family.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    name.push_str(unit);
    if family.kind == Kind::Counter {
        name.push_str("_total");
    }
    name
}

/// Dots and the like become underscores; keys are ours and start with a
/// letter.
fn snake(key: &str) -> String {
    key.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// The resource, as the specification has it.
fn target_info(out: &mut String, resource: &Resource) {
    out.push_str("# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info{");
    for (at, (key, value)) in resource.attributes.iter().enumerate() {
        let value = match value {
            AttributeValue::String(text) => Cow::Borrowed(text.as_str()),
            AttributeValue::Int(number) => number.to_string().into(),
            AttributeValue::Double(number) => number.to_string().into(),
            AttributeValue::Bool(yes) => yes.to_string().into(),
        };
        write_label(out, at == 0, &snake(key), &value);
    }
    out.push_str("} 1\n");
}

fn write_family(out: &mut String, family: &Family) {
    if family.points.is_empty() {
        return;
    }
    let name = name(family);
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::UpDownCounter | Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    push(out, format_args!("# HELP {name} "));
    escape(out, family.description, false);
    push(out, format_args!("\n# TYPE {name} {kind}\n"));
    for point in &family.points {
        match &point.number {
            Number::Count(count) => {
                write_series(out, &name, &point.labels, None);
                push(out, format_args!(" {count}\n"));
            }
            Number::Double(number) => {
                write_series(out, &name, &point.labels, None);
                push(out, format_args!(" {number}\n"));
            }
            Number::Durations(histogram) => {
                write_histogram(out, &name, &point.labels, histogram);
            }
        }
    }
}

/// Buckets are cumulative here, and the last one is that of all.
fn write_histogram(out: &mut String, name: &str, labels: &Labels, histogram: &Histogram) {
    let bucket_name = format!("{name}_bucket");
    let mut cumulative = 0;
    let bounds = bounds().map(bound_text);
    let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
    for (bound, count) in bounds.zip(histogram.buckets()) {
        cumulative += count;
        write_series(out, &bucket_name, labels, Some(&bound));
        push(out, format_args!(" {cumulative}\n"));
    }
    write_series(out, &format!("{name}_sum"), labels, None);
    push(out, format_args!(" {}\n", histogram.sum()));
    write_series(out, &format!("{name}_count"), labels, None);
    push(out, format_args!(" {cumulative}\n"));
}

/// As Go writes numbers, and so as collectors write bounds: `le` is a text.
fn bound_text(bound: f64) -> String {
    if bound >= 1e-4 {
        return bound.to_string();
    }
    let text = format!("{bound:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

fn write_series(out: &mut String, name: &str, labels: &Labels, bound: Option<&str>) {
    out.push_str(name);
    if labels.is_empty() && bound.is_none() {
        return;
    }
    out.push('{');
    for (at, (key, label)) in labels.iter().enumerate() {
        let value = match label {
            Label::Static(text) => Cow::Borrowed(*text),
            Label::Text(text) => Cow::Borrowed(text.as_ref()),
            Label::Int(number) => number.to_string().into(),
            Label::Bool(yes) => yes.to_string().into(),
        };
        write_label(out, at == 0, &snake(key), &value);
    }
    if let Some(bound) = bound {
        write_label(out, labels.is_empty(), "le", bound);
    }
    out.push('}');
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

/// What the format has a meaning for; a carriage return, which it has none
/// for, would still end a line to some readers.
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

/// Writing to a string does not fail.
fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).unwrap_or_default();
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
