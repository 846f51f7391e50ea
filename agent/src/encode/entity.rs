//! The entities that a resource describes: OTLP's `EntityRef`.
//!
//! Types and keys are those of the semantic conventions' registry, version
//! 1.44.0. It gives `container` and `host` no identifying attribute yet; theirs
//! are those of the specification's "Entity Data Model", as is the rule that an
//! entity is named only if all its identifying attributes are known.

use opentelemetry_semantic_conventions::attribute as semconv;

struct Kind {
    name: &'static str,
    id_keys: &'static [&'static str],
    description_keys: &'static [&'static str],
    /// What further keys of its description start with.
    described_by: Option<&'static str>,
}

const fn kind(
    name: &'static str,
    id_keys: &'static [&'static str],
    description_keys: &'static [&'static str],
) -> Kind {
    Kind {
        name,
        id_keys,
        description_keys,
        described_by: None,
    }
}

/// From the most specific to the most general.
const KINDS: [Kind; 12] = [
    kind(
        "process",
        &[semconv::PROCESS_PID, semconv::PROCESS_CREATION_TIME],
        &[semconv::PROCESS_OWNER],
    ),
    kind("service.instance", &[semconv::SERVICE_INSTANCE_ID], &[]),
    kind(
        "service",
        &[semconv::SERVICE_NAME],
        &[semconv::SERVICE_VERSION, semconv::SERVICE_CRITICALITY],
    ),
    kind("service.namespace", &[semconv::SERVICE_NAMESPACE], &[]),
    kind("container", &[semconv::CONTAINER_ID], &[]),
    kind("k8s.container", &[semconv::K8S_CONTAINER_NAME], &[]),
    Kind {
        described_by: Some(POD_LABEL),
        ..kind("k8s.pod", &[semconv::K8S_POD_UID], &[semconv::K8S_POD_NAME])
    },
    kind("k8s.namespace", &[semconv::K8S_NAMESPACE_NAME], &[]),
    kind(
        "k8s.node",
        &[semconv::K8S_NODE_UID],
        &[semconv::K8S_NODE_NAME],
    ),
    kind(
        "k8s.cluster",
        &[semconv::K8S_CLUSTER_UID],
        &[semconv::K8S_CLUSTER_NAME],
    ),
    kind(
        "host",
        &[semconv::HOST_ID],
        &[semconv::HOST_NAME, semconv::HOST_ARCH, semconv::HOST_IP],
    ),
    kind(
        "telemetry.distro",
        &[semconv::TELEMETRY_DISTRO_NAME],
        &[semconv::TELEMETRY_DISTRO_VERSION],
    ),
];

/// `k8s.pod.label.<key>` of the semantic conventions.
const POD_LABEL: &str = "k8s.pod.label.";

/// An entity that a resource describes. All keys are the resource's.
#[derive(Debug, PartialEq, Eq)]
pub struct Entity<'a> {
    pub kind: &'static str,
    pub id_keys: &'static [&'static str],
    pub description_keys: Vec<&'a str>,
}

/// The entities that attributes with these keys describe.
pub fn entities<'a>(
    keys: impl Iterator<Item = &'a str> + Clone,
) -> impl Iterator<Item = Entity<'a>> {
    KINDS.iter().filter_map(move |kind| {
        let has = |id: &&str| keys.clone().any(|key| key == *id);
        if !kind.id_keys.iter().all(has) {
            return None;
        }
        let describes = |key: &&str| {
            let is_further = |prefix: &str| key.starts_with(prefix);
            kind.description_keys.contains(key) || kind.described_by.is_some_and(is_further)
        };
        Some(Entity {
            kind: kind.name,
            id_keys: kind.id_keys,
            description_keys: keys.clone().filter(describes).collect(),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mqspan_testkit::semconv::entities as registry_entities;

    use super::*;

    #[test]
    fn keys_have_the_roles_of_the_registry() {
        for kind in &KINDS {
            let with = |role: &str| -> BTreeSet<&str> {
                registry_entities()
                    .filter(|(entity, _, its)| *entity == kind.name && *its == role)
                    .map(|(_, attribute, _)| attribute)
                    .collect()
            };
            let name = kind.name;
            let (ids, others) = (with("identifying"), with("-"));
            if ids.is_empty() {
                assert!(["container", "host"].contains(&name), "{name}");
                assert!(
                    kind.id_keys.iter().all(|key| others.contains(key)),
                    "{name}"
                );
                assert_eq!(kind.id_keys, [format!("{name}.id")], "{name}");
            } else {
                assert_eq!(kind.id_keys.iter().copied().collect::<BTreeSet<_>>(), ids);
            }
            let described = with("descriptive");
            for key in kind.description_keys {
                assert!(described.contains(key) || others.contains(key), "{key}");
            }
            if let Some(prefix) = kind.described_by {
                assert!(described.contains(prefix.trim_end_matches('.')), "{prefix}");
            }
        }
    }

    #[test]
    fn an_entity_needs_all_that_identifies_it() {
        let of = |keys: &[&'static str]| -> Vec<_> {
            let found = entities(keys.iter().copied());
            found
                .map(|entity| (entity.kind, entity.description_keys))
                .collect()
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&["process.pid", "process.owner"]), []);
        assert_eq!(
            of(&["process.pid", "process.owner", "process.creation.time"]),
            [("process", vec!["process.owner"])]
        );
        assert_eq!(
            of(&["k8s.pod.label.app", "k8s.pod.uid", "k8s.node.name"]),
            [("k8s.pod", vec!["k8s.pod.label.app"])]
        );
        assert_eq!(of(&["host.name", "host.arch"]), []);
    }
}
