//! What is kept of a pod, and the attributes that it gives to a process.
//!
//! The rules for `service.*` are those of the semantic conventions ("Specify
//! resource attributes using Kubernetes annotations", version 1.44), by which
//! labels are used only if that is asked for.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use opentelemetry_semantic_conventions::attribute as semconv;

use super::image::Image;
use crate::resource::{AttributeValue, Resource, may_claim};

/// Annotations with this prefix become attributes.
const PREFIX: &str = "resource.opentelemetry.io/";

/// Maximum number of attributes that a pod can set beside those of its service.
/// Further ones, in the order of their keys, are left out.
const MAX_ATTRIBUTES: usize = 16;

/// Longest value of an attribute that a pod can set. Longer ones are left out.
const MAX_VALUE_BYTES: usize = 256;

/// Maximum number of labels, and of bytes of their keys and values together.
/// Further ones, in the order of their keys, are left out.
const MAX_LABELS: usize = 32;
const MAX_LABEL_BYTES: usize = 4 << 10;

/// A pod of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// `k8s.pod.uid`.
    pub uid: String,
    pub(super) name: String,
    pub(super) namespace: String,
    /// Attribute key and name of each, the highest first.
    pub(super) workloads: Vec<(&'static str, String)>,
    /// From annotations and labels. The rest follows from the names.
    pub(super) service: Service,
    /// From other annotations.
    pub(super) attributes: Vec<(String, String)>,
    /// `k8s.pod.label.<key>` and value, if they are wanted.
    pub(super) labels: Vec<(String, String)>,
    /// Only containers that have been started.
    pub containers: Vec<PodContainer>,
    /// The only container of a pod that has one, started or not, without its id.
    pub(super) only: Option<PodContainer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodContainer {
    /// `k8s.container.name`.
    pub name: String,
    /// The runtime's id, 64 hexadecimal digits.
    pub id: String,
    pub(super) image: Image,
}

/// The `service.*` attributes that are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// `service.name`.
    pub name: Option<String>,
    /// `service.namespace`.
    pub namespace: Option<String>,
    /// `service.version`.
    pub version: Option<String>,
    /// `service.instance.id`.
    pub instance_id: Option<String>,
}

impl Pod {
    /// `None` without a UID. Uses its labels only if they are wanted.
    pub(super) fn new(
        pod: ObjectMeta,
        wants_labels: bool,
        workloads: Vec<(&'static str, String)>,
        containers: Vec<PodContainer>,
        only: Option<PodContainer>,
    ) -> Option<Self> {
        let mut annotated: BTreeMap<_, _> = pod
            .annotations
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.to_owned(), value)))
            .filter(|(_, value)| (1..=MAX_VALUE_BYTES).contains(&value.len()))
            .filter(|(key, _)| may_claim(key))
            .collect();
        let labels = pod.labels.filter(|_| wants_labels).unwrap_or_default();
        let label = |name: &str| {
            labels
                .get(&format!("app.kubernetes.io/{name}"))
                .filter(|value| !value.is_empty())
                .cloned()
        };
        let service = Service {
            name: annotated
                .remove(semconv::SERVICE_NAME)
                .or_else(|| label("instance"))
                .or_else(|| label("name")),
            namespace: annotated.remove(semconv::SERVICE_NAMESPACE),
            version: annotated
                .remove(semconv::SERVICE_VERSION)
                .or_else(|| label("version")),
            instance_id: annotated.remove(semconv::SERVICE_INSTANCE_ID),
        };
        Some(Self {
            uid: pod.uid?,
            name: pod.name.unwrap_or_default(),
            namespace: pod.namespace.unwrap_or_default(),
            workloads,
            service,
            attributes: annotated.into_iter().take(MAX_ATTRIBUTES).collect(),
            labels: attributes_of_labels(labels),
            containers,
            only,
        })
    }
}

/// Labels as attributes, within limits. An empty one is an attribute, too.
fn attributes_of_labels(labels: BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut bytes = 0;
    labels
        .into_iter()
        .take(MAX_LABELS)
        .map(|(key, value)| (format!("{}.{key}", semconv::K8S_POD_LABEL), value))
        .take_while(|(key, value)| {
            bytes += key.len() + value.len();
            bytes <= MAX_LABEL_BYTES
        })
        .collect()
}

/// A pod, and the container that was looked up.
#[derive(Debug, Clone, Copy)]
pub struct FoundPod<'a> {
    pub(super) pod: &'a Pod,
    /// `None` while the API server does not say which of several has been started.
    pub(super) container: Option<&'a PodContainer>,
}

impl FoundPod<'_> {
    /// Whether the container is reported too, so that nothing more is to come.
    pub fn is_whole(&self) -> bool {
        self.container
            .is_some_and(|container| !container.id.is_empty())
    }

    /// Sets `k8s.*` and `container.image.*`.
    pub fn describe(&self, resource: &mut Resource) {
        resource.set_text(semconv::K8S_POD_UID, self.pod.uid.clone());
        resource.set_text(semconv::K8S_POD_NAME, self.pod.name.clone());
        resource.set_text(semconv::K8S_NAMESPACE_NAME, self.pod.namespace.clone());
        if let Some(container) = self.container {
            let PodContainer { name, image, .. } = container;
            resource.set_text(semconv::K8S_CONTAINER_NAME, name.clone());
            resource.set_text(semconv::CONTAINER_IMAGE_NAME, image.name.clone());
            resource.set_texts(semconv::CONTAINER_IMAGE_TAGS, &image.tags);
            resource.set_texts(semconv::CONTAINER_IMAGE_REPO_DIGESTS, &image.repo_digests);
        }
        for (key, name) in &self.pod.workloads {
            resource.set_text(key, name.clone());
        }
        for (key, value) in &self.pod.labels {
            resource.set(key.clone(), AttributeValue::String(value.clone()));
        }
    }

    /// Sets the attributes from annotations that nothing else has set.
    pub fn describe_rest(&self, resource: &mut Resource) {
        for (key, value) in &self.pod.attributes {
            resource.set_new_text(key, value);
        }
    }

    /// The service that a process in this container belongs to.
    pub fn service(&self) -> Service {
        let Self { pod, container } = *self;
        let told = pod.service.clone();
        let workload = pod.workloads.first().map(|(_, name)| name);
        let name = workload.unwrap_or(&pod.name);
        Service {
            name: told.name.or_else(|| Some(name.clone())),
            namespace: told.namespace.or_else(|| Some(pod.namespace.clone())),
            version: told.version.or_else(|| container?.image.version.clone()),
            instance_id: told.instance_id.or_else(|| {
                let parts = [&pod.namespace, &pod.name, &container?.name];
                Some(parts.map(String::as_str).join("."))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotations: &[(&str, &str)], labels: &[(&str, &str)]) -> Pod {
        pod_with(annotations, labels, true)
    }

    fn pod_with(annotations: &[(&str, &str)], labels: &[(&str, &str)], wants_labels: bool) -> Pod {
        let map = |pairs: &[(&str, &str)], prefix: &str| {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(key, value)| (format!("{prefix}{key}"), (*value).to_owned()));
            Some(pairs.collect())
        };
        let meta = ObjectMeta {
            uid: Some("u".to_owned()),
            name: Some("api-6b-x".to_owned()),
            namespace: Some("shop".to_owned()),
            annotations: map(annotations, PREFIX),
            labels: map(labels, "app.kubernetes.io/"),
            ..ObjectMeta::default()
        };
        let workloads = vec![
            ("k8s.deployment.name", "api".to_owned()),
            ("k8s.replicaset.name", "api-6b".to_owned()),
        ];
        let container = PodContainer {
            name: "main".to_owned(),
            id: "3f4f".to_owned(),
            image: Image::new("127.0.0.1:5000/shop:1.4", ""),
        };
        Pod::new(meta, wants_labels, workloads, vec![container], None).unwrap()
    }

    fn service(pod: &Pod, whole: bool) -> [Option<String>; 4] {
        let container = pod.containers.first().filter(|_| whole);
        let service = FoundPod { pod, container }.service();
        let Service {
            name,
            namespace,
            version,
            instance_id,
        } = service;
        [name, namespace, version, instance_id]
    }

    #[test]
    fn the_first_that_tells_the_service_wins() {
        let annotations = [
            ("service.name", "a"),
            ("service.namespace", "b"),
            ("service.version", "c"),
            ("service.instance.id", "d"),
        ];
        let labels = [("instance", "i"), ("name", "n"), ("version", "v")];
        let instance = "shop.api-6b-x.main";
        #[rustfmt::skip]
        let table: [(&[_], &[_], [&str; 4]); 6] = [
            (&annotations, &labels, ["a", "b", "c", "d"]),
            (&annotations[..1], &labels, ["a", "shop", "v", instance]),
            (&[], &labels, ["i", "shop", "v", instance]),
            (&[], &labels[1..2], ["n", "shop", "1.4", instance]),
            (&[], &[], ["api", "shop", "1.4", instance]),
            // Empty ones say nothing.
            (&[("service.name", "")], &[("instance", "")], ["api", "shop", "1.4", instance]),
        ];
        for (annotations, labels, expected) in table {
            let found = service(&pod(annotations, labels), true);
            assert_eq!(found, expected.map(|text| Some(text.to_owned())));
        }
        let mut alone = pod(&[], &[]);
        alone.workloads.clear();
        let [name, .., instance_id] = service(&alone, false);
        assert_eq!(name.as_deref(), Some("api-6b-x"));
        assert_eq!(instance_id, None, "the container is not known");
    }

    #[test]
    fn labels_are_used_only_if_they_are_wanted() {
        let labels = [("instance", "i"), ("version", "v"), ("part-of", "")];
        let without = pod_with(&[], &labels, false);
        let instance = "shop.api-6b-x.main";
        let expected = ["api", "shop", "1.4", instance].map(|text| Some(text.to_owned()));
        assert_eq!(service(&without, true), expected);
        let of = |pod: &Pod| {
            let container = pod.containers.first();
            let mut resource = Resource::default();
            FoundPod { pod, container }.describe(&mut resource);
            resource
        };
        let is_label = |key: &&str| key.starts_with("k8s.pod.label.");
        assert_eq!(of(&without).keys().find(is_label), None);

        let with = of(&pod_with(&[], &labels, true));
        for (key, value) in labels {
            let key = format!("k8s.pod.label.app.kubernetes.io/{key}");
            let value = AttributeValue::String(value.to_owned());
            assert_eq!(with.get(&key), Some(&value), "{key}");
        }
        let texts = |text: &str| AttributeValue::Strings([text.to_owned()].into());
        assert_eq!(with.get("container.image.tags"), Some(&texts("1.4")));
        let name = AttributeValue::String("127.0.0.1:5000/shop".to_owned());
        assert_eq!(with.get("container.image.name"), Some(&name));
        assert_eq!(with.get("container.image.repo_digests"), None);
    }

    #[test]
    fn labels_are_not_too_many_and_not_too_long() {
        let labels = |count: usize, value: &str| {
            let labels = (0..count).map(|number| (format!("l{number:04}"), value.to_owned()));
            attributes_of_labels(labels.collect())
        };
        assert_eq!(labels(1000, "v").len(), MAX_LABELS);
        let long = "v".repeat(MAX_LABEL_BYTES / 4);
        assert_eq!(labels(1000, &long).len(), 3);
    }

    #[test]
    fn other_annotations_are_attributes_within_limits() {
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        let names: Vec<_> = (0..20).map(|i| format!("z.{i:02}")).collect();
        let mut annotations = vec![
            ("a.team", "orders"),
            ("b.long", &*long),
            ("c.pid", "7"),
            ("host.id", "another"),
            ("process.owner", "root"),
        ];
        annotations.extend(names.iter().map(|name| (&**name, "")));
        annotations.extend(names.iter().map(|name| (&**name, "1")));
        let pod = pod(&annotations, &[]);
        let found = FoundPod {
            pod: &pod,
            container: None,
        };
        let mut resource = Resource::default();
        resource.set("c.pid", AttributeValue::Int(100));
        found.describe_rest(&mut resource);
        let team = AttributeValue::String("orders".to_owned());
        assert_eq!(resource.get("a.team"), Some(&team));
        for key in ["b.long", "host.id", "process.owner"] {
            assert_eq!(resource.get(key), None, "{key}");
        }
        assert_eq!(resource.get("c.pid"), Some(&AttributeValue::Int(100)));
        assert_eq!(resource.attributes.len(), MAX_ATTRIBUTES);
        found.describe(&mut resource);
        let texts = ["k8s.pod.uid", "k8s.pod.name", "k8s.namespace.name"];
        let expected =
            ["u", "api-6b-x", "shop"].map(|text| AttributeValue::String(text.to_owned()));
        assert_eq!(
            texts.map(|key| resource.get(key).cloned().unwrap()),
            expected
        );
        let deployment = AttributeValue::String("api".to_owned());
        assert_eq!(resource.get("k8s.deployment.name"), Some(&deployment));
    }
}
