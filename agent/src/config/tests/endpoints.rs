//! What an endpoint means by its protocol and by where it comes from.

use super::{file, load_text};
use crate::config::{Overrides, Protocol};

#[test]
fn the_endpoint_depends_on_the_protocol() {
    const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OF_SPANS: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    for (yaml, env, endpoint, path) in [
        ("", vec![], "http://localhost:4317", ""),
        ("", vec![http], "http://localhost:4318", "/v1/traces"),
        (
            "exporters: {otlp: {endpoint: }}",
            vec![http],
            "http://localhost:4318",
            "/v1/traces",
        ),
        (
            "exporters: {otlp: {endpoint: 'http://localhost:1'}}",
            vec![http],
            "http://localhost:1",
            "/v1/traces",
        ),
        (
            "exporters: {otlp: {protocol: http/protobuf}}",
            vec![],
            "http://localhost:4318",
            "/v1/traces",
        ),
        (
            "exporters: {otlp: {protocol: http/protobuf}}",
            vec![("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"), http],
            "http://localhost:4317",
            "",
        ),
        (
            "",
            vec![(GENERAL, "http://c:1/a"), http],
            "http://c:1/a",
            "/a/v1/traces",
        ),
        (
            "",
            vec![(OF_SPANS, "http://c:1/a"), http],
            "http://c:1/a",
            "/a",
        ),
        (
            "",
            vec![(OF_SPANS, "http://c:1/v1/traces"), http],
            "http://c:1",
            "/v1/traces",
        ),
        (
            "",
            vec![
                (OF_SPANS, "http://c:1/a"),
                ("MQSPAN__EXPORTERS__OTLP__ENDPOINT", "http://c:2/a"),
                http,
            ],
            "http://c:2/a",
            "/a/v1/traces",
        ),
        (
            "",
            vec![(OF_SPANS, "http://c:1/v1/traces")],
            "http://c:1",
            "",
        ),
        (
            "",
            vec![(GENERAL, "unix:///run/x"), http],
            "unix:///run/x",
            "/v1/traces",
        ),
    ] {
        let loaded = load_text(yaml, &env, &Overrides::new()).unwrap();
        assert_eq!(loaded.warnings, [""; 0], "{yaml} {env:?}");
        let otlp = loaded.config.exporters.otlp;
        assert_eq!(otlp.endpoint.to_string(), endpoint, "{yaml} {env:?}");
        if otlp.protocol == Protocol::HttpProtobuf {
            assert_eq!(otlp.endpoint.http_path("traces"), path, "{yaml} {env:?}");
        } else {
            assert_eq!(path, "", "{yaml} {env:?}");
        }
    }
}

#[test]
fn tls_files_are_odd_where_nothing_is_encrypted() {
    for (endpoint, why) in [
        (
            "http://h:1",
            "because the endpoint is not encrypted; write `https://`",
        ),
        ("unix:///run/x", "because the endpoint is a Unix socket"),
    ] {
        let yaml =
            format!("exporters: {{otlp: {{endpoint: '{endpoint}', tls: {{ca_file: /ca}}}}}}");
        let warnings = file(&yaml).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(why), "{warnings:?}");
    }
}

#[test]
fn grpc_reserves_more_headers() {
    for (protocol, header, is_taken) in [
        ("grpc", "grpc-x", false),
        ("grpc", "x-bin", false),
        ("http/protobuf", "grpc-x", true),
        ("http/protobuf", "x-bin", true),
        ("http/protobuf", "content-encoding", false),
        ("http/protobuf", "transfer-encoding", false),
    ] {
        let yaml =
            format!("exporters: {{otlp: {{protocol: {protocol}, headers: {{{header}: c}}}}}}");
        assert_eq!(file(&yaml).is_ok(), is_taken, "{protocol} {header}");
    }
}
