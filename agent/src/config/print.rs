//! The effective configuration as YAML.

use std::fmt::Write;

use serde_json::Value;

use super::Config;
use super::yaml::{Scalar, resolve};

/// All keys with their values, in the order of the documentation, as a file
/// that loads to the same configuration.
///
/// Header values, and user name and password in the endpoint, are printed as
/// `[REDACTED]`. `$` is printed as `$$`, so that loading the file does not
/// expand it.
#[must_use]
pub fn to_yaml(config: &Config) -> String {
    let mut out = String::new();
    if let Ok(Value::Object(root)) = serde_json::to_value(config) {
        mapping(&mut out, &root, 0);
    }
    out
}

fn mapping(out: &mut String, entries: &serde_json::Map<String, Value>, depth: usize) {
    for (key, value) in entries {
        out.push_str(&"  ".repeat(depth));
        out.push_str(&string(key));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(out, inner, depth + 1);
            }
            _ => {
                out.push(' ');
                out.push_str(&flow(value));
                out.push('\n');
            }
        }
    }
}

/// A value on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => string(&text.replace('$', "$$")),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) if entries.is_empty() => "{}".into(),
        other => other.to_string(),
    }
}

/// A string, in quotes unless it is safe without them.
fn string(text: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let is_word = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(is_safe)
        && resolve(text) == Scalar::Text(text.to_owned());
    if is_word || is_url(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Whether a text is a URL that YAML reads as a string without quotes.
fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or(text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        rest.ends_with(|c: char| c.is_ascii_digit())
            && rest
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".:-".contains(c))
    })
}

/// A double-quoted scalar. YAML has all of JSON's escapes and more. Unprintable
/// characters are escaped by their code point.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Writing to a string cannot fail.
            c if needs_code(c) => write!(out, "\\U{:08X}", u32::from(c)).unwrap_or_default(),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a character is a control character, a Unicode line break, a byte
/// order mark or a noncharacter.
fn needs_code(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}
