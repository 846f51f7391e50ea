//! The OpenTelemetry semantic conventions of the release that the agent names
//! in `schema_url`: names, types and units, from `semconv.tsv`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::span::Value;

/// Prefixes of names that are mqspan's own.
const OWN: [&str; 2] = ["posix_mq.", "mqspan."];

struct Registry {
    schema_url: &'static str,
    /// Type by name.
    attributes: HashMap<&'static str, &'static str>,
    /// Instrument and unit by name.
    metrics: HashMap<&'static str, (&'static str, &'static str)>,
    /// Type, attribute and role.
    entities: Vec<(&'static str, &'static str, &'static str)>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut registry = Registry {
        schema_url: "",
        attributes: HashMap::new(),
        metrics: HashMap::new(),
        entities: Vec::new(),
    };
    for line in include_str!("semconv.tsv").lines() {
        let fields: Vec<_> = line.split('\t').collect();
        match fields[..] {
            ["schema_url", url] => registry.schema_url = url,
            ["attribute", name, kind] => drop(registry.attributes.insert(name, kind)),
            ["metric", name, instrument, unit] => {
                registry.metrics.insert(name, (instrument, unit));
            }
            ["entity", name, attribute, role] => registry.entities.push((name, attribute, role)),
            _ => assert!(line.starts_with('#'), "semconv.tsv: {line:?}"),
        }
    }
    registry
});

/// The `schema_url` of the release.
pub fn schema_url() -> &'static str {
    REGISTRY.schema_url
}

/// Type of an entity, one of its attributes, and the attribute's role: `identifying`,
/// `descriptive`, or `-` where none is given.
pub fn entities() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    REGISTRY.entities.iter().copied()
}

/// The type of an attribute. `None` for an unknown one.
pub fn attribute_type(name: &str) -> Option<&'static str> {
    REGISTRY.attributes.get(name).copied()
}

/// Named by the "Metrics SDK" specification, "Cardinality limits", and not by the conventions.
const OVERFLOW: &str = "otel.metric.overflow";

fn is_own(name: &str) -> bool {
    OWN.iter().any(|prefix| name.starts_with(prefix))
}

/// What is wrong with an attribute, if anything: an unknown name or another type.
pub fn attribute_problem(name: &str, value: &Value) -> Option<String> {
    if is_own(name) || name == OVERFLOW {
        return None;
    }
    let of_template = || {
        // `k8s.pod.label.<key>` has the type template[string] under `k8s.pod.label`.
        let dots = name.match_indices('.').map(|(at, _)| at);
        let parents = dots.filter_map(|at| REGISTRY.attributes.get(name.get(..at)?));
        parents
            .filter_map(|kind| kind.strip_prefix("template[")?.strip_suffix(']'))
            .next_back()
    };
    let Some(kind) = attribute_type(name).or_else(of_template) else {
        return Some(format!("{name} is not in {}", schema_url()));
    };
    let is_right = match value {
        Value::Str(_) => kind == "string",
        Value::Int(_) => kind == "int",
        Value::Double(_) => kind == "double",
        Value::Bool(_) => kind == "boolean",
        Value::Strings(_) => kind == "string[]",
        _ => false,
    };
    (!is_right).then(|| format!("{name} is {value}, and not of the type {kind}"))
}

/// What is wrong with a metric, if anything: an unknown name, another instrument (`counter`,
/// `updowncounter`, `gauge`, `histogram`) or another unit.
pub fn metric_problem(name: &str, instrument: &str, unit: &str) -> Option<String> {
    match REGISTRY.metrics.get(name) {
        Some(&right) if right == (instrument, unit) => None,
        Some((right_instrument, right_unit)) => Some(format!(
            "{name} is a {instrument} in {unit}, and not a {right_instrument} in {right_unit}"
        )),
        None if is_own(name) => None,
        None => Some(format!("{name} is not in {}", schema_url())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_types_and_units_are_compared() {
        for (name, value, is_right) in [
            ("messaging.destination.name", Value::from("/q"), true),
            ("messaging.destination.name", Value::from(1), false),
            ("messaging.destination.temporary", Value::Bool(true), true),
            ("thread.id", Value::from(1), true),
            ("thread.id", Value::from("1"), false),
            ("k8s.pod.label.app", Value::from("x"), true),
            ("k8s.pod.lable.app", Value::from("x"), false),
            ("posix_mq.anything", Value::from("x"), true),
            ("messaging.system.name", Value::from("x"), false),
        ] {
            let problem = attribute_problem(name, &value);
            assert_eq!(problem.is_none(), is_right, "{problem:?}");
        }
        for (name, instrument, unit, is_right) in [
            (
                "messaging.client.operation.duration",
                "histogram",
                "s",
                true,
            ),
            (
                "messaging.client.operation.duration",
                "histogram",
                "ms",
                false,
            ),
            ("process.cpu.time", "gauge", "s", false),
            ("mqspan.call.count", "counter", "{call}", true),
            ("call.count", "counter", "{call}", false),
        ] {
            let problem = metric_problem(name, instrument, unit);
            assert_eq!(problem.is_none(), is_right, "{problem:?}");
        }
        let of_process = entities().filter(|(entity, ..)| *entity == "process");
        let identifying = of_process.filter(|(.., role)| *role == "identifying");
        let ids: BTreeSet<_> = identifying.map(|(_, attribute, _)| attribute).collect();
        assert_eq!(
            ids,
            BTreeSet::from(["process.creation.time", "process.pid"])
        );
    }
}
