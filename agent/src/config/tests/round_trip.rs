//! A printed configuration loads to the same configuration and shows no secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::{file, load_text};
use crate::config::{
    Abi, AlwaysKeep, AttributeValue, BackendChoice, Capture, Compression, Config, ErrorCode,
    Exporters, FileExporter, Filter, Globs, Health, HumanDuration, Kubernetes, ListenAddress,
    LogLevel, NamespaceInode, Overrides, Payload, Resource, Sampling, Selector, Size, Syscall,
    Traces, UnsetStatusErrnos, print,
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z$:{}# \\-'\"\\[\\],&*!|>%@`~?\\\\]{1,12}",
        Just("${env:X}".to_owned()),
        Just("true".to_owned()),
        Just("0123".to_owned()),
        Just("http://a:1".to_owned()),
        Just("\u{85}\u{2028}\u{feff}\r\n\t".to_owned()),
    ]
}

fn given_text() -> impl Strategy<Value = String> {
    text().prop_filter("empty is off", |text| !text.is_empty())
}

fn attribute() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        text().prop_map(AttributeValue::String),
        any::<i64>().prop_map(AttributeValue::Int),
        any::<f64>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(AttributeValue::Double),
        any::<bool>().prop_map(AttributeValue::Bool),
    ]
}

fn globs() -> impl Strategy<Value = Globs> {
    proptest::collection::vec("[a-z*?/ $-]{1,8}", 0..3).prop_map(|p| Globs::new(&p).unwrap())
}

fn selector() -> impl Strategy<Value = Selector> {
    let ids = || proptest::collection::vec(1..=u32::MAX, 0..3);
    (ids(), globs(), ids(), globs(), ids(), globs()).prop_map(
        |(pids, comms, uids, queues, namespaces, containers)| Selector {
            pids,
            comms,
            uids,
            queues,
            namespaces: namespaces.into_iter().map(NamespaceInode).collect(),
            containers,
        },
    )
}

fn config() -> impl Strategy<Value = Config> {
    let first = (
        selector(),
        selector(),
        any::<u64>(),
        any::<bool>(),
        0.0..=1.0_f64,
        0_u64..3,
        given_text(),
    );
    let second = (
        proptest::collection::btree_map(given_text(), attribute(), 0..4),
        12_u32..=31,
        1_u32..=4096,
        given_text(),
        any::<[u8; 4]>(),
        any::<u16>(),
    );
    (first, second).prop_map(move |(first, second)| {
        let (include, exclude, min, errors_only, ratio, slower, node) = first;
        let (attributes, ring, max_bytes, path, ip, port) = second;
        Config {
            capture: Capture {
                backend: BackendChoice::ALL[port as usize % BackendChoice::ALL.len()],
                syscalls: [Syscall::MqOpen, Syscall::MqNotify].into(),
                abis: [Abi::Compat].into(),
                ring_buffer_size: Size(1 << ring.max(16)),
                max_in_flight: max_bytes,
                payload: Payload {
                    enabled: errors_only,
                    max_bytes,
                },
            },
            filter: Filter {
                include,
                exclude,
                min_duration: HumanDuration(Duration::from_nanos(min)),
                errors_only,
            },
            sampling: Sampling {
                ratio,
                always_keep: AlwaysKeep {
                    errors: errors_only,
                    slower_than: HumanDuration::millis(slower),
                },
            },
            traces: Traces {
                unset_status_errnos: UnsetStatusErrnos {
                    send: [1, 110].map(ErrorCode).into(),
                    receive: [].into(),
                    other: [4].map(ErrorCode).into(),
                },
                body_size: true,
                destination_templates: Globs::new(&["/reply-*", "tmp?"]).unwrap(),
                ..Traces::default()
            },
            enrich: crate::config::Enrich {
                kubernetes: Kubernetes {
                    enabled: true,
                    node_name: node,
                    labels: errors_only,
                },
                ..Default::default()
            },
            resource: Resource { attributes },
            exporters: Exporters {
                file: FileExporter {
                    path: path.into(),
                    max_size: Size(min),
                    max_files: max_bytes,
                },
                ..Exporters::default()
            },
            health: Health {
                address: ListenAddress(Some((ip, port).into())),
            },
            ..Config::default()
        }
    })
}

proptest! {
    #[test]
    fn printed_configurations_load_to_themselves(config in config()) {
        let printed = print::to_yaml(&config);
        let loaded = file(&printed).map_err(|error| format!("{error}\n{printed}"));
        prop_assert_eq!(loaded.map(|loaded| loaded.config), Ok(config), "{}", printed);
    }

    #[test]
    fn no_file_panics(text in "[a-z:{}\\[\\]&*!|>'\"%@`#, \n\t$~?-]{0,60}") {
        let printed = file(&text).map(|loaded| print::to_yaml(&loaded.config));
        prop_assert_eq!(printed.is_ok_and(|printed| printed.is_empty()), false);
    }
}

#[test]
fn the_default_prints_as_documented() {
    let printed = print::to_yaml(&Config::default());
    assert!(printed.starts_with("capture:\n  backend: auto\n  syscalls: [mq_open, mq_unlink, mq_timedsend, mq_timedreceive, mq_notify, mq_getsetattr]\n  abis: [native, compat]\n  ring_buffer_size: 8MiB\n"), "{printed}");
    assert!(
        printed.contains("    endpoint: http://localhost:4317\n    headers: {}\n"),
        "{printed}"
    );
    assert!(
        printed.ends_with("logs:\n  level: info\n  format: text\n  otlp:\n    enabled: false\n"),
        "{printed}"
    );
    assert_eq!(file(&printed).unwrap().config, Config::default());
}

#[test]
fn secrets_are_masked_when_printed_and_debugged() {
    let yaml = "exporters:\n  otlp:\n    endpoint: https://user:hunter2@otel:4317\n    headers: {authorization: 'Bearer ${env:TOKEN}', x-key: hunter2}\n";
    let config = load_text(yaml, &[("TOKEN", "hunter2")], &Overrides::new())
        .unwrap()
        .config;
    let headers: BTreeMap<_, _> = config.exporters.otlp.headers.clone();
    assert_eq!(headers["authorization"].expose(), "Bearer hunter2");
    assert_eq!(
        config.exporters.otlp.endpoint.userinfo(),
        Some("user:hunter2")
    );
    let printed = print::to_yaml(&config);
    assert!(printed.contains("    endpoint: \"https://[REDACTED]@otel:4317\"\n    headers:\n      authorization: \"[REDACTED]\"\n      x-key: \"[REDACTED]\"\n"), "{printed}");
    for shown in [printed, format!("{config:?}"), format!("{config:#?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("[REDACTED]"), "{shown}");
    }
    assert_eq!(config.exporters.otlp.compression, Compression::None);
    assert_eq!(config.logs.level, LogLevel::Info);
}
