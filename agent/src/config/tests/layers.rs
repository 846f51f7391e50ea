//! Which layer takes precedence, and what each kind of variable means.

use std::path::Path;

use super::{file, globs, load_text, variables};
use crate::config::{
    AttributeValue, Compression, Config, ErrorCode, HumanDuration, LogLevel, NamespaceInode,
    Overrides, Size, Syscall, UnsetStatusErrnos,
};

#[test]
fn each_layer_beats_those_below_it() {
    let key = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let own = "MQSPAN__EXPORTERS__OTLP__ENDPOINT";
    let yaml = "exporters: {otlp: {endpoint: 'http://file:1'}}";
    let flag = Overrides::new().set("--endpoint", "exporters.otlp.endpoint", "http://flag:1");
    let none = Overrides::new();
    for (text, env, flags, expected) in [
        ("", vec![], &none, "http://localhost:4317"),
        (yaml, vec![], &none, "http://file:1"),
        (yaml, vec![(key, "http://otel:1")], &none, "http://otel:1"),
        (
            yaml,
            vec![(key, "http://otel:1"), (own, "http://own:1")],
            &none,
            "http://own:1",
        ),
        (
            yaml,
            vec![(key, "http://otel:1"), (own, "http://own:1")],
            &flag,
            "http://flag:1",
        ),
        (yaml, vec![(own, "")], &none, "http://file:1"),
        ("", vec![(key, "")], &none, "http://localhost:4317"),
    ] {
        let config = load_text(text, &env, flags).unwrap().config;
        assert_eq!(config.exporters.otlp.endpoint.url(), expected, "{env:?}");
    }
}

#[test]
fn own_variables_set_every_kind_of_key() {
    let config = variables(&[
        ("MQSPAN__CAPTURE__RING_BUFFER_SIZE", "16MiB"),
        ("MQSPAN__CAPTURE__SYSCALLS", "mq_timedreceive,mq_open"),
        ("MQSPAN__CAPTURE__PAYLOAD__ENABLED", "true"),
        ("MQSPAN__FILTER__INCLUDE__PIDS", "[1,2]"),
        ("MQSPAN__FILTER__INCLUDE__COMMS", "[\"a,b\", 7]"),
        ("MQSPAN__FILTER__INCLUDE__NAMESPACES", "ipc:[4026531839], 5"),
        ("MQSPAN__FILTER__EXCLUDE__UIDS", "[]"),
        ("MQSPAN__SAMPLING__RATIO", "0.25"),
        ("mqspan__sampling__always_keep__slower_than", "1m30s"),
        (
            "MQSPAN__EXPORTERS__OTLP__HEADERS",
            "{Authorization: 'Basic $$x', x-n: 0123}",
        ),
        ("MQSPAN__EXPORTERS__OTLP__HEADERS__X_TEAM", "${env:A}"),
        (
            "MQSPAN__RESOURCE__ATTRIBUTES",
            "{a.b: 1, c: '2', d: true, e: text}",
        ),
        ("MQSPAN__LOGS", "{level: debug}"),
        ("MQSPAN__ENRICH__KUBERNETES__NODE_NAME", "123"),
    ])
    .unwrap()
    .config;
    assert_eq!(config.capture.ring_buffer_size, Size::mib(16));
    assert_eq!(
        Vec::from_iter(config.capture.syscalls),
        [Syscall::MqOpen, Syscall::MqTimedreceive]
    );
    assert!(config.capture.payload.enabled);
    assert_eq!(config.filter.include.pids, [1, 2]);
    assert_eq!(config.filter.include.comms, globs(&["a,b", "7"]));
    let inodes = [4_026_531_839, 5].map(NamespaceInode);
    assert_eq!(config.filter.include.namespaces, inodes);
    assert_eq!(config.sampling.ratio, 0.25);
    let slower_than = config.sampling.always_keep.slower_than;
    assert_eq!(slower_than, HumanDuration::seconds(90));
    let headers: Vec<_> = config.exporters.otlp.headers.iter().collect();
    let headers: Vec<_> = headers
        .iter()
        .map(|(k, v)| (k.as_str(), v.expose()))
        .collect();
    assert_eq!(
        headers,
        [
            ("authorization", "Basic $$x"),
            ("x-n", "0123"),
            ("x_team", "${env:A}")
        ]
    );
    let attributes: Vec<_> = config.resource.attributes.into_iter().collect();
    assert_eq!(
        attributes,
        [
            ("a.b".into(), AttributeValue::Int(1)),
            ("c".into(), AttributeValue::String("2".into())),
            ("d".into(), AttributeValue::Bool(true)),
            ("e".into(), AttributeValue::String("text".into())),
        ]
    );
    assert_eq!(config.logs.level, LogLevel::Debug);
    assert_eq!(config.enrich.kubernetes.node_name, "123");
}

#[test]
fn variables_of_kubernetes_services_and_strangers_are_ignored() {
    let loaded = variables(&[
        ("MQSPAN_SERVICE_HOST", "10.0.0.1"),
        ("MQSPAN_SERVICE_PORT", "4317"),
        ("MQSPAN_SERVICE_PORT_OTLP", "4317"),
        ("MQSPAN_PORT", "tcp://10.0.0.1:4317"),
        ("MQSPAN_PORT_4317_TCP", "tcp://10.0.0.1:4317"),
        ("MQSPAN_PORT_4317_TCP_ADDR", "10.0.0.1"),
        ("MQSPAN__DEBUG_SERVICE_HOST", "10.0.0.1"),
        ("MQSPAN__DEBUG_PORT_4317_TCP", "tcp://10.0.0.1:4317"),
        ("MQSPAN", "x"),
        ("MQSPAN_", "x"),
        ("MQSPANS__LOGS__LEVEL", "x"),
        ("XMQSPAN__LOGS__LEVEL", "x"),
        ("ÄÄÄÄÄÄÄÄ", "x"),
        ("MQSPAN__NOTHING__KEY", ""),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn the_same_key_in_two_spellings_is_warned_about() {
    let loaded = variables(&[
        ("MQSPAN__LOGS__LEVEL", "debug"),
        ("mqspan__logs__level", "warn"),
    ])
    .unwrap();
    assert_eq!(loaded.config.logs.level, LogLevel::Warn);
    assert_eq!(
        loaded.warnings,
        ["mqspan__logs__level: overrides MQSPAN__LOGS__LEVEL, which sets the same key"]
    );
}

#[test]
fn standard_variables() {
    let config = variables(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "TRUE"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=general"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "X-Key=a%20b , other = c=d,",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/cert"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "team=a%2Cb,service.name=agent,n=1",
        ),
        ("OTEL_SERVICE_NAME", "agent"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ("OTEL_LOG_LEVEL", "DEBUG"),
    ])
    .unwrap()
    .config;
    let otlp = config.exporters.otlp;
    assert_eq!(otlp.endpoint.url(), "http://collector:4317");
    let headers: Vec<_> = otlp
        .headers
        .iter()
        .map(|(k, v)| (k.as_str(), v.expose()))
        .collect();
    assert_eq!(headers, [("other", "c=d"), ("x-key", "a b")]);
    assert_eq!(otlp.timeout, HumanDuration::millis(1500));
    assert_eq!(otlp.compression, Compression::Gzip);
    assert_eq!(otlp.tls.ca_file, Path::new("/ca"));
    assert_eq!(otlp.tls.key_file, Path::new("/key"));
    assert_eq!(otlp.tls.cert_file, Path::new("/cert"));
    assert_eq!(otlp.batch.flush_timeout, HumanDuration::millis(50));
    assert_eq!(config.metrics.otlp.interval, HumanDuration::seconds(1));
    assert_eq!(config.logs.level, LogLevel::Debug);
    let attributes: Vec<_> = config.resource.attributes.into_iter().collect();
    assert_eq!(
        attributes,
        [
            ("n".into(), AttributeValue::String("1".into())),
            ("team".into(), AttributeValue::String("a,b".into())),
        ]
    );
}

#[test]
fn mappings_merge_with_the_file() {
    let yaml = "exporters: {otlp: {headers: {Authorization: file, x-file: kept}}}\nresource: {attributes: {team: file, n: 1}}\n";
    let env = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=otel"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=otel"),
    ];
    let config = load_text(yaml, &env, &Overrides::new()).unwrap().config;
    let headers = config.exporters.otlp.headers;
    assert_eq!(headers.len(), 2);
    assert_eq!(headers["authorization"].expose(), "otel");
    assert_eq!(headers["x-file"].expose(), "kept");
    let attributes = config.resource.attributes;
    assert_eq!(attributes["team"], AttributeValue::String("otel".into()));
    assert_eq!(attributes["n"], AttributeValue::Int(1));
}

#[test]
fn bad_standard_variables_are_warned_about_and_ignored() {
    let wrong = "expected `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` or `unix:///PATH`";
    let pair = "expected `name=value` pairs between commas, percent-encoded";
    for (name, value, expected) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:/x", format!("found `unix:/x`, {wrong}")),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "localhost", format!("found `localhost`, {wrong}")),
        ("OTEL_EXPORTER_OTLP_INSECURE", "1", "found `1`, expected `true` or `false`".into()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", format!("found an item without `=`, {pair}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,=secret", format!("found a pair without a name, {pair}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", format!("found a malformed `%` sequence, {pair}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%+5", format!("found a malformed `%` sequence, {pair}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%ff", format!("found a malformed `%` sequence, {pair}")),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a=%0A",
            "found a pair that is no HTTP header, expected names of letters, digits and `-`, and values of printable ASCII".into(),
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "found `10s`, expected a whole number of milliseconds above zero".into()),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "found `0`, expected a whole number of milliseconds above zero".into()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzp", "found `gzp`, expected one of `none`, `gzip`, `zstd`; did you mean `gzip`?".into()),
        ("OTEL_LOG_LEVEL", "verbose", "found `verbose`, expected one of `error`, `warn`, `info`, `debug`, `trace`".into()),
        ("OTEL_RESOURCE_ATTRIBUTES", "a", format!("found an item without `=`, {pair}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "found `http/json`, expected one of `grpc`, `http/protobuf`".into()),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http", "found `http`, expected one of `grpc`, `http/protobuf`".into()),
    ] {
        let loaded = variables(&[(name, value)]).unwrap();
        assert_eq!(loaded.config, Config::default(), "{name}={value}");
        assert_eq!(loaded.warnings, [format!("{name}: ignored: {expected}")]);
    }
}

#[test]
fn exporters_and_samplers_are_heeded_or_named() {
    for (variables_, enabled, ratio, warned) in [
        (vec![("OTEL_METRICS_EXPORTER", "none")], false, 1.0, vec![]),
        (vec![("OTEL_METRICS_EXPORTER", "otlp")], true, 1.0, vec![]),
        (
            vec![("OTEL_METRICS_EXPORTER", "console")],
            true,
            1.0,
            vec!["OTEL_METRICS_EXPORTER"],
        ),
        (
            vec![("OTEL_TRACES_SAMPLER", "always_off")],
            true,
            0.0,
            vec![],
        ),
        (
            vec![
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ],
            true,
            0.25,
            vec![],
        ),
        (
            vec![
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "7"),
            ],
            true,
            1.0,
            vec!["OTEL_TRACES_SAMPLER_ARG"],
        ),
        (
            vec![
                ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
                ("OTEL_TRACES_SAMPLER_ARG", "endpoint=http://x"),
            ],
            true,
            1.0,
            vec!["OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"],
        ),
        (
            vec![("OTEL_TRACES_SAMPLER_ARG", "0.5")],
            true,
            1.0,
            vec!["OTEL_TRACES_SAMPLER_ARG"],
        ),
    ] {
        let loaded = variables(&variables_).unwrap();
        let config = loaded.config;
        assert_eq!(config.metrics.otlp.enabled, enabled, "{variables_:?}");
        assert!(
            (config.sampling.ratio - ratio).abs() < 1e-9,
            "{variables_:?}"
        );
        let named: Vec<_> = loaded
            .warnings
            .iter()
            .filter_map(|w| w.split(':').next())
            .collect();
        assert_eq!(named, warned, "{variables_:?}");
    }
}

#[test]
fn variables_without_effect_are_named_unless_they_ask_for_what_is_so() {
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_TRACES_EXPORTER", "otlp,console"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "1"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:4317"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=secret"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://m:4317"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_NO_SUCH_THING", "1"),
    ] {
        let loaded = variables(&[(name, value)]).unwrap();
        assert_eq!(loaded.config, Config::default(), "{name}");
        let [warning] = loaded.warnings.as_slice() else {
            panic!("{name}={value}: {:?}", loaded.warnings);
        };
        assert!(
            warning.starts_with(&format!("{name}: ignored: ")),
            "{warning}"
        );
        assert!(!warning.contains("secret"));
    }
    for same in [
        [
            ("OTEL_SDK_DISABLED", "false"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
        ],
        [("OTEL_LOGS_EXPORTER", "none"), ("OTEL_PROPAGATORS", "")],
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:4317"),
        ],
        [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
        ],
        [
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_PROPAGATORS", ""),
        ],
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                "http://c:1/v1/metrics",
            ),
        ],
        [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/v1/traces"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                "http://c:1/v1/metrics",
            ),
        ],
    ] {
        let warnings = variables(&same).unwrap().warnings;
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn the_log_goes_where_its_variable_says() {
    for (value, enabled, warnings) in [("otlp", true, 0), ("none", false, 0), ("console", false, 1)]
    {
        let loaded = variables(&[("OTEL_LOGS_EXPORTER", value)]).unwrap();
        assert_eq!(loaded.config.logs.otlp.enabled, enabled, "{value}");
        assert_eq!(loaded.warnings.len(), warnings, "{:?}", loaded.warnings);
    }
}

#[test]
fn a_bad_variable_of_the_signal_leaves_the_general_one() {
    let loaded = variables(&[
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "7000"),
    ])
    .unwrap();
    assert_eq!(
        loaded.config.exporters.otlp.timeout,
        HumanDuration::seconds(7)
    );
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn flags_set_what_their_texts_say() {
    let flags = Overrides::new()
        .set("--pid", "filter.include.pids", "[7, 8]")
        .set("--queue", "filter.include.queues", "['[ab]*', '/{c,d}']")
        .set("--min-duration", "filter.min_duration", "5ms")
        .set("--errors", "filter.errors_only", "true");
    let config = load_text("filter: {include: {pids: [1]}}", &[], &flags)
        .unwrap()
        .config;
    assert_eq!(config.filter.include.pids, [7, 8]);
    assert_eq!(config.filter.include.queues, globs(&["[ab]*", "/{c,d}"]));
    assert_eq!(config.filter.min_duration, HumanDuration::millis(5));
    assert!(config.filter.errors_only);
}

#[test]
fn warnings_about_what_is_allowed_and_odd() {
    let yaml = "filter: {include: {comms: [a-name-that-is-long, a-name-that-is-*]}}\nexporters: {otlp: {endpoint: 'http://h:4317/v1/traces', tls: {ca_file: /ca}}}\n";
    assert_eq!(
        file(yaml).unwrap().warnings,
        [
            "mqspan.yaml:1:28: filter.include.comms[0]: `a-name-that-is-long` never matches, because the kernel keeps 15 bytes of a command name; shorten it or end it with `*`",
            "mqspan.yaml:2:20: exporters.otlp.endpoint: the path `/v1/traces` is ignored, because OTLP over gRPC has none",
            "mqspan.yaml:2:57: exporters.otlp.tls: the files have no effect, because the endpoint is not encrypted; write `https://` in `exporters.otlp.endpoint`",
        ]
    );
}

#[test]
fn errnos_leave_the_status_unset() {
    let traces =
        file("traces: {unset_status_errnos: {send: [ETIMEDOUT, EINTR, EWOULDBLOCK, EAGAIN]}}")
            .unwrap()
            .config
            .traces;
    let wanted = [4, 11, 110].map(ErrorCode);
    let unset = traces.unset_status_errnos;
    assert_eq!(Vec::from_iter(unset.send), wanted);
    // The other directions keep their defaults.
    assert_eq!(unset.receive, UnsetStatusErrnos::default().receive);
}
