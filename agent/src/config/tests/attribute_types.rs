//! Types of attributes whose values come from environment variables.

use mqspan_testkit::semconv;

use super::super::AttributeValue;
use super::super::print::to_yaml;
use super::*;

fn string(text: &str) -> Option<AttributeValue> {
    Some(AttributeValue::String(text.to_owned()))
}

fn attribute(entry: &str, name: &str, value: &str) -> Option<AttributeValue> {
    let file = format!("resource:\n  attributes:\n    {entry}\n");
    let loaded = load_text(&file, &[("X", value)], &Overrides::new()).unwrap();
    let attributes = &loaded.config.resource.attributes;
    assert!(attributes.len() <= 1, "{entry}, {value:?}: {attributes:?}");
    let again = super::file(&to_yaml(&loaded.config)).unwrap().config;
    assert_eq!(&again.resource.attributes, attributes, "{entry}, {value:?}");
    attributes.get(name).cloned()
}

/// Text that YAML would read as something else.
const TEXTS: [&str; 24] = [
    "12345",
    "0755",
    "1e3",
    "0x1F",
    "true",
    "null",
    "~",
    "12e456789012",
    ".inf",
    "2001:db8::1",
    " padded ",
    "a: b",
    "a # b",
    "# a",
    "a\nb: c",
    "a\n\nb",
    "\"a\"",
    "'a'",
    "[a, b]",
    "{a: b}",
    "- a",
    "!!int 5",
    "*a",
    "--- a",
];

#[test]
fn quotes_and_the_conventions_make_a_string() {
    for text in TEXTS {
        for (entry, name) in [
            ("host.name: \"${env:X}\"", "host.name"),
            ("host.name: '${env:X}'", "host.name"),
            ("host.name: ${env:X}", "host.name"),
            ("host.name: ${env:NONE:-${env:X}}", "host.name"),
            ("k8s.node.name: ${X}", "k8s.node.name"),
            ("team: \"${env:X}\"", "team"),
            ("team: \"${env:NONE:-${env:X}}\"", "team"),
            ("process.pid: '${env:X}'", "process.pid"),
        ] {
            assert_eq!(attribute(entry, name, text), string(text), "{entry}");
        }
        let inside = attribute("team: a ${env:X} b", "team", text);
        assert_eq!(inside, string(&format!("a {text} b")));
    }
}

#[test]
fn without_quotes_another_attribute_has_the_type_of_its_value() {
    for (text, value) in [
        ("12345", Some(AttributeValue::Int(12345))),
        ("0755", Some(AttributeValue::Int(493))),
        ("1e3", Some(AttributeValue::Double(1000.0))),
        ("true", Some(AttributeValue::Bool(true))),
        ("null", None),
        ("", None),
        ("12e456789012", string("12e456789012")),
        ("99999999999999999999", string("99999999999999999999")),
        ("a: b", string("a: b")),
        ("a # b", string("a # b")),
        ("# a", string("# a")),
        ("a\n\nb: c", string("a\n\nb: c")),
        ("\"12\"", string("\"12\"")),
    ] {
        assert_eq!(attribute("n: ${env:X}", "n", text), value, "{text:?}");
    }
    let pid = attribute("process.pid: ${env:X}", "process.pid", "12");
    assert_eq!(pid, Some(AttributeValue::Int(12)));
}

/// Namespaces in which the type follows from the value.
const NOT_OF_PROCESSES: [&str; 7] = [
    "android",
    "app",
    "mainframe",
    "openshift",
    "otel",
    "user_agent",
    "zos",
];

#[test]
fn attributes_of_entities_have_the_types_of_the_registry() {
    let mut seen = 0;
    for (_, name, _) in semconv::entities() {
        let kind = semconv::attribute_type(name).unwrap();
        let expected = match kind {
            "int" => Some(AttributeValue::Int(1)),
            "boolean" => Some(AttributeValue::Bool(true)),
            // Elements of an array, and values of all keys of a template, are strings.
            "string" | "string[]" | "template[string]" => string("1"),
            other => panic!("{name}: {other}"),
        };
        let (namespace, _) = name.split_once('.').unwrap();
        if NOT_OF_PROCESSES.contains(&namespace) {
            continue;
        }
        let given = if kind == "boolean" { "true" } else { "1" };
        let found = attribute(&format!("{name}: ${{env:X}}"), name, given);
        assert_eq!(found, expected, "{name}");
        seen += 1;
    }
    assert!(seen > 150, "{seen}");
}

#[test]
fn nothing_is_no_value_unless_it_is_meant() {
    for (entry, value) in [
        ("host.name: ${env:X}", None),
        ("host.name: \"${env:X}\"", string("")),
        ("host.name: ${env:NONE}", None),
        ("host.name: \"${env:NONE}\"", None),
        ("host.name: \"${env:NONE:-}\"", string("")),
        ("host.name: null", None),
        ("host.name:", None),
        ("host.name: 0755", string("0755")),
    ] {
        assert_eq!(attribute(entry, "host.name", ""), value, "{entry}");
    }
}

#[test]
fn variables_of_the_agent_are_the_same() {
    for (name, value) in [
        ("MQSPAN__RESOURCE__ATTRIBUTES", "{host.name: 0755}"),
        ("OTEL_RESOURCE_ATTRIBUTES", "host.name=0755"),
    ] {
        let loaded = variables(&[(name, value)]).unwrap();
        let attributes = loaded.config.resource.attributes;
        assert_eq!(
            attributes.get("host.name").cloned(),
            string("0755"),
            "{name}"
        );
    }
}
