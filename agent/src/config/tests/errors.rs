//! Every message in full.

use super::{file, load_text, variables};
use crate::config::Overrides;

/// Checks that a file of one line fails with `mqspan.yaml:1:COLUMN: ` and the rest of the message.
fn fails(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let found = file(text).unwrap_err();
        assert_eq!(found, format!("mqspan.yaml:1:{expected}"), "{text}");
    }
}

#[test]
fn unknown_keys() {
    fails(&[
        (
            "exporters: {otlp: {endpont: x}}",
            "20: exporters.otlp.endpont: unknown key, expected one of `endpoint`, `headers`, `compression`, `timeout`, `max_request_size`, `tls`, `retry_on_failure`, `sending_queue`, `batch`; did you mean `endpoint`?",
        ),
        ("x: 1", "1: x: unknown key"),
    ]);
}
