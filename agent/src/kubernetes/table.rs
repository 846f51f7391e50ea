//! The pods of the node by UID and by container, bounded.

use std::collections::HashMap;

use super::change::Change;
use super::pod::{FoundPod, Pod};
use crate::container::Container;

/// Maximum number of pods kept; the kubelet runs 110 by default. Further ones
/// are left out until others go.
pub const MAX_PODS: usize = 1024;

/// Maximum number of containers of all pods. Beyond it a pod is kept without
/// its containers.
pub const MAX_CONTAINERS: usize = 4096;

/// Takes about 20 MiB with both limits reached and all texts at their maximum
/// length, of which labels are 4 MiB. A usual pod takes about 1 KiB.
#[derive(Debug, Default)]
pub(super) struct PodTable {
    pods: HashMap<String, Known>,
    /// UID of the pod by container id.
    containers: HashMap<String, String>,
    /// Number of the latest list, which tells the pods that are not in it.
    list: u64,
    has_warned: bool,
}

#[derive(Debug)]
struct Known {
    pod: Pod,
    /// The list during or after which the pod was last seen.
    list: u64,
}

impl PodTable {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::ListBegins => self.list += 1,
            Change::Seen(pod) => self.insert(*pod),
            Change::Gone(uid) => self.remove(&uid),
            Change::ListEnds => self.forget_unlisted(),
        }
    }

    fn insert(&mut self, mut pod: Pod) {
        self.remove(&pod.uid);
        if self.pods.len() >= MAX_PODS {
            self.warn_once("MAX_PODS");
            return;
        }
        if self.containers.len() + pod.containers.len() > MAX_CONTAINERS {
            self.warn_once("MAX_CONTAINERS");
            pod.containers.clear();
        }
        for container in &pod.containers {
            self.containers
                .insert(container.id.clone(), pod.uid.clone());
        }
        let list = self.list;
        self.pods.insert(pod.uid.clone(), Known { pod, list });
    }

    fn remove(&mut self, uid: &str) {
        let Some(known) = self.pods.remove(uid) else {
            return;
        };
        for container in &known.pod.containers {
            // Unless another pod has the same id now, which no runtime does.
            if self
                .containers
                .get(&container.id)
                .is_some_and(|of| of == uid)
            {
                self.containers.remove(&container.id);
            }
        }
    }

    fn forget_unlisted(&mut self) {
        let unlisted: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, known)| known.list != self.list)
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in unlisted {
            self.remove(&uid);
        }
    }

    fn warn_once(&mut self, limit: &'static str) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                limit,
                "more pods than are remembered: spans of some go without their names"
            );
        }
    }

    /// Looks up by the container's id first, because the cgroup of a static pod
    /// has another UID than the API server. A program can make calls before the
    /// API server knows the id of its container. If the pod has only one, it is
    /// that.
    pub(super) fn find(&self, container: &Container) -> Option<FoundPod<'_>> {
        let id = container.id.as_deref();
        let of_id = id.and_then(|id| self.containers.get(id));
        let uid = of_id.or(container.pod_uid.as_ref())?;
        let pod = &self.pods.get(uid)?.pod;
        let container = pod
            .containers
            .iter()
            .find(|container| Some(container.id.as_str()) == id)
            .or(pod.only.as_ref().filter(|_| id.is_some()));
        Some(FoundPod { pod, container })
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod::PodContainer;
    use super::*;

    fn pod(uid: &str, ids: &[&str]) -> Pod {
        let containers = ids.iter().map(|id| PodContainer {
            name: format!("name-{id}"),
            id: (*id).to_owned(),
            image: super::super::image::Image::default(),
        });
        Pod {
            uid: uid.to_owned(),
            containers: containers.collect(),
            ..Pod::default()
        }
    }

    fn seen(uid: &str, ids: &[&str]) -> Change {
        Change::Seen(Box::new(pod(uid, ids)))
    }

    fn found(table: &PodTable, id: &str, uid: &str) -> Option<(String, Option<String>)> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let found = table.find(&Container {
            id: text(id),
            pod_uid: text(uid),
        })?;
        let name = found.container.map(|container| container.name.clone());
        Some((found.pod.uid.clone(), name))
    }

    fn hit(uid: &str, name: Option<&str>) -> Option<(String, Option<String>)> {
        Some((uid.to_owned(), name.map(str::to_owned)))
    }

    #[test]
    fn by_container_and_by_pod() {
        let mut table = PodTable::default();
        table.apply(seen("u1", &["a", "b"]));
        assert_eq!(found(&table, "b", ""), hit("u1", Some("name-b")));
        assert_eq!(found(&table, "b", "static"), hit("u1", Some("name-b")));
        assert_eq!(found(&table, "c", "u1"), hit("u1", None), "not started yet");
        assert_eq!(found(&table, "", "u1"), hit("u1", None));
        assert_eq!(found(&table, "c", "u2"), None);
        assert_eq!(found(&table, "", ""), None);
        // It starts anew: one id goes, another comes.
        table.apply(seen("u1", &["b", "c"]));
        assert_eq!(found(&table, "c", ""), hit("u1", Some("name-c")));
        assert_eq!(found(&table, "a", ""), None);
        table.apply(Change::Gone("u1".to_owned()));
        assert_eq!(found(&table, "c", "u1"), None);
        assert!(table.containers.is_empty());
    }

    #[test]
    fn the_only_container_is_known_before_its_id() {
        let mut table = PodTable::default();
        let mut of_one = pod("u1", &[]);
        of_one.only = pod("", &["api"]).containers.pop();
        table.apply(Change::Seen(Box::new(of_one)));
        assert_eq!(found(&table, "a", "u1"), hit("u1", Some("name-api")));
        assert_eq!(found(&table, "", "u1"), hit("u1", None), "in no container");
        assert_eq!(found(&table, "a", "static"), None);
    }

    #[test]
    fn a_new_list_drops_what_it_does_not_hold_and_nothing_before_its_end() {
        let mut table = PodTable::default();
        for uid in ["u1", "u2"] {
            table.apply(seen(uid, &[uid]));
        }
        table.apply(Change::ListBegins);
        table.apply(seen("u2", &["u2"]));
        assert_eq!(found(&table, "u1", ""), hit("u1", Some("name-u1")));
        table.apply(Change::ListEnds);
        assert_eq!(found(&table, "u1", "u1"), None);
        assert_eq!(found(&table, "u2", ""), hit("u2", Some("name-u2")));
        assert_eq!(table.containers.len(), 1);
    }

    #[test]
    fn stays_within_its_limits() {
        let mut table = PodTable::default();
        for i in 0..MAX_PODS + 10 {
            table.apply(seen(&i.to_string(), &[]));
        }
        assert_eq!(table.pods.len(), MAX_PODS);
        table.apply(Change::Gone("0".to_owned()));
        let ids: Vec<_> = (0..=MAX_CONTAINERS).map(|i| i.to_string()).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        table.apply(seen("many", &ids));
        assert_eq!(table.containers.len(), 0);
        assert_eq!(found(&table, "1", "many"), hit("many", None));
        table.apply(seen("many", &ids[1..]));
        assert_eq!(table.containers.len(), MAX_CONTAINERS);
        // One that is known already needs no room.
        table.apply(seen("many", &ids[..2]));
        assert_eq!(found(&table, "1", ""), hit("many", Some("name-1")));
    }
}
