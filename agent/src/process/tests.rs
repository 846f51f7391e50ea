use std::borrow::Cow;

use tokio::sync::mpsc::Sender;

use super::*;
use crate::clock::Reading;
use crate::kubernetes::{Change, Pod};
use crate::test_calls::receive;

const ID: &str = "3f4f5a0e9c1d2b7a8e6f5d4c3b2a19081726354453627180f9e8d7c6b5a49382";
const POD: &str = "1f0c1b2a-3d4e-4f50-8a9b-0c1d2e3f4a5b";

struct Node {
    processes: Processes,
    anchors: Anchors,
    changes: Sender<Change>,
}

impl Node {
    /// A process in a container of the pod has called. `/proc` is not asked.
    fn new(extra: Vec<(String, Value)>) -> Self {
        let lookups = Lookups {
            proc: false,
            container: true,
        };
        let (pods, changes) = Pods::new("n1");
        let processes = Processes::new(Host::read(), extra, lookups).with_pods(Some(pods));
        let mut node = Self {
            processes,
            anchors: Anchors::new(Reading::now()),
            changes,
        };
        node.seen("kubepods-pod1f0c1b2a_3d4e_4f50_8a9b_0c1d2e3f4a5b.slice");
        node
    }

    fn seen(&mut self, cgroup_parent: &str) {
        let seen = ProcessSeen {
            key: receive().process,
            uid: 0,
            cgroup_id: 1,
            comm: Cow::Borrowed("main"),
            exe_name: Cow::Borrowed("orders"),
            cgroup: Cow::Owned(format!("cri-containerd-{ID}.scope")),
            cgroup_parent: Cow::Borrowed(cgroup_parent),
        };
        self.processes.seen(&seen, &self.anchors);
    }

    fn tell(&mut self, change: Change) {
        self.changes.try_send(change).unwrap();
        self.processes.tick();
    }

    fn tell_pod(&mut self, status: serde_json::Value) {
        let pod = Pod::of_json(serde_json::json!({
            "metadata": {
                "uid": POD, "name": "shop-6bd65c67cf-abcde", "namespace": "sales",
                "labels": {"pod-template-hash": "6bd65c67cf"},
                "annotations": {"resource.opentelemetry.io/team": "orders"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-6bd65c67cf",
                    "uid": "r", "controller": true
                }]
            },
            "spec": {"containers": [{"name": "proxy", "image": "proxy:2"}, {"name": "api", "image": "shop:1.4"}]},
            "status": status
        }));
        self.tell(Change::Seen(Box::new(pod)));
    }

    fn call(&mut self) -> Arc<Process> {
        self.processes.of_call(&receive(), &self.anchors)
    }
}

fn text(process: &Process, key: &str) -> String {
    match process.resource.get(key) {
        Some(Value::String(text)) => text.clone(),
        None => "-".to_owned(),
        other => panic!("{key}: {other:?}"),
    }
}

fn texts<const N: usize>(process: &Process, keys: [&str; N]) -> [String; N] {
    keys.map(|key| text(process, key))
}

fn started() -> serde_json::Value {
    let id = format!("containerd://{ID}");
    serde_json::json!({"containerStatuses": [{"name": "api", "containerID": id}]})
}

const NAMES: [&str; 6] = [
    "k8s.pod.uid",
    "k8s.pod.name",
    "k8s.namespace.name",
    "k8s.deployment.name",
    "k8s.replicaset.name",
    "k8s.container.name",
];

#[test]
fn names_come_with_the_pod_and_are_not_waited_for() {
    let mut node = Node::new(Vec::new());
    let before = node.call();
    assert_eq!(texts(&before, NAMES), [POD, "-", "-", "-", "-", "-"]);
    assert_eq!(text(&before, "service.name"), "orders");
    assert_eq!(text(&before, "k8s.node.name"), "n1");

    // Scheduled, but the kubelet has not reported the container yet.
    node.tell_pod(serde_json::json!({}));
    let pod = [
        POD,
        "shop-6bd65c67cf-abcde",
        "sales",
        "shop",
        "shop-6bd65c67cf",
    ];
    let [a, b, c, d, e] = pod;
    let partly = node.call();
    assert_eq!(texts(&partly, NAMES), [a, b, c, d, e, "-"]);
    assert_eq!(text(&partly, "service.name"), "shop");
    assert_eq!(text(&partly, "service.version"), "-");

    node.tell_pod(started());
    let whole = node.call();
    assert_eq!(texts(&whole, NAMES), [a, b, c, d, e, "api"]);
    let service = texts(
        &whole,
        [
            "service.name",
            "service.namespace",
            "service.version",
            "service.instance.id",
            "team",
        ],
    );
    let instance = "sales.shop-6bd65c67cf-abcde.api";
    assert_eq!(service, ["shop", "sales", "1.4", instance, "orders"]);
    assert_eq!(whole.encoded, Arc::new(encode::resource(&whole.resource)));
}

#[test]
fn only_what_changes_makes_another_resource() {
    let mut node = Node::new(Vec::new());
    let before = node.call();
    node.tell(Change::Gone("another".to_owned()));
    assert!(Arc::ptr_eq(&before, &node.call()), "another pod's change");
    node.tell_pod(serde_json::json!({}));
    let partly = node.call();
    node.tell_pod(serde_json::json!({}));
    assert!(Arc::ptr_eq(&partly, &node.call()), "the same again");
    node.tell_pod(started());
    let whole = node.call();
    assert!(!Arc::ptr_eq(&partly, &whole));
    // What is whole stays, when the pod goes too.
    node.tell(Change::Gone(POD.to_owned()));
    assert!(Arc::ptr_eq(&whole, &node.call()));
}

#[test]
fn a_pod_known_before_the_first_call_is_there_at_once() {
    let mut node = Node::new(Vec::new());
    node.processes.known.clear();
    node.tell_pod(started());
    // A static pod's cgroup has another UID than the API server.
    node.seen("kubepods-pod0f0c1b2a_3d4e_4f50_8a9b_0c1d2e3f4a5b.slice");
    let whole = node.call();
    assert_eq!(text(&whole, "k8s.container.name"), "api");
    assert_eq!(text(&whole, "k8s.pod.uid"), POD);
    assert!(
        node.processes
            .known
            .values()
            .all(|known| known.waiting.is_none())
    );
}

#[test]
fn the_process_and_the_configuration_beat_the_pod() {
    let mut node = Node::new(vec![(
        "k8s.node.name".to_owned(),
        Value::String("other".to_owned()),
    )]);
    node.tell_pod(started());
    let own = Environment::parse(b"OTEL_SERVICE_NAME=mine\0");
    for known in node.processes.known.values_mut() {
        known.waiting.as_mut().unwrap().facts.own = own.clone();
    }
    let whole = node.call();
    assert_eq!(text(&whole, "service.name"), "mine");
    assert_eq!(text(&whole, "service.namespace"), "sales");
    assert_eq!(text(&whole, "k8s.node.name"), "other");
}
