//! Parses YAML text to a tree of nodes that know their position and how they
//! were written.
//!
//! The tree keeps the text of each scalar, because its type is decided later:
//! an expanded variable keeps its spelling if a string is expected. Duplicate
//! keys, multiple documents, unknown anchors and tags of other types are
//! refused here. Plain scalars follow the core schema of YAML 1.2, with one
//! exception that the Collector's parser makes too: digits after a leading zero
//! are octal.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, MarkedEventReceiver, Parser, Tag};
use yaml_rust2::scanner::{Marker, TScalarStyle};

/// Upper bound on nodes, far above any sensible configuration. It stops aliases
/// that multiply.
const MAX_NODES: usize = 100_000;

/// A place in the text. Both numbers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl From<Marker> for Position {
    fn from(mark: Marker) -> Self {
        Self {
            line: mark.line().max(1),
            column: mark.col() + 1,
        }
    }
}

/// Why a text is not a single YAML document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) position: Position,
    pub(super) message: String,
}

/// A value and its position, or that of the key before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// A plain scalar may be more than a string, see [`resolve`].
    Scalar { text: String, plain: bool },
    /// The items, in the order of the text.
    List(Vec<Node>),
    /// In the order of the text; keys are unique.
    Map(Vec<(String, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// Parses one document. `None` if the text contains no node at all.
pub(super) fn parse(text: &str) -> Result<Option<Node>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    if let Err(error) = parser.load(&mut builder, true) {
        let position = Position::from(*error.marker());
        let mut message = error.info().to_owned();
        if starts_with_tab(text, position.line) {
            message.push_str("; indent with spaces, YAML does not allow tabs there");
        }
        return Err(SyntaxError { position, message });
    }
    match builder.error {
        Some(error) => Err(error),
        None => Ok(builder.root),
    }
}

/// Whether the indentation of a line, or of the line before it, holds a tab.
fn starts_with_tab(text: &str, line: usize) -> bool {
    let indented_by_tab = |line: &str| line.trim_start_matches(' ').starts_with('\t');
    let skip = line.saturating_sub(2);
    text.lines().skip(skip).take(2).any(indented_by_tab)
}

/// Gives a plain scalar its type.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        _ => {}
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return Scalar::Text(text.to_owned());
    }
    if let Some(magnitude) = integer(unsigned) {
        let signed = if text.starts_with('-') {
            -magnitude
        } else {
            magnitude
        };
        return i64::try_from(signed).map_or_else(|_| Scalar::Text(text.to_owned()), Scalar::Int);
    }
    let float = match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        // A number that is too large stays text.
        _ if is_decimal(unsigned) => text.parse().ok().filter(|value: &f64| value.is_finite()),
        _ => None,
    };
    float.map_or_else(|| Scalar::Text(text.to_owned()), Scalar::Float)
}

/// The value of an unsigned integer: decimal, `0x` hexadecimal, `0o` or leading-zero octal.
fn integer(text: &str) -> Option<i128> {
    let (digits, radix) = if let Some(hex) = text.strip_prefix("0x") {
        (hex, 16)
    } else if let Some(octal) = text.strip_prefix("0o") {
        (octal, 8)
    } else if text.len() > 1 && text.starts_with('0') {
        (text, 8)
    } else {
        (text, 10)
    };
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    i128::from_str_radix(digits, radix).ok()
}

/// Whether an unsigned text is a decimal number with a point or an exponent.
fn is_decimal(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let (number, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && !exponent.is_empty()
        && digits(exponent)
        && number.len() + exponent.len() > whole.len()
}

/// A collection that is still being filled.
enum Open {
    List {
        position: Position,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        position: Position,
        anchor: usize,
        entries: Vec<(String, Node)>,
        key: Option<(String, Position)>,
    },
}

/// Builds the tree from the parser's events. After the first error it ignores the rest.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    error: Option<SyntaxError>,
}

impl MarkedEventReceiver for Builder {
    fn on_event(&mut self, event: Event, mark: Marker) {
        let position = Position::from(mark);
        if self.error.is_none()
            && let Err(message) = self.take(event, position)
        {
            self.error = Some(SyntaxError { position, message });
        }
    }
}

impl Builder {
    fn take(&mut self, event: Event, position: Position) -> Result<(), String> {
        match event {
            Event::DocumentStart => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("found a second document, expected one; remove the `---` line or split the file".into());
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = is_plain(style, tag.as_ref())?;
                let content = Content::Scalar { text, plain };
                self.add(Node { position, content }, anchor)?;
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let mut node = node.ok_or("found an alias that stands inside its own anchor")?;
                node.position = position;
                self.nodes += count(&node);
                self.add(node, 0)?;
            }
            Event::SequenceStart(anchor, tag) => {
                check_collection_tag(tag.as_ref(), "seq")?;
                let items = Vec::new();
                self.open.push(Open::List {
                    position,
                    anchor,
                    items,
                });
            }
            Event::MappingStart(anchor, tag) => {
                check_collection_tag(tag.as_ref(), "map")?;
                let entries = Vec::new();
                self.open.push(Open::Map {
                    position,
                    anchor,
                    entries,
                    key: None,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let (position, anchor, content) = match self.open.pop() {
            Some(Open::List {
                position,
                anchor,
                items,
            }) => (position, anchor, Content::List(items)),
            Some(Open::Map {
                position,
                anchor,
                entries,
                ..
            }) => (position, anchor, Content::Map(entries)),
            None => return Ok(()),
        };
        self.add(Node { position, content }, anchor)
    }

    /// Puts a finished node into the innermost open collection, as its next item, key or value.
    fn add(&mut self, mut node: Node, anchor: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(format!("found more than {MAX_NODES} values"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some((name, position)) => {
                    node.position = position;
                    entries.push((name, node));
                }
                None => match node.content {
                    Content::Scalar { text, .. } => {
                        if entries.iter().any(|(name, _)| *name == text) {
                            return Err(format!("found the key `{text}` twice in one mapping"));
                        }
                        *key = Some((text, node.position));
                    }
                    Content::List(_) | Content::Map(_) => {
                        return Err("found a list or a mapping as a key, expected a name".into());
                    }
                },
            },
        }
        Ok(())
    }
}

/// Number of nodes in a tree.
fn count(node: &Node) -> usize {
    match &node.content {
        Content::Scalar { .. } => 1,
        Content::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Content::Map(entries) => 1 + entries.iter().map(|(_, node)| count(node)).sum::<usize>(),
    }
}

/// Whether the type of a scalar follows from its text.
fn is_plain(style: TScalarStyle, tag: Option<&Tag>) -> Result<bool, String> {
    match tag {
        None => Ok(style == TScalarStyle::Plain),
        Some(tag) if is_core(tag) => match tag.suffix.as_str() {
            "str" => Ok(false),
            "bool" | "int" | "float" | "null" => Ok(true),
            other => Err(format!("found the tag `!!{other}` on a scalar")),
        },
        Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => Ok(false),
        Some(tag) => Err(format!(
            "found the unknown tag `{}{}`",
            tag.handle, tag.suffix
        )),
    }
}

fn check_collection_tag(tag: Option<&Tag>, kind: &str) -> Result<(), String> {
    match tag {
        None => Ok(()),
        Some(tag) if is_core(tag) && tag.suffix == kind => Ok(()),
        Some(tag) => Err(format!(
            "found the unknown tag `{}{}`",
            tag.handle, tag.suffix
        )),
    }
}

/// Whether a tag is one of YAML's own, written `!!name`.
fn is_core(tag: &Tag) -> bool {
    tag.handle == "tag:yaml.org,2002:" || tag.handle == "!!"
}
