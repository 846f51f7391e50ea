//! The resource of a traced process: what all its spans share.

use std::borrow::Cow;

/// An attribute's value, as OTLP's `AnyValue` has it.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the types")]
pub enum Value {
    String(String),
    Int(i64),
    Double(f64),
    Bool(bool),
}

/// Attributes of a process by the semantic conventions, in a fixed order, each
/// key once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// Key and value.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
}

impl Resource {
    /// The attribute with this key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attributes
            .iter()
            .find_map(|(k, v)| (k == key).then_some(v))
    }

    /// Memory of keys and values, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.attributes
            .iter()
            .map(|(key, value)| {
                let text = match value {
                    Value::String(text) => text.len(),
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
            self.set(key, Value::String(value));
        }
    }

    /// Sets an attribute; a later value takes the place of an earlier one.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: Value) {
        let key = key.into();
        match self.attributes.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((key, value)),
        }
    }
}
