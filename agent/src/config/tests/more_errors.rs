//! Messages about several problems at once, references, variables, flags and the machine.

use super::{file, load_text, variables};
use crate::config::{Config, Overrides, Size, check};

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    for (text, expected) in [
        (
            "exporters: {otlp: {max_request_size: 0, batch: {max_size: 0}}}",
            vec![
                "mqspan.yaml:1:49: exporters.otlp.batch.max_size: found 0B, expected a size above zero",
                "mqspan.yaml:1:20: exporters.otlp.max_request_size: found 0B, expected a size above zero",
            ],
        ),
        (
            "logs: {level: 1, format: 2, x: 3}\nfilter: {min_duration: 1, errors_only: 2}",
            vec![
                "mqspan.yaml:2:27: filter.errors_only: found the integer `2`, expected `true` or `false`",
                r#"mqspan.yaml:2:10: filter.min_duration: found `1`, expected a duration with a unit, such as "5s", "200ms" or "1m30s""#,
                "mqspan.yaml:1:18: logs.format: found the integer `2`, expected one of `text`, `json`",
                "mqspan.yaml:1:8: logs.level: found the integer `1`, expected one of `error`, `warn`, `info`, `debug`, `trace`",
                "mqspan.yaml:1:29: logs.x: unknown key, expected one of `level`, `format`, `otlp`",
            ],
        ),
    ] {
        assert_eq!(file(text).unwrap_err(), expected.join("\n"), "{text}");
    }
}

#[test]
fn references() {
    let env = [("L", "loud"), ("M", "a: ["), ("N", "[1")];
    for (text, expected) in [
        (
            "logs: {level: '${env:a.b}'}",
            "mqspan.yaml:1:8: logs.level: found the variable name `a.b` in `${...}`, expected letters, digits and underscores, not starting with a digit; write `$$` for a dollar sign",
        ),
        (
            "logs: {level: '${file:/x}'}",
            "mqspan.yaml:1:8: logs.level: found `${file:...}`, expected a reference of the form `${env:NAME}`; write `$$` for a dollar sign",
        ),
        (
            "logs: {level: '${env:L}'}",
            "mqspan.yaml:1:8: logs.level: found `loud`, expected one of `error`, `warn`, `info`, `debug`, `trace`",
        ),
        (
            "filter: {include: '${env:M}'}",
            "mqspan.yaml:1:10: filter.include: found malformed YAML (while parsing a node, did not find expected node content), expected a mapping such as `{name: value}`",
        ),
        (
            "filter: {include: {pids: '${env:N}'}}",
            "mqspan.yaml:1:20: filter.include.pids[0]: found the string `[1`, expected an integer from 0 to 4294967295",
        ),
    ] {
        let found = load_text(text, &env, &Overrides::new()).unwrap_err();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn own_variables() {
    for (name, value, expected) in [
        (
            "MQSPAN__EXPORTERS__OTLP__ENDPONT",
            "x",
            "exporters.otlp.endpont: unknown key, expected one of `enabled`, `protocol`, `endpoint`, `headers`, `compression`, `timeout`, `max_request_size`, `tls`, `retry_on_failure`, `sending_queue`, `batch`; did you mean `endpoint`?",
        ),
        (
            "MQSPAN__EXPORTER__OTLP__ENDPOINT",
            "x",
            "exporter: unknown key, expected one of `capture`, `filter`, `sampling`, `traces`, `enrich`, `resource`, `exporters`, `metrics`, `health`, `logs`; did you mean `exporters`?",
        ),
        (
            "MQSPAN__ENDPOINT",
            "x",
            "endpoint: unknown key, expected one of `capture`, `filter`, `sampling`, `traces`, `enrich`, `resource`, `exporters`, `metrics`, `health`, `logs`",
        ),
        (
            "MQSPAN__LOGS____LEVEL",
            "x",
            r#"logs[""].level: found an empty level in the name, expected `MQSPAN__SECTION__KEY` with two underscores between the levels"#,
        ),
        (
            "MQSPAN__",
            "x",
            r#"[""]: found an empty level in the name, expected `MQSPAN__SECTION__KEY` with two underscores between the levels"#,
        ),
        (
            "MQSPAN__LOGS__",
            "x",
            r#"logs[""]: found an empty level in the name, expected `MQSPAN__SECTION__KEY` with two underscores between the levels"#,
        ),
        (
            "MQSPAN__LOGS",
            "info",
            "logs: found a string, expected a mapping such as `{name: value}`",
        ),
        (
            "MQSPAN__LOGS__LEVEL__X",
            "info",
            "logs.level: found a mapping, expected one of `error`, `warn`, `info`, `debug`, `trace`",
        ),
        (
            "MQSPAN__LOGS__LEVEL",
            "loud",
            "logs.level: found `loud`, expected one of `error`, `warn`, `info`, `debug`, `trace`",
        ),
        (
            "MQSPAN__FILTER__INCLUDE__PIDS",
            "1,x",
            "filter.include.pids[1]: found the string `x`, expected an integer from 0 to 4294967295",
        ),
        (
            "MQSPAN__FILTER__INCLUDE__PIDS",
            "[1,",
            "filter.include.pids[0]: found the string `[1`, expected an integer from 0 to 4294967295",
        ),
        (
            "MQSPAN__FILTER__INCLUDE__PIDS",
            "[1,x]",
            "filter.include.pids[1]: found the string `x`, expected an integer from 0 to 4294967295",
        ),
        (
            "MQSPAN__FILTER__INCLUDE__PIDS",
            "[1]]",
            "filter.include.pids: found malformed YAML (did not find expected <document start>), expected a list such as `[a, b]`",
        ),
        (
            "MQSPAN__FILTER__ERRORS_ONLY",
            "1",
            "filter.errors_only: found the integer `1`, expected `true` or `false`",
        ),
        (
            "MQSPAN__EXPORTERS__OTLP__HEADERS",
            "a=secret",
            "exporters.otlp.headers: found a string, expected a mapping such as `{name: value}`",
        ),
        (
            "MQSPAN__EXPORTERS__OTLP__HEADERS",
            "{a: secret",
            "exporters.otlp.headers: found malformed YAML (while parsing a flow mapping, did not find expected ',' or '}'), expected a mapping such as `{name: value}`",
        ),
        (
            "MQSPAN__EXPORTERS__OTLP__ENDPOINT",
            "ftp://u:secret@h",
            "exporters.otlp.endpoint: found `ftp://[REDACTED]@h`, expected `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` or `unix:///PATH`",
        ),
    ] {
        let found = variables(&[(name, value)]).unwrap_err();
        assert_eq!(found, format!("{name}: {expected}"), "{name}={value}");
    }
}

#[test]
fn flags() {
    let flags = Overrides::new()
        .set("--pid", "filter.include.pids", "[1, x]")
        .set("--min-duration", "filter.min_duration", "5");
    assert_eq!(
        load_text("", &[], &flags).unwrap_err(),
        "--pid: filter.include.pids[1]: found the string `x`, expected an integer from 0 to 4294967295\n\
         --min-duration: filter.min_duration: found `5`, expected a duration with a unit, such as \"5s\", \"200ms\" or \"1m30s\""
    );
}

#[test]
fn the_ring_buffer_depends_on_the_page() {
    for (page, size, expected) in [
        (4096, "0B", Some("4KiB")),
        (4096, "2KiB", Some("4KiB")),
        (4096, "4KiB", None),
        (4096, "5MiB", Some("8MiB")),
        (4096, "2GiB", None),
        (4096, "4GiB", Some("2GiB")),
        (65536, "4KiB", Some("64KiB")),
        (65536, "64KiB", None),
    ] {
        let mut config = Config::default();
        config.capture.ring_buffer_size = size.parse().unwrap();
        let found = check::check(&mut config, page);
        let messages: Vec<_> = found.problems.into_iter().map(|(_, text)| text).collect();
        match expected {
            None => assert_eq!(messages, Vec::<String>::new()),
            Some(next) => assert_eq!(
                messages,
                [format!(
                    "found {size}, expected a power of two from one page ({}) to 2GiB, such as {next}",
                    Size(page)
                )]
            ),
        }
    }
}
