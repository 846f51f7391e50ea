//! The full text of every message about a key or a value of the file.

use super::file;

/// Checks that each one-line file fails with `mqspan.yaml:1:` and the given message.
fn fails(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let found = file(text).map(|loaded| loaded.config).unwrap_err();
        assert_eq!(found, format!("mqspan.yaml:1:{expected}"), "{text}");
    }
}

#[test]
fn unknown_keys() {
    fails(&[
        (
            "exporters: {otlp: {endpont: x}}",
            "20: exporters.otlp.endpont: unknown key, expected one of `enabled`, `protocol`, `endpoint`, `headers`, `compression`, `timeout`, `max_request_size`, `tls`, `retry_on_failure`, `sending_queue`, `batch`; did you mean `endpoint`?",
        ),
        (
            "exporter: {otlp: {}}",
            "1: exporter: unknown key, expected one of `capture`, `filter`, `sampling`, `traces`, `enrich`, `resource`, `exporters`, `metrics`, `health`, `logs`; did you mean `exporters`?",
        ),
        (
            "logs.level: info",
            r#"1: ["logs.level"]: unknown key, expected one of `capture`, `filter`, `sampling`, `traces`, `enrich`, `resource`, `exporters`, `metrics`, `health`, `logs`"#,
        ),
        (
            "colour: 1",
            "1: colour: unknown key, expected one of `capture`, `filter`, `sampling`, `traces`, `enrich`, `resource`, `exporters`, `metrics`, `health`, `logs`",
        ),
        (
            "filter: {include: {pid: [1]}}",
            "20: filter.include.pid: unknown key, expected one of `pids`, `comms`, `uids`, `queues`, `namespaces`, `containers`; did you mean `pids`?",
        ),
    ]);
}

#[test]
fn filter_values() {
    fails(&[
        (
            "filter: {errors_only: 'true'}",
            "10: filter.errors_only: found the string `true`, expected `true` or `false`",
        ),
        (
            "filter: {errors_only: 1}",
            "10: filter.errors_only: found the integer `1`, expected `true` or `false`",
        ),
        (
            "filter: {errors_only: yes}",
            "10: filter.errors_only: found the string `yes`, expected `true` or `false`",
        ),
        (
            "filter: {errors_only: [true]}",
            "10: filter.errors_only: found a list, expected `true` or `false`",
        ),
        (
            "filter: {min_duration: 10}",
            r#"10: filter.min_duration: found `10`, expected a duration with a unit, such as "5s", "200ms" or "1m30s""#,
        ),
        (
            "filter: {min_duration: 10 s}",
            r#"10: filter.min_duration: found `10 s`, expected a duration with a unit, such as "5s", "200ms" or "1m30s""#,
        ),
        (
            "filter: {min_duration: true}",
            r#"10: filter.min_duration: found the boolean `true`, expected a duration with a unit, such as "5s", "200ms" or "1m30s""#,
        ),
        (
            "filter: {min_duration: [5s]}",
            r#"10: filter.min_duration: found a list, expected a duration with a unit, such as "5s", "200ms" or "1m30s""#,
        ),
        (
            "filter: {include: {pids: 1}}",
            "20: filter.include.pids: found an integer, expected a list such as `[a, b]`",
        ),
        (
            "filter: {include: {pids: [1, x]}}",
            "30: filter.include.pids[1]: found the string `x`, expected an integer from 0 to 4294967295",
        ),
        (
            "filter: {include: {pids: [1, -1]}}",
            "30: filter.include.pids[1]: found the integer `-1`, expected an integer from 0 to 4294967295",
        ),
        (
            "filter: {include: {pids: [1.5]}}",
            "27: filter.include.pids[0]: found the number `1.5`, expected an integer from 0 to 4294967295",
        ),
        (
            "filter: {include: {pids: [~]}}",
            "27: filter.include.pids[0]: found nothing, expected an integer from 0 to 4294967295",
        ),
        (
            "filter: {include: {pids: [0]}}",
            "27: filter.include.pids[0]: found 0, expected a process id of at least 1",
        ),
        (
            "filter: {include: {comms: [1]}}",
            "28: filter.include.comms[0]: found an integer, expected a string; put the value in quotes",
        ),
        (
            "filter: {include: {comms: ['']}}",
            "28: filter.include.comms[0]: found an empty pattern, which matches nothing, expected a glob such as `a*`",
        ),
        (
            "filter: {include: {queues: ['/a[']}}",
            "29: filter.include.queues[0]: found the malformed glob `/a[` (unclosed character class; missing ']'), expected a glob such as `a*`; write `\\[` or `\\{` for the characters themselves",
        ),
        (
            "filter: {exclude: {containers: ['{a']}}",
            "33: filter.exclude.containers[0]: found the malformed glob `{a` (unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)), expected a glob such as `a*`; write `\\[` or `\\{` for the characters themselves",
        ),
        (
            "filter: {include: {namespaces: [0]}}",
            r#"33: filter.include.namespaces[0]: found the integer `0`, expected an inode number from 1 to 4294967295, such as 4026531839 or "ipc:[4026531839]""#,
        ),
        (
            "filter: {include: {namespaces: ['net:[1]']}}",
            r#"33: filter.include.namespaces[0]: found the string `net:[1]`, expected an inode number from 1 to 4294967295, such as 4026531839 or "ipc:[4026531839]""#,
        ),
        (
            "filter: 1",
            "1: filter: found an integer, expected a mapping of `include`, `exclude`, `min_duration`, `errors_only`",
        ),
        (
            "filter: []",
            "1: filter: found a list, expected a mapping of `include`, `exclude`, `min_duration`, `errors_only`",
        ),
    ]);
}

#[test]
fn capture_values() {
    fails(&[
        (
            "capture: {backend: ebpf}",
            "11: capture.backend: found `ebpf`, expected one of `auto`, `fentry`, `kprobe`, `tracepoint`",
        ),
        (
            "capture: {backend: kprobes}",
            "11: capture.backend: found `kprobes`, expected one of `auto`, `fentry`, `kprobe`, `tracepoint`; did you mean `kprobe`?",
        ),
        (
            "capture: {backend: 1}",
            "11: capture.backend: found the integer `1`, expected one of `auto`, `fentry`, `kprobe`, `tracepoint`",
        ),
        (
            "capture: {syscalls: [mq_timedrecieve]}",
            "22: capture.syscalls[0]: found `mq_timedrecieve`, expected one of `mq_open`, `mq_unlink`, `mq_timedsend`, `mq_timedreceive`, `mq_notify`, `mq_getsetattr`; did you mean `mq_timedreceive`?",
        ),
        (
            "capture: {syscalls: []}",
            "11: capture.syscalls: found an empty list, expected at least one name, such as `mq_timedreceive`; leave the key out to get all",
        ),
        (
            "capture: {abis: [i386]}",
            "18: capture.abis[0]: found `i386`, expected one of `native`, `compat`",
        ),
        (
            "capture: {abis: []}",
            "11: capture.abis: found an empty list, expected at least one name, such as `native`; leave the key out to get all",
        ),
        (
            "capture: {ring_buffer_size: 8MB}",
            r#"11: capture.ring_buffer_size: found `8MB`, expected a size such as "64MiB", "4KiB", "512B" or a whole number of bytes"#,
        ),
        (
            "capture: {ring_buffer_size: -1}",
            r#"11: capture.ring_buffer_size: found `-1`, expected a size such as "64MiB", "4KiB", "512B" or a whole number of bytes"#,
        ),
        (
            "capture: {ring_buffer_size: 1.5}",
            r#"11: capture.ring_buffer_size: found the number `1.5`, expected a size such as "64MiB", "4KiB", "512B" or a whole number of bytes"#,
        ),
        (
            "capture: {max_in_flight: 0}",
            "11: capture.max_in_flight: found 0, expected 1 to 4194304, the kernel's limit of threads",
        ),
        (
            "capture: {max_in_flight: 5000000}",
            "11: capture.max_in_flight: found 5000000, expected 1 to 4194304, the kernel's limit of threads",
        ),
        (
            "capture: {max_in_flight: 5000000000}",
            "11: capture.max_in_flight: found the integer `5000000000`, expected an integer from 0 to 4294967295",
        ),
        (
            "capture: {payload: {max_bytes: 0}}",
            "21: capture.payload.max_bytes: found 0, expected 1 to 4096; to capture none set `capture.payload.enabled: false`",
        ),
    ]);
}

#[test]
fn sampling_traces_and_resource_values() {
    fails(&[
        (
            "sampling: {ratio: 1.5}",
            "12: sampling.ratio: found 1.5, expected a number from 0 to 1",
        ),
        (
            "sampling: {ratio: .nan}",
            "12: sampling.ratio: found NaN, expected a number from 0 to 1",
        ),
        (
            "sampling: {ratio: high}",
            "12: sampling.ratio: found the string `high`, expected a number",
        ),
        (
            "traces: {correlation: child}",
            "10: traces.correlation: found `child`, expected one of `parent`, `link`, `none`",
        ),
        (
            "traces: {unset_status_errnos: {receive: [ETIMEOUT]}}",
            "42: traces.unset_status_errnos.receive[0]: found `ETIMEOUT`, expected the name of a Linux error code, such as `ETIMEDOUT`; did you mean `ETIMEDOUT`?",
        ),
        (
            "traces: {unset_status_errnos: {other: [110]}}",
            "40: traces.unset_status_errnos.other[0]: found an integer, expected a string; put the value in quotes",
        ),
        (
            "resource: {attributes: {a: [1]}}",
            "25: resource.attributes.a: found a list, expected a string, an integer, a finite number or a boolean",
        ),
        (
            "resource: {attributes: {a.b: {}}}",
            r#"25: resource.attributes["a.b"]: found a mapping, expected a string, an integer, a finite number or a boolean"#,
        ),
        (
            "resource: {attributes: {a: .inf}}",
            "25: resource.attributes.a: found the number `inf`, expected a string, an integer, a finite number or a boolean",
        ),
        (
            "resource: {attributes: {'': 1}}",
            "12: resource.attributes: found an attribute with an empty name, expected a name such as `team`",
        ),
        (
            "resource: {attributes: [1]}",
            "12: resource.attributes: found a list, expected a mapping such as `{name: value}`",
        ),
    ]);
}

#[test]
fn exporter_values() {
    fails(&[
        (
            "exporters: {otlp: {endpoint: 'unix://run/x'}}",
            "20: exporters.otlp.endpoint: found `unix://run/x`, expected `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` or `unix:///PATH`; PATH is absolute, up to 107 bytes",
        ),
        (
            "exporters: {otlp: {protocol: http/json}}",
            "20: exporters.otlp.protocol: found `http/json`, expected one of `grpc`, `http/protobuf`",
        ),
        (
            "exporters: {otlp: {endpoint: 'otel'}}",
            "20: exporters.otlp.endpoint: found `otel`, expected `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` or `unix:///PATH`",
        ),
        (
            "exporters: {otlp: {endpoint: 4317}}",
            "20: exporters.otlp.endpoint: found an integer, expected a string; put the value in quotes",
        ),
        (
            "exporters: {otlp: {headers: {a: 12345}}}",
            "30: exporters.otlp.headers.a: found an integer, expected a string; put the value in quotes",
        ),
        (
            "exporters: {otlp: {headers: secret}}",
            "20: exporters.otlp.headers: found a string, expected a mapping such as `{name: value}`",
        ),
        (
            "exporters: {otlp: {headers: {a b: c}}}",
            r#"30: exporters.otlp.headers["a b"]: found a name that is no HTTP header, expected letters, digits and `-`, such as `x-api-key`"#,
        ),
        (
            "exporters: {otlp: {headers: {grpc-timeout: c}}}",
            "30: exporters.otlp.headers.grpc-timeout: found a header that the exporter sets itself; leave it out",
        ),
        (
            "exporters: {otlp: {headers: {x-bin: c}}}",
            "30: exporters.otlp.headers.x-bin: found a binary header, expected a name that does not end in `-bin`",
        ),
        (
            r#"exporters: {otlp: {headers: {x: "a\nb"}}}"#,
            "30: exporters.otlp.headers.x: found a value with characters that a header cannot hold, expected printable ASCII",
        ),
        (
            "exporters: {otlp: {headers: {x: a, X: b}}}",
            "36: exporters.otlp.headers.x: found the header twice, in different case, expected it once",
        ),
        (
            "exporters: {otlp: {compression: snappy}}",
            "20: exporters.otlp.compression: found `snappy`, expected one of `none`, `gzip`, `zstd`",
        ),
    ]);
}

#[test]
fn exporter_limits() {
    fails(&[
        (
            "exporters: {otlp: {timeout: 0s}}",
            "20: exporters.otlp.timeout: found 0s, expected a duration above zero",
        ),
        (
            "exporters: {otlp: {tls: {cert_file: /c}}}",
            "26: exporters.otlp.tls.cert_file: found a certificate without a key, expected both; set `exporters.otlp.tls.key_file`",
        ),
        (
            "exporters: {otlp: {tls: {key_file: /k}}}",
            "26: exporters.otlp.tls.key_file: found a key without a certificate, expected both; set `exporters.otlp.tls.cert_file`",
        ),
        (
            "exporters: {otlp: {retry_on_failure: {initial_interval: 1m}}}",
            "39: exporters.otlp.retry_on_failure.initial_interval: found 1m, expected at most `max_interval`, which is 30s",
        ),
        (
            "exporters: {otlp: {retry_on_failure: {initial_interval: 0s}}}",
            "39: exporters.otlp.retry_on_failure.initial_interval: found 0s, expected a duration above zero",
        ),
        (
            "exporters: {otlp: {retry_on_failure: {multiplier: 0.9}}}",
            "39: exporters.otlp.retry_on_failure.multiplier: found 0.9, expected a number of at least 1",
        ),
        (
            "exporters: {otlp: {retry_on_failure: {multiplier: .nan}}}",
            "39: exporters.otlp.retry_on_failure.multiplier: found NaN, expected a number of at least 1",
        ),
        (
            "exporters: {otlp: {retry_on_failure: {randomization_factor: 2}}}",
            "39: exporters.otlp.retry_on_failure.randomization_factor: found 2, expected a number from 0 to 1",
        ),
        (
            "exporters: {otlp: {retry_on_failure: {max_elapsed_time: 5s}}}",
            "39: exporters.otlp.retry_on_failure.max_elapsed_time: found 5s, expected at least `max_interval`, which is 30s, or 0s to retry for ever",
        ),
        (
            "exporters: {otlp: {sending_queue: {queue_size: 1KiB}}}",
            "36: exporters.otlp.sending_queue.queue_size: found 1KiB, expected room for one batch; `exporters.otlp.batch.max_size` is 1MiB",
        ),
        (
            "exporters: {otlp: {sending_queue: {storage: {max_size: 1KiB}}}}",
            "46: exporters.otlp.sending_queue.storage.max_size: found 1KiB, expected room for one batch; `exporters.otlp.batch.max_size` is 1MiB",
        ),
        (
            "exporters: {otlp: {sending_queue: {num_consumers: 0}}}",
            "36: exporters.otlp.sending_queue.num_consumers: found 0, expected 1 to 1024",
        ),
        (
            "exporters: {otlp: {batch: {max_size: 5MiB}}}",
            "28: exporters.otlp.batch.max_size: found 5MiB, expected at most `exporters.otlp.max_request_size`, which is 4MiB",
        ),
        (
            "exporters: {otlp: {batch: {flush_timeout: 0s}}}",
            "28: exporters.otlp.batch.flush_timeout: found 0s, expected a duration above zero",
        ),
    ]);
}

#[test]
fn kubernetes_needs_its_node() {
    let rest = "enrich.kubernetes.node_name: found nothing, expected the name of the node whose pods to watch; in a pod, set `${env:NODE_NAME}` and take that variable from `spec.nodeName`";
    fails(&[(
        "enrich: {kubernetes: {enabled: true, node_name: ''}}",
        &format!("38: {rest}"),
    )]);
    let found = file("enrich: {kubernetes: {enabled: true}}").map(|loaded| loaded.config);
    assert_eq!(found.unwrap_err(), rest);
    assert!(file("enrich: {kubernetes: {enabled: false}}").is_ok());
}

#[test]
fn address_and_log_values() {
    fails(&[
        (
            "metrics: {otlp: {interval: 0s}}",
            "18: metrics.otlp.interval: found 0s, expected a duration above zero",
        ),
        (
            "metrics: {prometheus: {address: ':9464'}}",
            "24: metrics.prometheus.address: found `:9464`, expected an IP address and a port, such as `127.0.0.1:13133`, `[::]:13133` or `localhost:13133`; leave it empty to switch it off",
        ),
        (
            "health: {address: 'example.com:80'}",
            "10: health.address: found `example.com:80`, expected an IP address and a port, such as `127.0.0.1:13133`, `[::]:13133` or `localhost:13133`; leave it empty to switch it off",
        ),
        (
            "logs: {level: INFO}",
            "8: logs.level: found `INFO`, expected one of `error`, `warn`, `info`, `debug`, `trace`; did you mean `info`?",
        ),
        (
            "logs: {format: logfmt}",
            "8: logs.format: found `logfmt`, expected one of `text`, `json`",
        ),
    ]);
}
