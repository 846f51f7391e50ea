//! Generates `config/mqspan.yaml` and `config/mqspan.schema.json` from the tree of keys.
//!
//! `make generate` writes them. Without it, the tests compare.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::config::print::flow;
use crate::config::{
    AttributeValue, Config, Endpoint, ErrorCode, Globs, HumanDuration, ListenAddress,
    NamespaceInode, Secret, Size,
};

/// Width of comment lines in the file, in columns.
const WIDTH: usize = 140;

const HEAD: &str = "\
# Configuration of mqspan: every key with its default.
#
# Durations carry a unit: 5s, 200ms, 1m30s. Sizes are 64MiB, 4KiB, 512B or a whole number of bytes. Globs know *, ?, [a-z], [!a-z]
# and {a,b}; a backslash takes the meaning from a character.
#
# ${env:VAR} and ${env:VAR:-default} stand for an environment variable, $$ stands for a dollar sign.
# Stronger than this file, in rising order: the standard OTEL_* variables, variables such as MQSPAN__EXPORTERS__OTLP__ENDPOINT
# (two underscores between the levels).
";

/// Declares how each type is written in the file.
macro_rules! written {
    ($($type:ty = $schema:tt,)+) => {
        $(
            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($type).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!($schema)
                }
            }
        )+
    };
}

written! {
    HumanDuration = {"anyOf": [
        {"type": "string", "pattern": "^(0|(([0-9]+\\.?[0-9]*|\\.[0-9]+)(h|m|s|ms|us|µs|μs|ns))+)$"},
        {"const": 0},
        {"type": "string", "pattern": "\\$\\{.*\\}"}
    ]},
    Size = {"anyOf": [
        {"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)?$"},
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "\\$\\{.*\\}"}
    ]},
    Globs = {"type": "array", "items": {"type": "string", "minLength": 1}},
    NamespaceInode = {"anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32},
        {"type": "string", "pattern": "^([0-9]+|ipc:\\[[0-9]+\\])$"}
    ]},
    ErrorCode = {"type": "string", "pattern": "^E[A-Z0-9]+$"},
    AttributeValue = {"type": ["string", "number", "boolean", "null"]},
    Endpoint = {"type": "string", "minLength": 1, "not": {"pattern": "^unix(-abstract:|:([^/]|/[^/]|//[^/]|/{0,2}$))"}},
    Secret = {"type": ["string", "null"]},
    ListenAddress = {"type": "string"},
}

pub(super) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
}

/// The schema of a value that comes from an environment variable.
fn reference() -> Value {
    json!({"$ref": "#/$defs/reference"})
}

/// Allows every key to be empty, and a variable in place of any value.
fn loosen(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else {
        return;
    };
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(loosen);
        members.insert("type".into(), json!(["object", "null"]));
        // A section's default is that of its keys.
        members.remove("default");
        return;
    }
    let told = ["description", "default"].map(|member| members.shift_remove_entry(member));
    if let Some(items) = members.get_mut("items") {
        *items = json!({"anyOf": [items.take(), reference()]});
    }
    for member in ["format", "uniqueItems"] {
        members.remove(member);
    }
    let inner = schema.take();
    *schema = if inner.get("type") == Some(&json!("string")) && inner.get("pattern").is_none() {
        let mut text = inner;
        text["type"] = json!(["string", "null"]);
        text
    } else {
        json!({"anyOf": [inner, {"type": "null"}, reference()]})
    };
    if let Some(members) = schema.as_object_mut() {
        let described = std::mem::take(members);
        members.extend(told.into_iter().flatten());
        members.extend(described);
    }
}

fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut root = settings
        .into_generator()
        .into_root_schema_for::<Config>()
        .to_value();
    loosen(&mut root);
    let attributes = "/properties/resource/properties/attributes/anyOf/0";
    if let Some(attributes) = root.pointer_mut(attributes) {
        attributes["propertyNames"] = json!({"minLength": 1});
    }
    let mut out = Map::new();
    for (name, value) in [
        (
            "$schema",
            json!("https://json-schema.org/draft/2020-12/schema"),
        ),
        (
            "$id",
            json!("https://github.com/mqspan/mqspan/raw/main/config/mqspan.schema.json"),
        ),
        ("title", json!("Configuration of mqspan")),
    ] {
        out.insert(name.into(), value);
    }
    for name in ["type", "additionalProperties", "properties"] {
        out.insert(name.into(), root[name].take());
    }
    let reference = json!({
        "description": "A value that an environment variable gives.",
        "type": "string",
        "pattern": "^\\$\\{.*\\}$",
    });
    out.insert("$defs".into(), json!({ "reference": reference }));
    Value::Object(out)
}

/// Wraps `text` at `WIDTH` columns, with `before` at the start of each line.
fn wrapped(text: &str, before: &str) -> String {
    let mut out = String::new();
    let mut line = before.to_owned();
    for word in text.split_whitespace() {
        if line.len() > before.len() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = before.to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
    out
}

fn section(out: &mut String, schema: &Value, defaults: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (key, schema) in properties {
        if depth == 0 {
            out.push('\n');
        }
        let meaning = schema["description"].as_str().unwrap_or_default();
        out.push_str(&wrapped(meaning, &format!("{indent}#")));
        let default = &defaults[key];
        if schema.get("properties").is_some() {
            out.push_str(&format!("{indent}{key}:\n"));
            section(out, schema, default, depth + 1);
        } else {
            out.push_str(&format!("{indent}{key}: {}\n", flow(default)));
        }
    }
}

/// Checks that the file has this text. Writes it if `MQSPAN_GENERATE` is set.
fn is_in(file: &str, text: &str) {
    let path = repository(file);
    if std::env::var_os("MQSPAN_GENERATE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "{file} is not what the keys in agent/src/config/tree.rs say: make generate"
    );
}

#[test]
fn the_documented_file_is_the_tree() {
    let mut text = HEAD.to_owned();
    let defaults = serde_json::to_value(Config::default()).unwrap();
    section(&mut text, &schema(), &defaults, 0);
    is_in("config/mqspan.yaml", &text);
}

#[test]
fn the_schema_is_the_tree() {
    let text = serde_json::to_string_pretty(&schema()).unwrap();
    is_in("config/mqspan.schema.json", &(text + "\n"));
}
