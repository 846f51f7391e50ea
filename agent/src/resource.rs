//! The resource of a traced process: what all its spans share.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Namespaces of attributes that say what a process is and where it runs. The
/// kernel, the API server and the configuration know; neither a process nor the
/// annotations of its pod can say it, since it could be about another.
const WITNESSED: [&str; 6] = [
    "container.",
    "host.",
    "k8s.",
    "os.",
    "process.",
    "telemetry.",
];

/// Whether a process may say this of itself.
pub(crate) fn may_claim(key: &str) -> bool {
    !WITNESSED.iter().any(|namespace| key.starts_with(namespace))
}

/// The value of a resource attribute, of the kinds of OTLP's `AnyValue` that
/// the semantic conventions use.
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
    /// `array_value` of strings, shared by the resources that have it. Cannot
    /// be configured.
    #[serde(skip_serializing)]
    Strings(Arc<[String]>),
}

impl AttributeValue {
    /// Length of its texts in bytes.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Strings(texts) => texts
                .iter()
                .map(|text| size_of::<String>() + text.len())
                .sum(),
            Self::Int(_) | Self::Double(_) | Self::Bool(_) => 0,
        }
    }
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

    pub fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.attributes.iter().map(|(key, _)| &**key)
    }

    /// Approximate memory of keys and values, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.attributes
            .iter()
            .map(|(key, value)| {
                let name = match key {
                    Cow::Borrowed(_) => 0,
                    Cow::Owned(name) => name.len(),
                };
                size_of_val(key) + name + size_of_val(value) + value.text_bytes()
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

    /// Sets an array of strings, unless it is empty.
    pub fn set_texts(&mut self, key: &'static str, values: &Arc<[String]>) {
        if !values.is_empty() {
            self.set(key, AttributeValue::Strings(Arc::clone(values)));
        }
    }

    /// Sets a string that something else has not set.
    pub fn set_new_text(&mut self, key: &str, value: &str) {
        self.set_new(key, || AttributeValue::String(value.to_owned()));
    }

    /// Sets an attribute that something else has not set.
    pub fn set_new(&mut self, key: &str, value: impl FnOnce() -> AttributeValue) {
        if self.get(key).is_none() {
            self.attributes.push((key.to_owned().into(), value()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_know_better_is_not_to_be_claimed() {
        for key in [
            "process.pid",
            "process.runtime.name",
            "container.id",
            "k8s.pod.uid",
            "host.id",
            "os.type",
            "telemetry.distro.name",
            "telemetry.sdk.name",
        ] {
            assert!(!may_claim(key), "{key}");
        }
        for key in [
            "service.name",
            "deployment.environment.name",
            "team",
            "processes.x",
            "osx",
        ] {
            assert!(may_claim(key), "{key}");
        }
    }

    #[test]
    fn memory_is_that_of_keys_and_values() {
        let mut resource = Resource::default();
        let none = resource.bytes();
        resource.set("a.key".to_owned(), AttributeValue::Int(1));
        let one = size_of::<(Cow<'static, str>, AttributeValue)>();
        assert_eq!(resource.bytes() - none, one + 5);
        let texts = ["ab".to_owned(), "c".to_owned()].into();
        resource.set_texts("host.ip", &texts);
        let two = 2 * one + 5 + 2 * size_of::<String>() + 3;
        assert_eq!(resource.bytes() - none, two);
    }
}
