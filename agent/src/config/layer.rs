//! One layer of the configuration: a tree of values for the `config` crate, with the place that each came from.
//!
//! A value is either typed, because YAML or a standard variable says what it is, or untyped, because it is the text of a
//! variable or a flag that still takes the type of its key.

use std::collections::BTreeMap;
use std::path::Path;

use ::config::{ConfigError, Map, Source, Value, ValueKind};

use super::attribute_types::{is_attribute, is_string_attribute};
use super::de::KeyPath;
use super::env_expand::expand;
use super::error::{Problem, key_path};
use super::load::Env;
use super::raw::RawConfig;
use super::yaml::{Content, Node, Position, Scalar, parse, resolve};

/// The `origin` of an untyped value. The `config` crate carries it through merging unchanged.
const UNTYPED: &str = "untyped";

/// The one key at the root. Without it the `config` crate would read a key such as `logs.level` at the root of a file as a path.
const ROOT: &str = "mqspan";

/// Headers, whose names do not depend on case.
const HEADERS: [&str; 3] = ["exporters", "otlp", "headers"];

/// Whether the type of a value is still open.
pub(super) fn is_untyped(value: &Value) -> bool {
    value.origin() == Some(UNTYPED)
}

/// A string whose type is still open.
pub(super) fn untyped(text: &str) -> Value {
    Value::new(Some(&UNTYPED.to_owned()), text)
}

/// Where values came from, by path.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(BTreeMap<KeyPath, String>);

impl Places {
    /// The place of a path, or of the first value below it.
    pub(super) fn of(&self, path: &[String]) -> Option<String> {
        let mut from_here = self.0.range(path.to_vec()..);
        let (found, place) = from_here.next()?;
        found.starts_with(path).then(|| place.clone())
    }

    /// Adds the places of a later layer, which beat those of the earlier ones.
    pub(super) fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    fn set(&mut self, path: &[String], place: &str) {
        self.0.insert(path.to_vec(), place.to_owned());
    }
}

/// The values of one layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    root: Map<String, Value>,
    pub(super) places: Places,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let root = Value::from(self.root.clone());
        Ok(std::iter::once((ROOT.to_owned(), root)).collect())
    }
}

/// Merges layers, the later ones above the earlier ones.
pub(super) fn merge(layers: &[Layer]) -> Result<Value, ConfigError> {
    let builder = layers
        .iter()
        .fold(::config::Config::builder(), |builder, layer| {
            builder.add_source(layer.clone())
        });
    let merged = match builder.build()?.cache.kind {
        ValueKind::Table(mut table) => table.remove(ROOT),
        _ => None,
    };
    Ok(merged.unwrap_or_else(|| Value::from(Map::<String, Value>::new())))
}

/// What went wrong, and what is only odd, while the layers were made.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

/// Fills a layer.
pub(super) struct Writer<'a> {
    pub(super) layer: Layer,
    findings: &'a mut Findings,
    /// Tells lists and mappings from scalars, so that a variable can hold one where the key is one.
    defaults: serde_json::Value,
}

impl<'a> Writer<'a> {
    pub(super) fn new(findings: &'a mut Findings) -> Self {
        Self {
            layer: Layer::default(),
            findings,
            defaults: serde_json::to_value(RawConfig::default()).unwrap_or_default(),
        }
    }

    /// Sets everything in the root mapping of a file.
    pub(super) fn file(&mut self, file: &Path, entries: &[(String, Node)], env: &Env) {
        let origin = Origin::File { file, env };
        if let ValueKind::Table(table) = self.table(entries, &mut KeyPath::new(), &origin).kind {
            self.layer.root = table;
        }
    }

    /// Sets the untyped text of a variable or a flag.
    pub(super) fn text(&mut self, path: &[String], text: &str, place: &str) {
        let value = self.value_of_text(text, &mut path.to_vec(), place);
        self.typed(path, value, place);
    }

    /// Sets a list of untyped texts.
    pub(super) fn texts(&mut self, path: &[String], texts: &[String], place: &str) {
        let value = self.items(texts.iter().map(String::as_str), path, place);
        self.typed(path, value, place);
    }

    /// Sets a value as it is. A null changes nothing.
    pub(super) fn typed(&mut self, path: &[String], value: Value, place: &str) {
        if value.kind == ValueKind::Nil {
            return;
        }
        self.layer.places.set(path, place);
        put(&mut self.layer.root, path, value);
    }

    pub(super) fn problem(&mut self, path: &[String], place: &str, message: impl Into<String>) {
        self.findings.problems.push(Problem {
            place: Some(place.to_owned()),
            key: key_path(path),
            message: message.into(),
        });
    }

    pub(super) fn warning(&mut self, message: String) {
        self.findings.warnings.push(message);
    }

    /// Whether there is a section of this name.
    pub(super) fn is_section(&self, name: &str) -> bool {
        self.defaults.get(name).is_some()
    }

    fn node(&mut self, node: &Node, path: &mut KeyPath, origin: &Origin<'_>) -> Value {
        let place = origin.place(node.position);
        self.layer.places.set(path, &place);
        match &node.content {
            Content::Map(entries) => self.table(entries, path, origin),
            Content::List(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    values.push(self.node(item, path, origin));
                    path.pop();
                }
                Value::from(values)
            }
            Content::Scalar { text, plain } => match origin {
                Origin::File { env, .. } if text.contains('$') => {
                    self.expanded(text, *plain, path, &place, env)
                }
                _ if *plain && is_string_attribute(path) && resolve(text) != Scalar::Null => {
                    Value::new(None, text.as_str())
                }
                Origin::File { .. } if *plain => typed_scalar(text),
                Origin::Text { .. } if *plain => untyped(text),
                _ => Value::new(None, text.as_str()),
            },
        }
    }

    fn table(
        &mut self,
        entries: &[(String, Node)],
        path: &mut KeyPath,
        origin: &Origin<'_>,
    ) -> Value {
        let mut table = Map::new();
        for (key, node) in entries {
            let key = if *path == HEADERS {
                key.to_ascii_lowercase()
            } else {
                key.clone()
            };
            path.push(key.clone());
            let value = self.node(node, path, origin);
            if table.insert(key, value).is_some() {
                let message = "found the header twice, in different case, expected it once";
                self.problem(path, &origin.place(node.position), message);
            }
            path.pop();
        }
        Value::from(table)
    }

    /// A scalar of the file that may hold references.
    fn expanded(
        &mut self,
        text: &str,
        plain: bool,
        path: &mut KeyPath,
        place: &str,
        env: &Env,
    ) -> Value {
        let expanded = match expand(text, env) {
            Ok(expanded) => expanded,
            Err(message) => {
                self.problem(path, place, message);
                return Value::new(None, ValueKind::Nil);
            }
        };
        let is_unset = expanded.text.is_empty() && !expanded.unset.is_empty();
        for name in expanded.unset {
            let key = key_path(path);
            self.warning(format!(
                "{place}: {key}: the environment variable `{name}` is not set"
            ));
        }
        // Elsewhere the key has a type, which quotes do not change.
        let is_string = is_attribute(path) && !plain && !is_unset;
        if expanded.whole && !is_string {
            return self.value_of_text(&expanded.text, path, place);
        }
        Value::new(None, expanded.text)
    }

    /// The value of an untyped text: where the key is a list or a mapping, the text is one too.
    fn value_of_text(&mut self, text: &str, path: &mut KeyPath, place: &str) -> Value {
        let kind = path
            .iter()
            .try_fold(&self.defaults, |node, key| node.get(key));
        let (is_list, is_map) = match kind {
            Some(serde_json::Value::Array(_)) => (true, false),
            Some(serde_json::Value::Object(_)) => (false, true),
            _ if is_string_attribute(path) && !text.is_empty() => return Value::new(None, text),
            _ => return untyped(text),
        };
        let text = text.trim();
        if text.is_empty() {
            return Value::new(None, ValueKind::Nil);
        }
        let is_flow = text.starts_with('[') && text.ends_with(']');
        if is_list && !is_flow {
            let items = text.split(',').map(str::trim);
            return self.items(items.filter(|item| !item.is_empty()), path, place);
        }
        let form = if is_map {
            "a mapping such as `{name: value}`"
        } else {
            "a list such as `[a, b]`"
        };
        match parse(text) {
            Ok(Some(node)) if is_map == matches!(node.content, Content::Map(_)) => {
                self.node(&node, path, &Origin::Text { place })
            }
            Ok(_) => {
                self.problem(path, place, format!("found a string, expected {form}"));
                Value::new(None, ValueKind::Nil)
            }
            Err(error) => {
                let message = format!("found malformed YAML ({}), expected {form}", error.message);
                self.problem(path, place, message);
                Value::new(None, ValueKind::Nil)
            }
        }
    }

    /// A list of untyped texts.
    fn items<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t str>,
        path: &[String],
        place: &str,
    ) -> Value {
        let mut items = Vec::new();
        for (index, text) in texts.enumerate() {
            let item = [path, &[index.to_string()]].concat();
            self.layer.places.set(&item, place);
            items.push(untyped(text));
        }
        Value::from(items)
    }
}

/// Where a tree of nodes comes from, which decides what its plain scalars are.
enum Origin<'a> {
    /// A file: plain scalars are typed, references are expanded.
    File { file: &'a Path, env: &'a Env },
    /// The text of a variable or a flag: plain scalars are untyped.
    Text { place: &'a str },
}

impl Origin<'_> {
    fn place(&self, position: Position) -> String {
        match self {
            Self::File { file, .. } => {
                format!("{}:{}:{}", file.display(), position.line, position.column)
            }
            Self::Text { place } => (*place).to_owned(),
        }
    }
}

fn typed_scalar(text: &str) -> Value {
    let kind = match resolve(text) {
        Scalar::Null => ValueKind::Nil,
        Scalar::Bool(value) => ValueKind::Boolean(value),
        Scalar::Int(value) => ValueKind::I64(value),
        Scalar::Float(value) => ValueKind::Float(value),
        Scalar::Text(value) => ValueKind::String(value),
    };
    Value::new(None, kind)
}

/// Puts a value at a path, into the mappings that are there or new ones. A mapping is merged with one that is there.
fn put(table: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((key, below)) = path.split_first() else {
        return;
    };
    let entry = table.entry(key.clone()).or_default();
    if below.is_empty() && !matches!(value.kind, ValueKind::Table(_)) {
        *entry = value;
        return;
    }
    if !matches!(entry.kind, ValueKind::Table(_)) {
        *entry = Value::from(Map::<String, Value>::new());
    }
    if let ValueKind::Table(inner) = &mut entry.kind {
        if !below.is_empty() {
            put(inner, below, value);
        } else if let ValueKind::Table(new) = value.kind {
            for (key, value) in new {
                put(inner, &[key], value);
            }
        }
    }
}
