//! Metrics have the names, types and units of the semantic conventions, or names of our own.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use mqspan::internals::metrics::catalog::{Definition, MetricKind, OWN_METRICS, QUEUE_METRICS};

const REGISTRY: &str = include_str!("conventions/metrics.txt");

fn all() -> impl Iterator<Item = &'static Definition> {
    QUEUE_METRICS.iter().chain(OWN_METRICS)
}

fn is_own(name: &str) -> bool {
    ["mqspan.", "posix_mq."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn instrument(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::UpDownCounter => "updowncounter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}

#[test]
fn metrics_are_the_registrys_or_our_own() {
    let known: BTreeMap<&str, &str> = REGISTRY
        .lines()
        .filter_map(|line| line.strip_prefix("metric ")?.split_once(' '))
        .collect();
    assert!(known.len() > 20);
    for metric in all() {
        let wanted = known.get(metric.name);
        let own = format!("{} {}", instrument(metric.kind), metric.unit);
        match wanted {
            Some(wanted) => assert_eq!(own, *wanted, "{}", metric.name),
            None => assert!(is_own(metric.name), "{}", metric.name),
        }
    }
}

#[test]
fn attributes_are_the_registrys_or_our_own() {
    let known: BTreeSet<&str> = REGISTRY
        .lines()
        .filter_map(|line| line.strip_prefix("attribute "))
        // "Metrics SDK", "Overflow attribute".
        .chain(["otel.metric.overflow"])
        .collect();
    for metric in all() {
        let keys: Vec<_> = metric.attributes.split('`').skip(1).step_by(2).collect();
        for key in keys {
            assert!(
                known.contains(key) || is_own(key),
                "{key} of {}",
                metric.name
            );
        }
    }
}

/// "Naming rules for counters and UpDownCounters" of the conventions.
#[test]
fn names_of_our_own_follow_the_rules() {
    for metric in all().filter(|metric| is_own(metric.name)) {
        let (_, last) = metric.name.rsplit_once('.').unwrap();
        assert!(!metric.name.ends_with("total"), "{}", metric.name);
        let is_plural = last.ends_with('s') && !last.ends_with("ss");
        let may_be = matches!(metric.kind, MetricKind::Gauge);
        assert!(!is_plural || may_be, "{}", metric.name);
    }
}
