//! The layers as one tree of values. Each value knows where it came from.
//!
//! A scalar is typed if YAML or a standard variable says what it is. It is open
//! if it is the text of a variable or a flag, which takes the type of its key.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;
use indexmap::map::Entry;

use super::Config;
use super::attribute_types::{is_attribute, is_string_attribute};
use super::env::Env;
use super::env_expand::expand;
use super::error::{Problem, key_path};
use super::yaml::{Content as YamlContent, Node as YamlNode, Position, Scalar, parse, resolve};

/// A path from the root. List items are named by their index.
pub(super) type KeyPath = Vec<String>;

/// A mapping in insertion order.
pub(super) type Map = IndexMap<String, Node>;

/// The headers, whose names are case-insensitive.
const HEADERS: [&str; 3] = ["exporters", "otlp", "headers"];

/// Tells lists and mappings from scalars, so that a variable can hold one where
/// the key is one.
static DEFAULTS: LazyLock<serde_json::Value> =
    LazyLock::new(|| serde_json::to_value(Config::default()).unwrap_or_default());

pub(super) fn is_section(name: &str) -> bool {
    DEFAULTS.get(name).is_some()
}

/// A value and where it came from: `FILE:LINE:COLUMN`, a variable or a flag.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Arc<str>,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    /// Text that takes the type of its key.
    Open(String),
    List(Vec<Node>),
    Map(Map),
}

impl Node {
    pub(super) fn new(place: &str, content: Content) -> Self {
        let place = place.into();
        Self { place, content }
    }

    pub(super) fn typed(place: &str, value: serde_json::Value) -> Self {
        let content = match value {
            serde_json::Value::Null => Content::Scalar(Scalar::Null),
            serde_json::Value::Bool(yes) => Content::Scalar(Scalar::Bool(yes)),
            serde_json::Value::Number(number) => Content::Scalar(match number.as_i64() {
                Some(integer) => Scalar::Int(integer),
                None => Scalar::Float(number.as_f64().unwrap_or(f64::NAN)),
            }),
            serde_json::Value::String(text) => Content::Scalar(Scalar::Text(text)),
            serde_json::Value::Array(items) => {
                let items = items.into_iter().map(|item| Self::typed(place, item));
                Content::List(items.collect())
            }
            serde_json::Value::Object(entries) => {
                let entry = |(key, value)| (key, Self::typed(place, value));
                Content::Map(entries.into_iter().map(entry).collect())
            }
        };
        Self::new(place, content)
    }

    fn null(place: &str) -> Self {
        Self::new(place, Content::Scalar(Scalar::Null))
    }

    pub(super) fn find(&self, path: &[String]) -> Option<&Node> {
        let Some((key, below)) = path.split_first() else {
            return Some(self);
        };
        let child = match &self.content {
            Content::Map(entries) => entries.get(key),
            Content::List(items) => items.get(key.parse::<usize>().ok()?),
            Content::Scalar(_) | Content::Open(_) => None,
        };
        child?.find(below)
    }

    /// Merges another node over this one. Mappings merge key by key, anything
    /// else is replaced.
    fn lay(&mut self, over: Node) {
        match (&mut self.content, over) {
            (
                Content::Map(entries),
                Node {
                    content: Content::Map(more),
                    ..
                },
            ) => {
                for (key, node) in more {
                    match entries.entry(key) {
                        Entry::Occupied(mut below) => below.get_mut().lay(node),
                        Entry::Vacant(free) => {
                            free.insert(node);
                        }
                    }
                }
            }
            (_, over) => *self = over,
        }
    }
}

/// The tree built so far, with problems and warnings.
pub(super) struct Layers {
    pub(super) root: Node,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl Layers {
    pub(super) fn new() -> Self {
        Self {
            root: Node::new("", Content::Map(Map::new())),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Merges the root mapping of a file over the layers below.
    pub(super) fn file(&mut self, file: &Path, root: YamlNode, env: &Env) {
        let node = self.node(root, &mut KeyPath::new(), &Source::File { file, env });
        self.root.lay(node);
    }

    /// Sets a key to the text of a variable or a flag.
    pub(super) fn text(&mut self, path: &[String], text: &str, place: &str) {
        let node = self.node_of_text(text, &mut path.to_vec(), place);
        self.set(path, node);
    }

    /// Merges a node over the one at a path. Null changes nothing.
    pub(super) fn set(&mut self, path: &[String], node: Node) {
        if matches!(node.content, Content::Scalar(Scalar::Null)) {
            return;
        }
        let place = Arc::clone(&node.place);
        let nested = path.iter().rev().fold(node, |node, key| Node {
            place: Arc::clone(&place),
            content: Content::Map(Map::from([(key.clone(), node)])),
        });
        self.root.lay(nested);
    }

    pub(super) fn problem(&mut self, path: &[String], place: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            place: Some(place.to_owned()),
            key: key_path(path),
            message: message.into(),
        });
    }

    fn node(&mut self, yaml: YamlNode, path: &mut KeyPath, source: &Source<'_>) -> Node {
        let place = source.place(yaml.position);
        let content = match yaml.content {
            YamlContent::Map(entries) => Content::Map(self.entries(entries, path, source)),
            YamlContent::List(items) => {
                let mut nodes = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    path.push(index.to_string());
                    nodes.push(self.node(item, path, source));
                    path.pop();
                }
                Content::List(nodes)
            }
            YamlContent::Scalar { text, plain } => match source {
                Source::File { env, .. } if text.contains('$') => {
                    return self.expanded(&text, plain, path, &place, env);
                }
                _ if plain && is_string_attribute(path) && resolve(&text) != Scalar::Null => {
                    Content::Scalar(Scalar::Text(text))
                }
                Source::File { .. } if plain => Content::Scalar(resolve(&text)),
                Source::Text { .. } if plain => Content::Open(text),
                _ => Content::Scalar(Scalar::Text(text)),
            },
        };
        Node::new(&place, content)
    }

    fn entries(
        &mut self,
        entries: Vec<(String, YamlNode)>,
        path: &mut KeyPath,
        source: &Source<'_>,
    ) -> Map {
        let mut map = Map::new();
        for (mut key, yaml) in entries {
            if *path == HEADERS {
                key.make_ascii_lowercase();
            }
            path.push(key.clone());
            let node = self.node(yaml, path, source);
            let place = Arc::clone(&node.place);
            if map.insert(key, node).is_some() {
                let message = "found the header twice, in different case, expected it once";
                self.problem(path, &place, message);
            }
            path.pop();
        }
        map
    }

    /// The node of a scalar in the file that may contain references.
    fn expanded(
        &mut self,
        text: &str,
        plain: bool,
        path: &mut KeyPath,
        place: &str,
        env: &Env,
    ) -> Node {
        let expanded = match expand(text, env) {
            Ok(expanded) => expanded,
            Err(message) => {
                self.problem(path, place, message);
                return Node::null(place);
            }
        };
        let is_unset = expanded.text.is_empty() && !expanded.unset.is_empty();
        for name in expanded.unset {
            let key = key_path(path);
            self.warnings.push(format!(
                "{place}: {key}: the environment variable `{name}` is not set"
            ));
        }
        // Other keys have a type, which quotes do not change.
        let is_string = is_attribute(path) && !plain && !is_unset;
        if expanded.whole && !is_string {
            return self.node_of_text(&expanded.text, path, place);
        }
        Node::new(place, Content::Scalar(Scalar::Text(expanded.text)))
    }

    /// The node of an open text. If the key is a list or a mapping, the text
    /// must be one too.
    fn node_of_text(&mut self, text: &str, path: &mut KeyPath, place: &str) -> Node {
        let default = path.iter().try_fold(&*DEFAULTS, |node, key| node.get(key));
        let (is_map, form) = match default {
            Some(serde_json::Value::Array(_)) => (false, "a list such as `[a, b]`"),
            Some(serde_json::Value::Object(_)) => (true, "a mapping such as `{name: value}`"),
            _ if is_string_attribute(path) && !text.is_empty() => {
                return Node::new(place, Content::Scalar(Scalar::Text(text.to_owned())));
            }
            _ => return Node::new(place, Content::Open(text.to_owned())),
        };
        let text = text.trim();
        if text.is_empty() {
            return Node::null(place);
        }
        let is_flow = text.starts_with('[') && text.ends_with(']');
        if !is_map && !is_flow {
            let items = text.split(',').map(str::trim);
            return list_of(items.filter(|item| !item.is_empty()), place);
        }
        let found = match parse(text) {
            Ok(Some(yaml)) if is_map == matches!(yaml.content, YamlContent::Map(_)) => {
                return self.node(yaml, path, &Source::Text { place });
            }
            Ok(_) => "found a string".to_owned(),
            Err(error) => format!("found malformed YAML ({})", error.message),
        };
        self.problem(path, place, format!("{found}, expected {form}"));
        Node::null(place)
    }
}

fn list_of<'t>(texts: impl Iterator<Item = &'t str>, place: &str) -> Node {
    let items = texts.map(|text| Node::new(place, Content::Open(text.to_owned())));
    Node::new(place, Content::List(items.collect()))
}

/// Where YAML comes from, which decides the type of its plain scalars.
enum Source<'a> {
    /// A file: plain scalars are typed, references are expanded.
    File { file: &'a Path, env: &'a Env },
    /// The text of a variable or a flag: plain scalars are open.
    Text { place: &'a str },
}

impl Source<'_> {
    fn place(&self, position: Position) -> String {
        match self {
            Self::File { file, .. } => {
                format!("{}:{}:{}", file.display(), position.line, position.column)
            }
            Self::Text { place } => (*place).to_owned(),
        }
    }
}
