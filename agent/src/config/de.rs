//! A strict deserializer for the merged layers.
//!
//! The `config` crate's own deserializer turns `"yes"` into true, 1.5 into 2 and 1 into true, and reports one problem at a time. The
//! Collector does no such casting, and neither does this one: a typed value must have the wanted type. Only an untyped value, which
//! came from a variable or a flag, takes the type that its key wants, with its spelling kept where that is a string.

use std::fmt;

use ::config::{Map, Value, ValueKind};
use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::expected_one_of;
use super::layer::is_untyped;
use super::yaml::{Content, Scalar, parse, resolve};

/// A path from the root; list items are their index.
pub(super) type KeyPath = Vec<String>;

/// A wrong key or value, before its place is looked up.
#[derive(Debug)]
pub(super) struct ReadError {
    pub(super) path: KeyPath,
    pub(super) message: String,
    /// The value is null, which means the default and is no problem unless it is an item of a list.
    pub(super) is_null: bool,
}

impl ReadError {
    fn new(message: String) -> Self {
        Self {
            path: KeyPath::new(),
            message,
            is_null: false,
        }
    }

    fn null(expected: &str) -> Self {
        Self {
            is_null: true,
            ..Self::new(format!("found nothing, expected {expected}"))
        }
    }

    fn under(mut self, segment: &str) -> Self {
        self.path.insert(0, segment.to_owned());
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(value) => format!("the boolean `{value}`"),
            Unexpected::Signed(value) => format!("the integer `{value}`"),
            Unexpected::Unsigned(value) => format!("the integer `{value}`"),
            Unexpected::Float(value) => format!("the number `{value}`"),
            Unexpected::Str(value) => format!("the string `{value}`"),
            Unexpected::Seq => "a list".into(),
            Unexpected::Map => "a mapping".into(),
            other => other.to_string(),
        };
        Self::new(format!("found {found}, expected {expected}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// What a value of the tree turns out to be.
enum Found<'a> {
    Scalar(Scalar),
    List(&'a [Value]),
    Map(&'a Map<String, Value>),
}

impl Found<'_> {
    /// The value in words, for a message that says what was found.
    fn wrong(self, expected: &str) -> ReadError {
        match self {
            Found::Scalar(Scalar::Null) => ReadError::null(expected),
            Found::Scalar(Scalar::Bool(v)) => {
                ReadError::invalid_type(Unexpected::Bool(v), &expected)
            }
            Found::Scalar(Scalar::Int(v)) => {
                ReadError::invalid_type(Unexpected::Signed(v), &expected)
            }
            Found::Scalar(Scalar::Float(v)) => {
                ReadError::invalid_type(Unexpected::Float(v), &expected)
            }
            Found::Scalar(Scalar::Text(v)) => {
                ReadError::invalid_type(Unexpected::Str(&v), &expected)
            }
            Found::List(_) => ReadError::invalid_type(Unexpected::Seq, &expected),
            Found::Map(_) => ReadError::invalid_type(Unexpected::Map, &expected),
        }
    }
}

impl Found<'_> {
    /// The kind of value in words. The value itself is not shown, because it may be a secret.
    fn wrong_unshown(self, expected: &str) -> ReadError {
        let kind = match self {
            Found::Scalar(Scalar::Bool(_)) => "a boolean",
            Found::Scalar(Scalar::Int(_)) => "an integer",
            Found::Scalar(Scalar::Float(_)) => "a number",
            Found::Scalar(Scalar::Text(_)) => "a string",
            other => return other.wrong(expected),
        };
        ReadError::new(format!("found {kind}, expected {expected}"))
    }
}

/// Serde's view of one value of the tree.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) value: &'a Value,
}

impl<'a> Reader<'a> {
    /// The value by its own type, or by the type that YAML gives its text if it is untyped.
    fn found(self) -> Found<'a> {
        let scalar = match &self.value.kind {
            ValueKind::Table(table) => return Found::Map(table),
            ValueKind::Array(items) => return Found::List(items),
            ValueKind::Nil => Scalar::Null,
            ValueKind::Boolean(value) => Scalar::Bool(*value),
            ValueKind::I64(value) => Scalar::Int(*value),
            ValueKind::Float(value) => Scalar::Float(*value),
            ValueKind::String(text) if is_untyped(self.value) => untyped_scalar(text),
            other => Scalar::Text(other.to_string()),
        };
        Found::Scalar(scalar)
    }
}

/// The scalar that a text is as a YAML document of its own, as the Collector reads the value of a variable. A text that is no null, boolean
/// or number stays as it is, with what would be quotes, a comment or a mapping in a file.
fn untyped_scalar(text: &str) -> Scalar {
    let scalar = match parse(text).map(|node| node.map(|node| node.content)) {
        Ok(Some(Content::Scalar { text, plain: true })) => resolve(&text),
        Ok(None) if text.trim().is_empty() => Scalar::Null,
        _ => Scalar::Text(String::new()),
    };
    match scalar {
        Scalar::Text(_) => Scalar::Text(text.to_owned()),
        scalar => scalar,
    }
}

/// Reads an integer that must lie in the range of the type.
macro_rules! integer {
    ($deserialize:ident, $visit:ident, $int:ty) => {
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let expected = format!("an integer from {} to {}", <$int>::MIN, <$int>::MAX);
            match self.found() {
                Found::Scalar(Scalar::Int(value)) => match <$int>::try_from(value) {
                    Ok(value) => visitor.$visit(value),
                    Err(_) => Err(Found::Scalar(Scalar::Int(value)).wrong(&expected)),
                },
                found => Err(found.wrong(&expected)),
            }
        }
    };
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.found() {
            Found::Scalar(Scalar::Null) => Err(ReadError::null("a value")),
            Found::Scalar(Scalar::Bool(value)) => visitor.visit_bool(value),
            Found::Scalar(Scalar::Int(value)) => visitor.visit_i64(value),
            Found::Scalar(Scalar::Float(value)) => visitor.visit_f64(value),
            Found::Scalar(Scalar::Text(value)) => visitor.visit_string(value),
            Found::List(items) => visitor.visit_seq(Items::new(items)),
            Found::Map(table) => visitor.visit_map(Entries::new(table)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.found() {
            Found::Scalar(Scalar::Bool(value)) => visitor.visit_bool(value),
            found => Err(found.wrong("`true` or `false`")),
        }
    }

    integer!(deserialize_u32, visit_u32, u32);

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.found() {
            Found::Scalar(Scalar::Float(value)) => visitor.visit_f64(value),
            Found::Scalar(Scalar::Int(value)) => visitor.visit_i64(value),
            found => Err(found.wrong("a number")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match (&self.value.kind, self.found()) {
            (ValueKind::String(text), _) => visitor.visit_str(text),
            (_, Found::Scalar(scalar)) if scalar != Scalar::Null => {
                Err(Found::Scalar(scalar).wrong_unshown("a string; put the value in quotes"))
            }
            (_, found) => Err(found.wrong("a string")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.found() {
            Found::List(items) => visitor.visit_seq(Items::new(items)),
            found => Err(found.wrong_unshown("a list such as `[a, b]`")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.found() {
            Found::Map(table) => visitor.visit_map(Entries::new(table)),
            found => Err(found.wrong_unshown("a mapping such as `{name: value}`")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let table = match self.found() {
            Found::Map(table) => table,
            found => {
                let keys = expected_one_of("", fields);
                let keys = keys.trim_start_matches("expected one of ");
                return Err(found.wrong_unshown(&format!("a mapping of {keys}")));
            }
        };
        let unknown = table
            .keys()
            .filter(|key| !fields.contains(&key.as_str()))
            .min();
        if let Some(key) = unknown {
            let message = format!("unknown key, {}", expected_one_of(key, fields));
            return Err(ReadError::new(message).under(key));
        }
        visitor.visit_map(Entries::new(table))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let name = match self.found() {
            Found::Scalar(Scalar::Text(name)) => name.trim().to_owned(),
            found => {
                let names = expected_one_of("", variants);
                return Err(found.wrong(names.trim_start_matches("expected ")));
            }
        };
        if !variants.contains(&name.as_str()) {
            let expected = expected_one_of(&name, variants);
            return Err(ReadError::new(format!("found `{name}`, {expected}")));
        }
        visitor.visit_enum(name.into_deserializer())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 char bytes byte_buf option unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}

/// The items of a list, each counted so that an error knows its index.
struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'a> Items<'a> {
    fn new(items: &'a [Value]) -> Self {
        Self {
            items: items.iter().enumerate(),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let Some((index, value)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Reader { value })
            .map(Some)
            .map_err(|error| error.under(&index.to_string()))
    }
}

/// The entries of a mapping in the order of their keys, so that the first error is always the same one.
struct Entries<'a> {
    entries: std::vec::IntoIter<(&'a String, &'a Value)>,
    value: Option<(&'a str, &'a Value)>,
}

impl<'a> Entries<'a> {
    fn new(table: &'a Map<String, Value>) -> Self {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        Self {
            entries: entries.into_iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, value));
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, value)) = self.value.take() else {
            return Err(ReadError::new("found a value without a key".into()));
        };
        seed.deserialize(Reader { value })
            .map_err(|error| error.under(key))
    }
}
