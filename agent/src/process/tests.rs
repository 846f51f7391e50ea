use std::borrow::Cow;

use tokio::sync::mpsc::Sender;

use super::*;
use crate::clock::Reading;
use crate::event::PathKind;
use crate::host::INITIAL_USER_NAMESPACE;
use crate::kubernetes::{Change, Pod};
use crate::owner::Tenant;
use crate::test_calls::receive;

const ID: &str = "3f4f5a0e9c1d2b7a8e6f5d4c3b2a19081726354453627180f9e8d7c6b5a49382";
const POD: &str = "1f0c1b2a-3d4e-4f50-8a9b-0c1d2e3f4a5b";

/// Attributes that the configuration adds to every process.
fn extra(attributes: impl IntoIterator<Item = (String, AttributeValue)>) -> config::Resource {
    config::Resource {
        attributes: attributes.into_iter().collect(),
    }
}

fn seen(key: ProcessKey) -> ProcessSeen<'static> {
    ProcessSeen {
        key,
        uid: 0,
        owner: Owner {
            tenant: Tenant::Container(3),
            user: 0,
        },
        user_namespace: INITIAL_USER_NAMESPACE,
        pids: vec![PidLevel {
            pid: key.pid,
            namespace: 1,
        }],
        cgroup_id: 1,
        comm: Cow::Borrowed("main"),
    }
}

fn path(key: ProcessKey, kind: PathKind, parts: &[u8]) -> PathSeen<'_> {
    PathSeen {
        key,
        kind,
        is_whole: true,
        parts,
        tenant: None,
    }
}

struct Node {
    processes: Processes,
    anchors: Anchors,
    changes: Sender<Change>,
}

impl Node {
    /// Starts with one call by a process in a container of the pod.
    fn new(more: Vec<(String, AttributeValue)>) -> Self {
        let (pods, changes) = Pods::new("n1");
        let processes =
            Processes::new(Host::read(), &extra(more), &Enrich::default()).with_pods(Some(pods));
        let mut node = Self {
            processes,
            anchors: Anchors::new(Reading::now()),
            changes,
        };
        node.seen("kubepods-pod1f0c1b2a_3d4e_4f50_8a9b_0c1d2e3f4a5b.slice");
        node
    }

    fn seen(&mut self, cgroup_parent: &str) {
        self.seen_with(cgroup_parent, b"OTEL_SERVICE_NAME=\0");
    }

    fn seen_with(&mut self, cgroup_parent: &str, environ: &[u8]) {
        let key = receive().process;
        let cgroup = format!("cri-containerd-{ID}.scope\0{cgroup_parent}\0kubepods.slice\0");
        self.processes
            .path(&path(key, PathKind::Cgroup, cgroup.as_bytes()));
        self.processes
            .path(&path(key, PathKind::Exe, b"orders\0bin\0"));
        self.processes.environment(&EnvironmentSeen {
            key,
            is_whole: true,
            environ,
        });
        self.processes.seen(&seen(key), &self.anchors);
    }

    fn tell(&mut self, change: Change) {
        self.changes.try_send(change).unwrap();
        self.processes.tick(Instant::now());
    }

    fn tell_pod(&mut self, status: serde_json::Value) {
        let pod = serde_json::json!({
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
        });
        self.tell(Change::Seen(Box::new(Pod::of_json(pod, false))));
    }

    fn call(&mut self) -> Arc<Process> {
        self.processes.of_call(&receive(), &self.anchors)
    }
}

fn text(process: &Process, key: &str) -> String {
    match process.resource.get(key) {
        Some(AttributeValue::String(text)) => text.clone(),
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
    // A complete resource stays, even when the pod is gone.
    node.tell(Change::Gone(POD.to_owned()));
    assert!(Arc::ptr_eq(&whole, &node.call()));
}

#[test]
fn a_pod_known_before_the_first_call_is_there_at_once() {
    let mut node = Node::new(Vec::new());
    node.processes.known.clear();
    node.tell_pod(started());
    // The UID in a static pod's cgroup differs from the one in the API server.
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
        AttributeValue::String("other".to_owned()),
    )]);
    node.tell_pod(started());
    node.processes.known.clear();
    node.seen_with(
        "kubepods-pod1f0c1b2a_3d4e_4f50_8a9b_0c1d2e3f4a5b.slice",
        b"OTEL_SERVICE_NAME=mine\0",
    );
    let whole = node.call();
    assert_eq!(text(&whole, "service.name"), "mine");
    assert_eq!(text(&whole, "service.namespace"), "sales");
    assert_eq!(text(&whole, "k8s.node.name"), "other");
}

fn processes() -> (Processes, Anchors) {
    let processes = Processes::new(Host::read(), &extra([]), &Enrich::default());
    (processes, Anchors::new(Reading::now()))
}

#[test]
fn the_kernel_tells_all_that_is_wanted() {
    let (mut processes, anchors) = processes();
    let mut seen = seen(receive().process);
    seen.pids.push(PidLevel {
        pid: 7,
        namespace: 2,
    });
    processes.path(&path(seen.key, PathKind::Exe, b"orders\0bin\0usr\0"));
    processes.environment(&EnvironmentSeen {
        key: seen.key,
        is_whole: true,
        environ: b"A=1\0OTEL_SERVICE_NAME=shop\0",
    });
    let process = processes.seen(&seen, &anchors).unwrap();
    assert_eq!(
        texts(
            &process,
            [
                "process.executable.path",
                "process.executable.name",
                "service.name"
            ]
        ),
        ["/usr/bin/orders", "orders", "shop"]
    );
    assert_eq!(
        process.resource.get("process.vpid"),
        Some(&AttributeValue::Int(7))
    );
    assert!(processes.seen(&seen, &anchors).is_none(), "again");
    let created = text(&process, "process.creation.time");
    assert!(created.ends_with('Z') && created.len() == 24, "{created}");
    // A new configuration applies to processes that are already known.
    processes.reconfigure(
        &extra([("a".to_owned(), AttributeValue::Int(1))]),
        &Enrich {
            process: false,
            ..Enrich::default()
        },
        None,
    );
    let process = processes.of_call(&receive(), &anchors);
    assert_eq!(
        texts(&process, ["process.executable.path", "service.name"]),
        ["-", "orders"]
    );
    assert_eq!(process.resource.get("a"), Some(&AttributeValue::Int(1)));
    assert_eq!(processes.take_forgotten(), [0_u32; 0]);
    processes.reconfigure(&extra([]), &Enrich::default(), None);
    assert_eq!(processes.take_forgotten(), [seen.key.pid]);
}

/// Tells of a process with this cgroup, and what else `change` makes of it.
fn owner(cgroup: Option<&[u8]>, change: impl Fn(&mut ProcessSeen<'_>)) -> String {
    let (mut processes, anchors) = processes();
    let mut seen = seen(receive().process);
    seen.owner.tenant = Tenant::Host;
    change(&mut seen);
    if let Some(cgroup) = cgroup {
        processes.path(&path(seen.key, PathKind::Cgroup, cgroup));
    }
    text(&processes.seen(&seen, &anchors).unwrap(), "process.owner")
}

#[test]
fn users_have_the_names_of_the_host_or_none() {
    let slice = b"user.slice\0".as_slice();
    let container = format!("docker-{ID}.scope\0system.slice\0");
    assert_eq!(owner(Some(slice), |_| {}), "root");
    for (what, found) in [
        (
            "no name",
            owner(Some(slice), |seen| seen.uid = 4_000_000_000),
        ),
        ("a container", owner(Some(container.as_bytes()), |_| {})),
        ("a cgroup that is not known", owner(None, |_| {})),
        (
            "users of another namespace",
            owner(Some(slice), |seen| seen.user_namespace = 7),
        ),
        (
            "a container that is known by its processes",
            owner(Some(slice), |seen| {
                seen.owner.tenant = Tenant::PidNamespace(7)
            }),
        ),
    ] {
        assert_eq!(found, "-", "{what}");
    }
}

#[test]
fn what_a_process_says_of_itself_is_kept_apart_from_what_it_is() {
    let mut node = Node::new(vec![(
        "team".to_owned(),
        AttributeValue::String("of the configuration".to_owned()),
    )]);
    node.tell_pod(started());
    node.processes.known.clear();
    node.seen_with(
        "kubepods-pod1f0c1b2a_3d4e_4f50_8a9b_0c1d2e3f4a5b.slice",
        b"OTEL_RESOURCE_ATTRIBUTES=team=mine,deployment.environment.name=test,service.version=7,\
          process.pid=1,process.vpid=1,process.owner=root,container.id=another,k8s.pod.uid=another,\
          k8s.cluster.uid=another,host.name=another,os.type=plan9,telemetry.distro.name=another\0",
    );
    let process = node.call();
    let said = ["team", "deployment.environment.name", "service.version"];
    assert_eq!(texts(&process, said), ["of the configuration", "test", "7"]);
    let pid = receive().process.pid;
    let is = process.resource.get("process.pid");
    assert_eq!(is, Some(&AttributeValue::Int(pid.into())));
    let known = [
        "process.owner",
        "container.id",
        "k8s.pod.uid",
        "k8s.cluster.uid",
        "os.type",
        "telemetry.distro.name",
    ];
    let expected = ["-", ID, POD, "-", "linux", "mqspan"];
    assert_eq!(texts(&process, known), expected);
    assert_eq!(process.resource.get("process.vpid"), None);
    assert_ne!(text(&process, "host.name"), "another");
    let keys: std::collections::BTreeSet<_> = process.resource.keys().collect();
    assert_eq!(keys.len(), process.resource.attributes.len(), "each once");
}

#[test]
fn an_image_comes_with_the_container_and_its_digest_with_its_status() {
    let mut node = Node::new(Vec::new());
    let digest = format!("docker.io/library/shop@sha256:{}", "0a".repeat(32));
    let images = |process: &Process| {
        let names = ["container.image.tags", "container.image.repo_digests"];
        names.map(|key| process.resource.get(key).cloned())
    };
    let array = |text: &str| Some(AttributeValue::Strings([text.to_owned()].into()));
    let pod = |status: serde_json::Value| {
        let json = serde_json::json!({
            "metadata": {"uid": POD, "name": "shop", "namespace": "sales"},
            "spec": {"containers": [{"name": "api", "image": "shop:1.4"}]},
            "status": status
        });
        Change::Seen(Box::new(Pod::of_json(json, false)))
    };
    // The only container is known before it is reported.
    node.tell(pod(serde_json::json!({})));
    let before = node.call();
    assert_eq!(text(&before, "container.image.name"), "shop");
    assert_eq!(images(&before), [array("1.4"), None]);
    let id = format!("containerd://{ID}");
    node.tell(pod(serde_json::json!({
        "containerStatuses": [{"name": "api", "containerID": id, "imageID": digest}]
    })));
    assert_eq!(images(&node.call()), [array("1.4"), array(&digest)]);
}

#[test]
fn a_process_whose_event_was_lost_has_a_name_until_it_comes() {
    let (mut processes, anchors) = processes();
    let call = receive();
    let before = processes.of_call(&call, &anchors);
    assert_eq!(text(&before, "service.name"), "orders");
    // A program chooses the names of its threads, but not that of its file.
    assert_eq!(text(&before, "process.executable.name"), "-");
    let seen = seen(call.process);
    processes.path(&path(seen.key, PathKind::Exe, b"shop\0"));
    assert!(processes.seen(&seen, &anchors).is_some());
    let after = processes.of_call(&call, &anchors);
    assert_eq!(text(&after, "process.executable.path"), "/shop");
}

#[test]
fn memory_is_bounded_by_number_and_by_bytes() {
    let (mut processes, anchors) = processes();
    let long = [vec![b'x'; 250], vec![0]].concat().repeat(4);
    for pid in 0..40_000 {
        let key = ProcessKey {
            pid,
            ..receive().process
        };
        processes.path(&path(key, PathKind::Exe, &long));
        if pid % 2 == 0 {
            processes.seen(&seen(key), &anchors);
        }
        assert!(processes.known.len() <= MAX_PROCESSES);
        assert!(processes.arriving.len() <= MAX_ARRIVING);
    }
    let bytes: usize = processes.known.values().map(Known::bytes).sum();
    assert_eq!(bytes, processes.bytes);
    assert!(bytes <= MAX_BYTES + (64 << 10), "{bytes}");
    let forgotten = processes.take_forgotten().len();
    assert_eq!(forgotten + processes.known.len(), 20_000);
}
