//! Checks `config/mqspan.yaml` and `config/mqspan.schema.json` against the code.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Map, Value, json};

use super::generated::repository;
use crate::config::yaml::{Content, Node, Scalar, parse, resolve};
use crate::config::{Config, Env, check, print};

fn yaml_file() -> Node {
    let text = fs::read_to_string(repository("config/mqspan.yaml")).unwrap();
    parse(&text).unwrap().unwrap()
}

fn schema() -> Value {
    let text = fs::read_to_string(repository("config/mqspan.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn to_json(node: &Node) -> Value {
    match &node.content {
        Content::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, node)| (key.clone(), to_json(node)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Content::List(items) => items.iter().map(to_json).collect(),
        Content::Scalar { text, plain: false } => json!(text),
        Content::Scalar { text, plain: true } => match resolve(text) {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => json!(value),
            Scalar::Int(value) => json!(value),
            Scalar::Float(value) => json!(value),
            Scalar::Text(value) => json!(value),
        },
    }
}

/// Collects the paths of all keys, in file order.
fn paths(value: &Value, prefix: &str, out: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{prefix}{key}");
        out.push(path.clone());
        paths(value, &format!("{path}."), out);
    }
}

fn all_paths(value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    paths(value, "", &mut out);
    out
}

/// The defaults that a schema states, as a tree of its keys.
fn schema_defaults(schema: &Value, root: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str()
        && schema.get("default").is_none()
    {
        let pointer = reference.trim_start_matches('#');
        return schema_defaults(root.pointer(pointer).unwrap(), root);
    }
    match schema.get("properties") {
        Some(properties) => {
            let keys = properties.as_object().unwrap().iter();
            let keys = keys.map(|(key, schema)| (key.clone(), schema_defaults(schema, root)));
            Value::Object(keys.collect())
        }
        None => schema["default"].clone(),
    }
}

/// Collects the mappings of a schema that list their keys and still accept others.
fn open_mappings(schema: &Value, at: &str, out: &mut Vec<String>) {
    if schema.get("properties").is_some() && schema["additionalProperties"] != json!(false) {
        out.push(at.to_owned());
    }
    for (key, value) in schema.as_object().into_iter().flatten() {
        open_mappings(value, &format!("{at}/{key}"), out);
    }
}

#[test]
fn the_yaml_file_is_exactly_the_default() {
    let loaded = check(&repository("config/mqspan.yaml"), &Env::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn the_yaml_file_lists_every_key_in_order() {
    let raw = serde_json::to_value(Config::default()).unwrap();
    assert_eq!(all_paths(&to_json(&yaml_file())), all_paths(&raw));
}

#[test]
fn every_key_of_the_yaml_file_has_one_comment() {
    let text = fs::read_to_string(repository("config/mqspan.yaml")).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (index, line) in lines.iter().enumerate() {
        let is_leaf = !line.starts_with('#') && line.contains(": ");
        assert!(!is_leaf || lines[index - 1].starts_with('#'), "{line}");
    }
}

#[test]
fn the_schema_has_the_keys_and_defaults_of_the_code() {
    let schema = schema();
    let defaults = schema_defaults(&schema, &schema);
    let raw = serde_json::to_value(Config::default()).unwrap();
    let sorted = |value: &Value| all_paths(value).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&defaults), sorted(&raw));
    assert_eq!(to_json(&yaml_file()), defaults);
    let mut open = Vec::new();
    open_mappings(&schema, "", &mut open);
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn the_schema_accepts_what_the_code_accepts() {
    let schema = jsonschema::draft202012::new(&schema()).unwrap();
    assert!(schema.is_valid(&to_json(&yaml_file())));
    let printed = parse(&print::to_yaml(&Config::default())).unwrap().unwrap();
    assert!(schema.is_valid(&to_json(&printed)));
    for text in [
        "{}",
        "exporters:",
        "exporters: {otlp: {timeout: '${env:T:-5}s', endpoint: '${env:E}', headers: {a: b}}}",
        "capture: {ring_buffer_size: 4096, max_in_flight: '${env:N}', syscalls: [mq_open]}",
        "filter: {include: {namespaces: [4026531839, 'ipc:[1]', '7'], uids: [0], pids: [1]}}",
        "exporters: {otlp: {endpoint: 'unix:///run/otel.sock', protocol: http/protobuf}}",
        "resource: {attributes: {a: 1, b: 1.5, c: true, d: x}}",
        "sampling: {ratio: 0, always_keep: {slower_than: 1m30s}}",
    ] {
        super::load_text(
            text,
            &[("T", "1"), ("E", "http://h:1"), ("N", "3")],
            &super::Overrides::new(),
        )
        .unwrap();
        let value = to_json(&parse(text).unwrap().unwrap());
        assert!(schema.is_valid(&value), "{text}");
    }
}

#[test]
fn the_schema_refuses_what_the_code_refuses() {
    let schema = jsonschema::draft202012::new(&schema()).unwrap();
    for text in [
        "[]",
        "exporter: {}",
        "exporters: {otlp: {endpont: x}}",
        "exporters: {otlp: {endpoint: 'unix:/x'}}",
        "exporters: {otlp: {endpoint: 'unix://x'}}",
        "exporters: {otlp: {endpoint: 'unix-abstract:x'}}",
        "exporters: {otlp: {protocol: http/json}}",
        "exporters: {otlp: {endpoint: ''}}",
        "exporters: {otlp: {timeout: 10}}",
        "exporters: {otlp: {compression: snappy}}",
        "exporters: {otlp: {sending_queue: {num_consumers: 0}}}",
        "exporters: {otlp: {retry_on_failure: {multiplier: 0.5}}}",
        "capture: {ring_buffer_size: 8MB}",
        "capture: {payload: {max_bytes: 4097}}",
        "capture: {syscalls: []}",
        "capture: {abis: [x32]}",
        "filter: {errors_only: 1}",
        "filter: {include: {pids: [-1]}}",
        "filter: {include: {pids: [0]}}",
        "filter: {include: {comms: ['']}}",
        "sampling: {ratio: 1.5}",
        "logs: {level: INFO}",
        "resource: {attributes: {a: [1]}}",
    ] {
        assert!(super::file(text).is_err(), "{text}");
        let value = to_json(&parse(text).unwrap().unwrap());
        assert!(!schema.is_valid(&value), "{text}");
    }
}

/// Every key differs from its default and from other keys of its type, so that a mix-up shows.
const EVERY_KEY_CHANGED: &str = r#"
capture: {backend: kprobe, syscalls: [mq_unlink, mq_notify], abis: [compat], ring_buffer_size: 1MiB, max_in_flight: 11, payload: {enabled: true, max_bytes: 12}}
filter:
  include: {pids: [21], comms: [c22], uids: [23], queues: [q24], namespaces: [25], containers: [k26]}
  exclude: {pids: [31], comms: [c32], uids: [33], queues: [q34], namespaces: [35], containers: [k36]}
  min_duration: 37ms
  errors_only: true
sampling: {ratio: 0.41, always_keep: {errors: false, slower_than: 42ms}}
traces: {correlation: link, receive_start: call, empty_receives: false, application_context: false, chains: {mode: link, max_hops: 47, max_age: 47s}, process_spans: true, unset_status_errnos: {send: [EPERM, EBADF], receive: [EPERM], other: [EBADF]}, body_size: true, destination_templates: [/t48-*]}
enrich: {process: false, container: false, kubernetes: {enabled: true, node_name: n51, labels: true}}
resource: {attributes: {a61: v62}}
exporters:
  otlp:
    enabled: false
    protocol: http/protobuf
    endpoint: https://h71:71
    headers: {}
    compression: zstd
    timeout: 72ms
    max_request_size: 73MiB
    tls: {insecure: true, ca_file: /f74, cert_file: /f75, key_file: /f76, server_name_override: s77, reload_interval: 78ms}
    retry_on_failure: {enabled: false, initial_interval: 79ms, max_interval: 80ms, multiplier: 8.1, randomization_factor: 0.82, max_elapsed_time: 83ms}
    sending_queue: {queue_size: 84MiB, num_consumers: 85, storage: {directory: /d86, max_size: 87MiB}}
    batch: {flush_timeout: 88ms, max_size: 71MiB}
  file: {path: /f89, max_size: 90MiB, max_files: 94}
metrics: {otlp: {enabled: false, interval: 91ms}, prometheus: {address: "10.0.0.1:92"}, histograms: exponential, series_timeout: 49s}
health: {address: "10.0.0.2:93"}
logs: {level: trace, format: json, otlp: {enabled: true}}
"#;

#[test]
fn every_key_reaches_the_configuration_and_is_printed_again() {
    let loaded = super::file(EVERY_KEY_CHANGED).unwrap();
    let given = to_json(&parse(EVERY_KEY_CHANGED).unwrap().unwrap());
    let printed = to_json(&parse(&print::to_yaml(&loaded.config)).unwrap().unwrap());
    assert_eq!(printed, given);
    let default = to_json(&yaml_file());
    for path in all_paths(&default) {
        let pointer = format!("/{}", path.replace('.', "/"));
        let unchanged = default.pointer(&pointer) == given.pointer(&pointer);
        assert!(!unchanged || path == "exporters.otlp.headers", "{path}");
    }
}

/// `docs/variables.md` lists every variable that the code knows, and no other.
#[test]
fn standard_variables_are_documented() {
    use crate::config::otel_env::heeded;
    use crate::config::otel_ignored::IGNORED;
    let text = fs::read_to_string(repository("docs/variables.md")).unwrap();
    let documented: BTreeSet<&str> = text
        .split('`')
        .filter(|word| word.starts_with("OTEL_"))
        .collect();
    let known: BTreeSet<&str> = heeded()
        .chain(IGNORED.iter().map(|ignored| ignored.variable))
        .collect();
    assert_eq!(documented, known);
}
