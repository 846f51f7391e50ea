//! Encodes what precedes the spans of a process, once per process.

use crate::resource::{AttributeValue, Resource};

use super::entity::{Entity, entities};
use super::wire::{push_bytes, push_varint};
use super::{SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION};

/// The start of a `ResourceSpans`, up to its first span: tag and length, the
/// resource, the schema, tag and length of the only `ScopeSpans`, the scope and
/// its schema. Both lengths are four bytes that are filled in later.
#[derive(Debug, PartialEq, Eq)]
pub struct EncodedResource {
    head: Box<[u8]>,
    scope_len_at: usize,
}

impl EncodedResource {
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Offset of the length of the `ResourceSpans`.
    pub(crate) const LEN_AT: usize = 1;

    /// Offset of the length of the `ScopeSpans`.
    pub(crate) fn scope_len_at(&self) -> usize {
        self.scope_len_at
    }
}

/// Encodes a resource, with mqspan's scope and schema.
pub fn resource(resource: &Resource) -> EncodedResource {
    let mut message = Vec::new();
    for (key, value) in &resource.attributes {
        push_bytes(&mut message, 1, &key_value(key, value));
    }
    for entity in entities(resource.keys()) {
        push_bytes(&mut message, 3, &entity_ref(&entity));
    }
    let mut scope = Vec::new();
    push_bytes(&mut scope, 1, SCOPE_NAME.as_bytes());
    push_bytes(&mut scope, 2, SCOPE_VERSION.as_bytes());

    let mut head = vec![1 << 3 | 2, 0, 0, 0, 0];
    push_bytes(&mut head, 1, &message);
    push_bytes(&mut head, 3, SCHEMA_URL.as_bytes());
    head.push(2 << 3 | 2);
    let scope_len_at = head.len();
    head.extend_from_slice(&[0; 4]);
    push_bytes(&mut head, 1, &scope);
    push_bytes(&mut head, 3, SCHEMA_URL.as_bytes());
    EncodedResource {
        head: head.into(),
        scope_len_at,
    }
}

/// A `KeyValue` of `common.proto`.
fn key_value(key: &str, value: &AttributeValue) -> Vec<u8> {
    let mut any = Vec::new();
    match value {
        AttributeValue::String(text) => push_bytes(&mut any, 1, text.as_bytes()),
        AttributeValue::Bool(value) => any.extend_from_slice(&[2 << 3, u8::from(*value)]),
        AttributeValue::Int(value) => {
            any.push(3 << 3);
            push_varint(&mut any, value.cast_unsigned());
        }
        AttributeValue::Double(value) => {
            any.push(4 << 3 | 1);
            any.extend_from_slice(&value.to_le_bytes());
        }
        AttributeValue::Strings(texts) => push_bytes(&mut any, 5, &array_value(texts)),
    }
    let mut pair = Vec::new();
    push_bytes(&mut pair, 1, key.as_bytes());
    push_bytes(&mut pair, 2, &any);
    pair
}

/// An `ArrayValue` of `common.proto`.
fn array_value(texts: &[String]) -> Vec<u8> {
    let mut array = Vec::new();
    for text in texts {
        let mut any = Vec::new();
        push_bytes(&mut any, 1, text.as_bytes());
        push_bytes(&mut array, 1, &any);
    }
    array
}

/// An `EntityRef` of `common.proto`.
fn entity_ref(entity: &Entity<'_>) -> Vec<u8> {
    let mut message = Vec::new();
    push_bytes(&mut message, 1, SCHEMA_URL.as_bytes());
    push_bytes(&mut message, 2, entity.kind.as_bytes());
    for key in entity.id_keys {
        push_bytes(&mut message, 3, key.as_bytes());
    }
    for key in &entity.description_keys {
        push_bytes(&mut message, 4, key.as_bytes());
    }
    message
}
