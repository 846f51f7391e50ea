//! What OTLP and Prometheus are both made from: metrics with their points.

use std::sync::Arc;

use crate::histogram::Histogram;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// A string known beforehand.
    Static(&'static str),
    /// Any string, such as the name of a queue: untrusted.
    Text(Arc<str>),
    /// An integer.
    Int(i64),
    /// A boolean.
    Bool(bool),
}

/// Attributes of a point, each key once.
pub type Labels = Vec<(&'static str, Label)>;

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down; adding up its points makes sense.
    UpDownCounter,
    /// Goes up and down; adding up its points does not make sense.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

/// What a point says.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// A whole number.
    Count(u64),
    /// Any number.
    Double(f64),
    /// Durations.
    Durations(Box<Histogram>),
}

/// One series of a metric at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Which series.
    pub labels: Labels,
    /// Its value.
    pub number: Number,
    /// Since when it adds up, Unix nanoseconds; `None` where that is
    /// [`Collected::start_unix_ns`].
    pub start_unix_ns: Option<u64>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// By the semantic conventions' rules, with dots.
    pub name: &'static str,
    /// For people.
    pub description: &'static str,
    /// UCUM, such as `s`, `By` and `{message}`.
    pub unit: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its series, no two with the same labels.
    pub points: Vec<Point>,
}

impl Family {
    pub(super) fn new(
        name: &'static str,
        kind: Kind,
        unit: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            name,
            description,
            unit,
            kind,
            points: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, labels: Labels, number: Number) {
        self.push_since(None, labels, number);
    }

    pub(super) fn push_since(
        &mut self,
        start_unix_ns: Option<u64>,
        labels: Labels,
        number: Number,
    ) {
        self.points.push(Point {
            labels,
            number,
            start_unix_ns,
        });
    }

    pub(super) fn count(&mut self, labels: Labels, count: u64) {
        self.push(labels, Number::Count(count));
    }

    /// With one more point.
    pub(super) fn with(mut self, labels: Labels, number: Number) -> Self {
        self.push(labels, number);
        self
    }
}

/// All metrics at one time. Times are Unix nanoseconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Collected {
    /// Since when sums add up.
    pub start_unix_ns: u64,
    /// When the numbers were read.
    pub unix_ns: u64,
    /// The metrics.
    pub families: Vec<Family>,
}
