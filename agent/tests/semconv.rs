//! Names, types and units against the registry of the release that `schema_url` names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod reference;

use mqspan::internals::config::Correlation;
use mqspan::internals::encode::SCHEMA_URL;
use mqspan::internals::event::{Call, Notify, OpenArguments, Operation, Timeout};
use mqspan::internals::metrics::catalog::{self, MetricKind};
use mqspan::internals::span::{AttributeSink, Span};
use mqspan_testkit::semconv::{attribute_problem, metric_problem, schema_url};
use mqspan_testkit::span::Value;

/// Problems of the attributes that it is given, and how many there were.
#[derive(Default)]
struct Problems {
    seen: usize,
    found: Vec<String>,
}

impl Problems {
    fn look(&mut self, key: &str, value: &Value) {
        self.seen += 1;
        self.found.extend(attribute_problem(key, value));
    }
}

impl AttributeSink for Problems {
    fn text(&mut self, key: &'static str, value: &str) {
        self.look(key, &Value::from(value));
    }
    fn int(&mut self, key: &'static str, value: i64) {
        self.look(key, &Value::from(value));
    }
    fn double(&mut self, key: &'static str, value: f64) {
        self.look(key, &Value::Double(value));
    }
    fn bool(&mut self, key: &'static str, value: bool) {
        self.look(key, &Value::Bool(value));
    }
    fn bytes(&mut self, key: &'static str, value: &[u8]) {
        self.look(key, &Value::Bytes(value.to_owned()));
    }
}

#[test]
fn the_schema_is_that_of_the_registry() {
    assert_eq!(SCHEMA_URL, schema_url());
}

#[test]
fn attributes_of_spans_are_in_the_registry() {
    let mut settings = reference::settings(Correlation::Parent);
    settings.traces.body_size = true;
    let mut problems = Problems::default();
    for operation in [
        Operation::MqOpen,
        Operation::MqUnlink,
        Operation::MqTimedsend,
        Operation::MqTimedreceiveTime32,
        Operation::MqNotify,
        Operation::MqGetsetattr,
    ] {
        for ret in [0, -90] {
            for sec in [1, -1] {
                let call = Call {
                    operation,
                    ret,
                    timeout: Some(Timeout { sec, nsec: 0 }),
                    nonblocking: Some(true),
                    depth: Some(10),
                    unlinked: true,
                    start_unknown: true,
                    restarts: Some(1),
                    open: Some(OpenArguments {
                        oflag: 0o102,
                        mode: 0o600,
                    }),
                    notify: Some(Notify::Register {
                        notify: 0,
                        signo: 10,
                    }),
                    payload: Some(b"x"),
                    ..reference::full_receive()
                };
                Span::new(&call, &settings, reference::unix_ns(&call)).attributes(&mut problems);
            }
        }
    }
    assert_eq!(problems.found, Vec::<String>::new());
    assert!(problems.seen > 400, "{} attributes", problems.seen);
}

#[test]
fn metrics_are_in_the_registry_or_our_own() {
    let mut problems = Vec::new();
    for definition in catalog::QUEUE_METRICS.iter().chain(catalog::OWN_METRICS) {
        let instrument = match definition.kind {
            MetricKind::Counter => "counter",
            MetricKind::UpDownCounter => "updowncounter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        problems.extend(metric_problem(definition.name, instrument, definition.unit));
        // Each is set with some value; its type is compared where it is received.
        for key in definition.attributes.split('`').skip(1).step_by(2) {
            let unknown = attribute_problem(key, &Value::Other(String::new()));
            problems.extend(unknown.filter(|problem| problem.contains(" is not in ")));
        }
    }
    assert_eq!(problems, Vec::<String>::new());
}

/// "Naming rules for counters and UpDownCounters" of the conventions.
#[test]
fn names_of_our_own_metrics_follow_the_rules() {
    let own = catalog::QUEUE_METRICS.iter().chain(catalog::OWN_METRICS);
    let own = own.filter(|metric| {
        ["mqspan.", "posix_mq."]
            .iter()
            .any(|own| metric.name.starts_with(own))
    });
    for metric in own {
        assert!(!metric.name.ends_with("total"), "{}", metric.name);
        let is_plural = metric.name.ends_with('s') && !metric.name.ends_with("ss");
        let may_be = matches!(metric.kind, MetricKind::Gauge);
        assert!(!is_plural || may_be, "{}", metric.name);
    }
}
