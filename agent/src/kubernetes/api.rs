//! A pod as the API server sends it. Only the fields that are read exist here,
//! so that the rest is dropped while a list is parsed.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

use super::image::Image;
use super::pod::{Pod, PodContainer};
use super::workload;

/// `v1.Pod`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ApiPod {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    containers: Vec<SpecContainer>,
    init_containers: Vec<SpecContainer>,
    ephemeral_containers: Vec<SpecContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SpecContainer {
    name: String,
    image: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: String,
    #[serde(rename = "imageID")]
    image_id: String,
}

impl ApiPod {
    /// Converts to what is kept, its labels only if they are wanted. `None` for
    /// a pod without UID, which no server sends.
    pub(super) fn into_pod(self, labels: bool) -> Option<Pod> {
        let workloads = workload::workloads(&self.metadata);
        let images = [
            self.spec.containers,
            self.spec.init_containers,
            self.spec.ephemeral_containers,
        ]
        .concat();
        let statuses = [
            self.status.container_statuses,
            self.status.init_container_statuses,
            self.status.ephemeral_container_statuses,
        ]
        .concat();
        let containers = statuses
            .into_iter()
            .filter_map(|status| {
                let image = images
                    .iter()
                    .find(|container| container.name == status.name);
                Some(PodContainer {
                    id: bare_id(&status.container_id)?.to_owned(),
                    image: image
                        .map(|container| Image::new(&container.image, &status.image_id))
                        .unwrap_or_default(),
                    name: status.name,
                })
            })
            .collect();
        let only = match images.as_slice() {
            [only] => Some(PodContainer {
                id: String::new(),
                image: Image::new(&only.image, ""),
                name: only.name.clone(),
            }),
            _ => None,
        };
        Pod::new(self.metadata, labels, workloads, containers, only)
    }

    /// The UID of a pod that is gone.
    pub(super) fn into_uid(self) -> Option<String> {
        self.metadata.uid
    }
}

/// The id in `<runtime>://<id>`, which is empty until the container has started.
fn bare_id(id: &str) -> Option<&str> {
    let (_, id) = id.split_once("://")?;
    (!id.is_empty()).then_some(id)
}

impl Resource for ApiPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
impl Pod {
    /// Parses a pod from the server's JSON.
    pub(crate) fn of_json(json: serde_json::Value, labels: bool) -> Self {
        let pod: ApiPod = serde_json::from_value(json).unwrap();
        pod.into_pod(labels).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_runtimes() {
        for (id, expected) in [
            ("containerd://3f4f", Some("3f4f")),
            ("cri-o://3f4f", Some("3f4f")),
            ("docker://3f4f", Some("3f4f")),
            ("containerd://", None),
            ("3f4f", None),
            ("", None),
        ] {
            assert_eq!(bare_id(id), expected, "{id}");
        }
    }

    #[test]
    fn the_only_container() {
        let only = |spec: serde_json::Value| {
            let metadata = serde_json::json!({"uid": "u", "name": "shop-0", "namespace": "shop"});
            let pod = serde_json::json!({"metadata": metadata, "spec": spec});
            Pod::of_json(pod, false).only
        };
        let api = serde_json::json!([{"name": "api", "image": "shop:1"}]);
        let found = only(serde_json::json!({"containers": api})).unwrap();
        let version = found.image.version.as_deref();
        assert_eq!((&*found.name, version), ("api", Some("1")));
        for other in ["containers", "initContainers", "ephemeralContainers"] {
            let mut spec = serde_json::json!({"containers": api});
            let more = [api[0].clone(), serde_json::json!({"name": "b"})];
            spec[other] = if other == "containers" {
                more.into()
            } else {
                api.clone()
            };
            assert_eq!(only(spec), None, "{other}");
        }
    }

    #[test]
    fn containers_of_all_kinds() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let json = serde_json::json!({
            "metadata": {"uid": "u", "name": "shop-0", "namespace": "shop"},
            "spec": {
                "nodeName": "n1",
                "containers": [{"name": "api", "image": "shop:1", "env": []}, {"name": "late", "image": "late:1"}],
                "initContainers": [{"name": "proxy", "image": "proxy:2"}],
                "ephemeralContainers": [{"name": "debug", "image": "debug"}]
            },
            "status": {
                "phase": "Running",
                "containerStatuses": [
                    {"name": "api", "containerID": "containerd://a", "image": "sha256:1", "imageID": format!("r.test/shop@{digest}")},
                    {"name": "late", "state": {"waiting": {}}}
                ],
                "initContainerStatuses": [{"name": "proxy", "containerID": "containerd://p"}],
                "ephemeralContainerStatuses": [{"name": "debug", "containerID": "containerd://d"}]
            }
        });
        let pod = Pod::of_json(json, false);
        let found: Vec<_> = pod
            .containers
            .iter()
            .map(|c| (c.name.as_str(), c.id.as_str(), c.image.version.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("api", "a", Some("1")),
                ("proxy", "p", Some("2")),
                ("debug", "d", None)
            ]
        );
        let api = &pod.containers[0].image;
        assert_eq!((&*api.name, &*api.tags), ("shop", &["1".to_owned()][..]));
        assert_eq!(*api.repo_digests, [format!("r.test/shop@{digest}")]);
    }
}
