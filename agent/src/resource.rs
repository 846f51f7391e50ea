//! The resource of a traced process: what all its spans share.

use std::borrow::Cow;
use std::fmt;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The value of a resource attribute: the scalars of OTLP's `AnyValue`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// `string_value`.
    String(String),
    /// `int_value`.
    Int(i64),
    /// `double_value`, never NaN.
    Double(f64),
    /// `bool_value`.
    Bool(bool),
}

impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AttributeVisitor)
    }
}

struct AttributeVisitor;

impl Visitor<'_> for AttributeVisitor {
    type Value = AttributeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, an integer, a finite number or a boolean")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<AttributeValue, E> {
        Ok(AttributeValue::String(value.to_owned()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<AttributeValue, E> {
        Ok(AttributeValue::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<AttributeValue, E> {
        match i64::try_from(value) {
            Ok(value) => Ok(AttributeValue::Int(value)),
            Err(_) => Ok(AttributeValue::String(value.to_string())),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<AttributeValue, E> {
        if value.is_finite() {
            return Ok(AttributeValue::Double(value));
        }
        Err(E::invalid_value(serde::de::Unexpected::Float(value), &self))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<AttributeValue, E> {
        Ok(AttributeValue::Bool(value))
    }
}

/// Attributes of a process by the semantic conventions, in a fixed order, each
/// key once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    pub attributes: Vec<(Cow<'static, str>, AttributeValue)>,
}

impl Resource {
    pub fn get(&self, key: &str) -> Option<&AttributeValue> {
        self.attributes
            .iter()
            .find_map(|(k, v)| (k == key).then_some(v))
    }

    /// Approximate memory of keys and values, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.attributes
            .iter()
            .map(|(key, value)| {
                let text = match value {
                    AttributeValue::String(text) => text.len(),
                    _ => 0,
                };
                size_of_val(key) + size_of_val(value) + text
            })
            .sum()
    }

    /// Sets a string, unless it is empty.
    pub fn set_text(&mut self, key: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.set(key, AttributeValue::String(value));
        }
    }

    /// Sets an attribute, replacing an earlier value.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: AttributeValue) {
        let key = key.into();
        match self.attributes.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((key, value)),
        }
    }
}

impl From<&Resource> for ProtoResource {
    fn from(resource: &Resource) -> Self {
        let attributes = resource.attributes.iter().map(|(key, value)| {
            let value = match value {
                AttributeValue::String(text) => Value::StringValue(text.clone()),
                AttributeValue::Int(number) => Value::IntValue(*number),
                AttributeValue::Double(number) => Value::DoubleValue(*number),
                AttributeValue::Bool(yes) => Value::BoolValue(*yes),
            };
            KeyValue {
                key: key.clone().into_owned(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            }
        });
        Self {
            attributes: attributes.collect(),
            ..Self::default()
        }
    }
}
