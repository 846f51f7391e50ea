//! A span as it arrived, with the resource and scope it arrived under.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

/// An attribute's value, of the kinds that the contract uses.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Str(String),
    Int(i64),
    Double(f64),
    Bool(bool),
    Bytes(Vec<u8>),
    Strings(Vec<String>),
    /// A kind that the contract does not use.
    Other(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Str(s) => write!(f, "{s:?}"),
            Value::Int(i) => write!(f, "{i}"),
            Value::Double(d) => write!(f, "{d} (double)"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Bytes(b) => write!(f, "{b:02x?}"),
            Value::Strings(s) => write!(f, "{s:?}"),
            Value::Other(s) => write!(f, "{s}"),
        }
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::Str(s.to_owned())
    }
}

impl From<i64> for Value {
    fn from(i: i64) -> Self {
        Value::Int(i)
    }
}

fn value(any: Option<&AnyValue>) -> Value {
    match any.and_then(|any| any.value.as_ref()) {
        Some(any_value::Value::StringValue(s)) => Value::Str(s.clone()),
        Some(any_value::Value::IntValue(i)) => Value::Int(*i),
        Some(any_value::Value::DoubleValue(d)) => Value::Double(*d),
        Some(any_value::Value::BoolValue(b)) => Value::Bool(*b),
        Some(any_value::Value::BytesValue(b)) => Value::Bytes(b.clone()),
        Some(any_value::Value::ArrayValue(array)) => strings(array),
        other => Value::Other(format!("{other:?}")),
    }
}

fn strings(array: &ArrayValue) -> Value {
    let elements: Vec<_> = array.values.iter().map(|any| value(Some(any))).collect();
    let texts = elements.iter().map(|element| match element {
        Value::Str(text) => Some(text.clone()),
        _ => None,
    });
    match texts.collect() {
        Some(texts) => Value::Strings(texts),
        None => Value::Other(format!("{elements:?}")),
    }
}

/// Attributes by key, and the keys that occurred more than once.
pub fn attributes(list: &[KeyValue]) -> (BTreeMap<String, Value>, Vec<String>) {
    let mut map = BTreeMap::new();
    let mut repeated = Vec::new();
    for pair in list {
        if map
            .insert(pair.key.clone(), value(pair.value.as_ref()))
            .is_some()
        {
            repeated.push(pair.key.clone());
        }
    }
    (map, repeated)
}

/// What all spans of a process share.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub resource: BTreeMap<String, Value>,
    pub scope: Option<InstrumentationScope>,
    pub schema_url: String,
}

#[derive(Clone, Debug)]
pub struct Traced {
    pub span: Span,
    pub origin: Arc<Origin>,
}

impl Traced {
    pub fn pid(&self) -> Option<i64> {
        match self.origin.resource.get("process.pid") {
            Some(Value::Int(pid)) => Some(*pid),
            _ => None,
        }
    }

    pub fn tid(&self) -> Option<i64> {
        self.span
            .attributes
            .iter()
            .find(|pair| pair.key == "thread.id")
            .and_then(|pair| match value(pair.value.as_ref()) {
                Value::Int(tid) => Some(tid),
                _ => None,
            })
    }
}

/// All spans of a request or of a file's line, in order.
pub fn flatten(resource_spans: Vec<ResourceSpans>) -> Vec<Traced> {
    let mut spans = Vec::new();
    for under_resource in resource_spans {
        let resource = under_resource.resource.unwrap_or_default();
        for under_scope in under_resource.scope_spans {
            let schema_url = if under_scope.schema_url.is_empty() {
                under_resource.schema_url.clone()
            } else {
                under_scope.schema_url
            };
            let origin = Arc::new(Origin {
                resource: attributes(&resource.attributes).0,
                scope: under_scope.scope,
                schema_url,
            });
            spans.extend(under_scope.spans.into_iter().map(|span| Traced {
                span,
                origin: Arc::clone(&origin),
            }));
        }
    }
    spans
}
