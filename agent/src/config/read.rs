//! A strict deserializer for the layers.
//!
//! A typed value must have the expected type, as in the Collector: "yes" is not
//! a boolean, and 1 is not a string. Only an open value, from a variable or a
//! flag, takes the type of its key, and keeps its spelling if that is a string.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::Config;
use super::error::expected_one_of;
use super::node::{Content, KeyPath, Map, Node};
use super::yaml::{Content as YamlContent, Scalar, parse, resolve};

/// A wrong key or value, before its place is looked up.
#[derive(Debug)]
pub(super) struct ReadError {
    pub(super) path: KeyPath,
    pub(super) message: String,
    /// The value is null. That means the default, and is a problem only in a list.
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

enum ContentValue<'a> {
    Scalar(Scalar),
    List(&'a [Node]),
    Map(&'a Map),
}

impl ContentValue<'_> {
    /// An error that shows the value found.
    fn wrong(self, expected: &str) -> ReadError {
        match self {
            ContentValue::Scalar(Scalar::Null) => ReadError::null(expected),
            ContentValue::Scalar(Scalar::Bool(v)) => {
                ReadError::invalid_type(Unexpected::Bool(v), &expected)
            }
            ContentValue::Scalar(Scalar::Int(v)) => {
                ReadError::invalid_type(Unexpected::Signed(v), &expected)
            }
            ContentValue::Scalar(Scalar::Float(v)) => {
                ReadError::invalid_type(Unexpected::Float(v), &expected)
            }
            ContentValue::Scalar(Scalar::Text(v)) => {
                ReadError::invalid_type(Unexpected::Str(&v), &expected)
            }
            ContentValue::List(_) => ReadError::invalid_type(Unexpected::Seq, &expected),
            ContentValue::Map(_) => ReadError::invalid_type(Unexpected::Map, &expected),
        }
    }
}

impl ContentValue<'_> {
    /// An error that shows only the kind of value found, because the value may
    /// be a secret.
    fn wrong_unshown(self, expected: &str) -> ReadError {
        let kind = match self {
            ContentValue::Scalar(Scalar::Bool(_)) => "a boolean",
            ContentValue::Scalar(Scalar::Int(_)) => "an integer",
            ContentValue::Scalar(Scalar::Float(_)) => "a number",
            ContentValue::Scalar(Scalar::Text(_)) => "a string",
            other => return other.wrong(expected),
        };
        ReadError::new(format!("found {kind}, expected {expected}"))
    }
}

/// Serde's view of one value of the tree.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
}

impl<'a> Reader<'a> {
    /// The value by its own type. An open text has the type that YAML gives it.
    fn found(self) -> ContentValue<'a> {
        match &self.node.content {
            Content::Map(entries) => ContentValue::Map(entries),
            Content::List(items) => ContentValue::List(items),
            Content::Scalar(scalar) => ContentValue::Scalar(scalar.clone()),
            Content::Open(text) => ContentValue::Scalar(open_scalar(text)),
        }
    }
}

/// Types a text as a YAML document of its own, as the Collector does with the
/// value of a variable. A text that is not null, a boolean or a number is kept
/// as it is, including what would be quotes, a comment or a mapping in a file.
fn open_scalar(text: &str) -> Scalar {
    let scalar = match parse(text).map(|node| node.map(|node| node.content)) {
        Ok(Some(YamlContent::Scalar { text, plain: true })) => resolve(&text),
        Ok(None) if text.trim().is_empty() => Scalar::Null,
        _ => Scalar::Text(String::new()),
    };
    match scalar {
        Scalar::Text(_) => Scalar::Text(text.to_owned()),
        scalar => scalar,
    }
}

/// Reads an integer and checks that it is in the range of the type.
macro_rules! integer {
    ($deserialize:ident, $visit:ident, $int:ty) => {
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let expected = format!("an integer from {} to {}", <$int>::MIN, <$int>::MAX);
            match self.found() {
                ContentValue::Scalar(Scalar::Int(value)) => match <$int>::try_from(value) {
                    Ok(value) => visitor.$visit(value),
                    Err(_) => Err(ContentValue::Scalar(Scalar::Int(value)).wrong(&expected)),
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
            ContentValue::Scalar(Scalar::Null) => Err(ReadError::null("a value")),
            ContentValue::Scalar(Scalar::Bool(value)) => visitor.visit_bool(value),
            ContentValue::Scalar(Scalar::Int(value)) => visitor.visit_i64(value),
            ContentValue::Scalar(Scalar::Float(value)) => visitor.visit_f64(value),
            ContentValue::Scalar(Scalar::Text(value)) => visitor.visit_string(value),
            ContentValue::List(items) => visitor.visit_seq(Items::new(items)),
            ContentValue::Map(table) => visitor.visit_map(Entries::new(table)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.found() {
            ContentValue::Scalar(Scalar::Bool(value)) => visitor.visit_bool(value),
            found => Err(found.wrong("`true` or `false`")),
        }
    }

    integer!(deserialize_u32, visit_u32, u32);

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.found() {
            ContentValue::Scalar(Scalar::Float(value)) => visitor.visit_f64(value),
            ContentValue::Scalar(Scalar::Int(value)) => visitor.visit_i64(value),
            found => Err(found.wrong("a number")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.content {
            Content::Open(text) | Content::Scalar(Scalar::Text(text)) => visitor.visit_str(text),
            Content::Scalar(Scalar::Null) | Content::List(_) | Content::Map(_) => {
                Err(self.found().wrong("a string"))
            }
            Content::Scalar(_) => Err(self
                .found()
                .wrong_unshown("a string; put the value in quotes")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.found() {
            ContentValue::List(items) => visitor.visit_seq(Items::new(items)),
            found => Err(found.wrong_unshown("a list such as `[a, b]`")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.found() {
            ContentValue::Map(table) => visitor.visit_map(Entries::new(table)),
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
            ContentValue::Map(table) => table,
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
            ContentValue::Scalar(Scalar::Text(name)) => name.trim().to_owned(),
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

/// The items of a list, enumerated so that an error knows the index.
struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'a> Items<'a> {
    fn new(items: &'a [Node]) -> Self {
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
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Reader { node })
            .map(Some)
            .map_err(|error| error.under(&index.to_string()))
    }
}

/// The entries of a mapping, sorted by key so that the first error is always the same.
struct Entries<'a> {
    entries: std::vec::IntoIter<(&'a String, &'a Node)>,
    value: Option<(&'a str, &'a Node)>,
}

impl<'a> Entries<'a> {
    fn new(table: &'a Map) -> Self {
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
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, node));
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, node)) = self.value.take() else {
            return Err(ReadError::new("found a value without a key".into()));
        };
        seed.deserialize(Reader { node })
            .map_err(|error| error.under(key))
    }
}

/// Deserializes the tree. A bad node is reported and removed, so that one run
/// finds all of them. A null takes the default.
///
/// Of the items of one list only the first bad one is reported. The error pairs
/// the path of each bad node, in order, with a message.
pub(super) fn read(mut root: Node) -> Result<Config, Vec<(KeyPath, String)>> {
    let mut problems = Vec::new();
    loop {
        let error = match Config::deserialize(Reader { node: &root }) {
            Ok(config) if problems.is_empty() => return Ok(config),
            Ok(_) => break,
            Err(error) => error,
        };
        let removed = remove(&mut root, &error.path);
        if !(error.is_null && removed == Removed::Entry) {
            problems.push((error.path, error.message));
        }
        if removed == Removed::Nothing {
            break;
        }
    }
    problems.sort();
    Err(problems)
}

#[derive(PartialEq)]
enum Removed {
    /// The value of a key.
    Entry,
    /// The whole list, because an item cannot go without renumbering the others.
    List,
    Nothing,
}

fn remove(node: &mut Node, path: &[String]) -> Removed {
    let (Some((key, below)), Content::Map(entries)) = (path.split_first(), &mut node.content)
    else {
        return Removed::Nothing;
    };
    let removed = match entries.get_mut(key) {
        None => return Removed::Nothing,
        Some(_) if below.is_empty() => Removed::Entry,
        Some(child) if matches!(child.content, Content::List(_)) => Removed::List,
        Some(child) => return remove(child, below),
    };
    entries.shift_remove(key);
    removed
}
