//! What YAML itself allows: empty files, tabs, duplicates, anchors, tags.

use super::{file, globs, load_text};
use crate::config::{AttributeValue, Config, Overrides};

#[test]
fn a_file_without_content_is_the_default() {
    for text in [
        "",
        "\n\n",
        "# only a comment\n",
        "---\n",
        "---\n...\n",
        "~",
        "{}",
        "\u{feff}# byte order mark\n",
        "exporters:\nfilter: ~\nlogs: {level: }\n",
        "exporters: {otlp: {headers: ~, tls: }}\n",
    ] {
        let loaded = file(text).unwrap();
        assert_eq!(loaded.config, Config::default(), "{text:?}");
    }
}

#[test]
fn syntax_errors_have_their_place() {
    for (text, expected) in [
        (
            "logs:\n\tlevel: info\n",
            "mqspan.yaml:2:2: invalid YAML: tabs disallowed within this context (block indentation); indent with spaces, YAML does not allow tabs there",
        ),
        (
            "logs: {level: info\n",
            "mqspan.yaml:2:1: invalid YAML: while parsing a flow mapping, did not find expected ',' or '}'",
        ),
        (
            "logs: \"info\n",
            "mqspan.yaml:1:7: invalid YAML: while scanning a quoted scalar, found unexpected end of stream",
        ),
        (
            "logs:\n  level: info\n  level: warn\n",
            "mqspan.yaml:3:3: invalid YAML: found the key `level` twice in one mapping",
        ),
        (
            "logs: {}\n---\nhealth: {}\n",
            "mqspan.yaml:2:1: invalid YAML: found a second document, expected one; remove the `---` line or split the file",
        ),
        (
            "- logs\n",
            "mqspan.yaml:1:1: invalid YAML: found a list at the root, expected a mapping of sections such as `exporters:`",
        ),
        (
            "logs\n",
            "mqspan.yaml:1:1: invalid YAML: found a scalar at the root, expected a mapping of sections such as `exporters:`",
        ),
        (
            "? [a, b]\n: c\n",
            "mqspan.yaml:1:8: invalid YAML: found a list or a mapping as a key, expected a name",
        ),
        (
            "logs: !!binary aGk=\n",
            "mqspan.yaml:1:16: invalid YAML: found the tag `!!binary` on a scalar",
        ),
        (
            "logs: !mine {level: info}\n",
            "mqspan.yaml:1:13: invalid YAML: found the unknown tag `!mine`",
        ),
        (
            &format!("logs: {}", "[".repeat(100_000)),
            "mqspan.yaml:1:262: invalid YAML: recursion limit exceeded",
        ),
        (
            "logs: *nowhere\n",
            "mqspan.yaml:1:7: invalid YAML: while parsing node, found unknown anchor",
        ),
    ] {
        assert_eq!(file(text).unwrap_err(), expected, "{text:?}");
    }
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let item = format!("*a{}", level - 1);
        let items = vec![item; 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let error = file(&text).unwrap_err();
    assert!(
        error.ends_with("invalid YAML: found more than 100000 values"),
        "{error}"
    );
}

#[test]
fn anchors_and_tags_work() {
    let text = "filter:\n  include: &both {pids: [1], comms: [a]}\n  exclude: *both\nresource:\n  attributes: {n: !!str 0123, i: !!int \"5\"}\n";
    let config = file(text).unwrap().config;
    assert_eq!(config.filter.include, config.filter.exclude);
    let attributes = &config.resource.attributes;
    assert_eq!(attributes["n"], AttributeValue::String("0123".into()));
    assert_eq!(attributes["i"], AttributeValue::Int(5));
}

#[test]
fn attributes_take_the_type_of_yaml() {
    let text = "resource:\n  attributes:\n    s: text\n    q: \"1\"\n    i: -7\n    h: 0x10\n    o: 0o17\n    z: 0123\n    d: 1.5\n    e: 1e3\n    b: true\n    y: yes\n    v: 1.2.3\n    t: 2006-01-02\n    none: ~\n";
    let config = file(text).unwrap().config;
    let expected = [
        ("b", AttributeValue::Bool(true)),
        ("d", AttributeValue::Double(1.5)),
        ("e", AttributeValue::Double(1000.0)),
        ("h", AttributeValue::Int(16)),
        ("i", AttributeValue::Int(-7)),
        ("o", AttributeValue::Int(15)),
        ("q", AttributeValue::String("1".into())),
        ("s", AttributeValue::String("text".into())),
        ("t", AttributeValue::String("2006-01-02".into())),
        ("v", AttributeValue::String("1.2.3".into())),
        ("y", AttributeValue::String("yes".into())),
        ("z", AttributeValue::Int(83)),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(config.resource.attributes, expected.into());
}

/// Cases from the Collector's RFC on environment variables and from its tests of strict types.
#[test]
fn expanded_scalars_take_the_type_of_their_key() {
    let name = "  node_name: ";
    for (value, text, expected) in [
        ("123", "${env:ENV}", Some("123")),
        ("0123", "${env:ENV}", Some("0123")),
        ("0xdeadbeef", "${env:ENV}", Some("0xdeadbeef")),
        ("\"0123\"", "${env:ENV}", Some("\"0123\"")),
        ("!!str 0123", "${env:ENV}", Some("!!str 0123")),
        ("0123", "'in ${env:ENV} line'", Some("in 0123 line")),
        ("true", "${env:ENV}", Some("true")),
        ("a: b", "${env:ENV}", Some("a: b")),
        ("{a: b}", "${env:ENV}", Some("{a: b}")),
        ("a\nb: c", "${env:ENV}", Some("a\nb: c")),
        ("${env:ENV2}", "${env:ENV}", Some("second")),
        ("", "${env:ENV}", None),
        ("x", "${env:UNSET:-}", None),
    ] {
        let yaml = format!("enrich:\n kubernetes:\n{name}{text}\n");
        let env = [("ENV", value), ("ENV2", "second")];
        let loaded = load_text(&yaml, &env, &Overrides::new()).unwrap();
        let found = loaded.config.enrich.kubernetes.node_name;
        assert_eq!(found, expected.unwrap_or_default(), "{value} in {text}");
    }
    for (value, expected) in [("123", 123), ("0123", 83), ("0x7b", 123), ("12 # note", 12)] {
        let env = [("ENV", value)];
        let yaml = "capture: {max_in_flight: '${env:ENV}'}";
        let loaded = load_text(yaml, &env, &Overrides::new()).unwrap();
        assert_eq!(loaded.config.capture.max_in_flight, expected, "{value}");
    }
    for (value, expected) in [("true", true), ("True", true), ("false", false)] {
        let env = [("ENV", value)];
        let yaml = "filter: {errors_only: '${env:ENV}'}";
        let loaded = load_text(yaml, &env, &Overrides::new()).unwrap();
        assert_eq!(loaded.config.filter.errors_only, expected, "{value}");
    }
    for (value, message) in [
        ("t", "found the string `t`"),
        ("23", "found the integer `23`"),
        ("yes", "found the string `yes`"),
        ("\"true\"", "found the string `\"true\"`"),
    ] {
        let env = [("ENV", value)];
        let yaml = "filter: {errors_only: '${env:ENV}'}";
        let error = load_text(yaml, &env, &Overrides::new()).unwrap_err();
        let expected =
            format!("mqspan.yaml:1:10: filter.errors_only: {message}, expected `true` or `false`");
        assert_eq!(error, expected, "{value}");
    }
}

#[test]
fn an_unset_variable_means_the_default_and_a_warning() {
    let yaml = "capture: {max_in_flight: '${env:A}', abis: '${env:B}'}\nexporters: {otlp: {timeout: '${env:C}'}}\n";
    let loaded = file(yaml).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(
        loaded.warnings,
        [
            "mqspan.yaml:1:11: capture.max_in_flight: the environment variable `A` is not set",
            "mqspan.yaml:1:38: capture.abis: the environment variable `B` is not set",
            "mqspan.yaml:2:20: exporters.otlp.timeout: the environment variable `C` is not set",
        ]
    );
}

#[test]
fn an_expanded_list_or_mapping_is_one_where_the_key_is_one() {
    let yaml = "filter:\n  include: {pids: '${env:PIDS}', comms: '${env:COMMS}', queues: ['${env:COMMS}']}\nexporters: {otlp: {headers: '${env:HEADERS}'}}\n";
    let env = [
        ("PIDS", "[1, 2]"),
        ("COMMS", "a*, b"),
        ("HEADERS", "{X-Key: 0123}"),
    ];
    let config = load_text(yaml, &env, &Overrides::new()).unwrap().config;
    assert_eq!(config.filter.include.pids, [1, 2]);
    assert_eq!(config.filter.include.comms, globs(&["a*", "b"]));
    assert_eq!(config.filter.include.queues, globs(&["a*, b"]));
    assert_eq!(config.exporters.otlp.headers["x-key"].expose(), "0123");
}
