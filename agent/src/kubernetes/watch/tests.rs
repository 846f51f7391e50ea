//! Runs against a loopback server that answers as the API server does.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::Uri;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::container::Container;
use crate::kubernetes::Pods;
use crate::resource::{AttributeValue as Attribute, Resource};

/// An upper bound on every wait here.
const LONG: Duration = Duration::from_secs(20);

type Asked = (Uri, oneshot::Sender<Response>);

/// The test plays the server: it sees each request and answers it.
struct Server {
    requests: mpsc::Receiver<Asked>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(node_name: &str) -> (Self, Pods) {
        let (send, requests) = mpsc::channel(8);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(ask).with_state(send);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let uri = format!("http://{address}").parse().unwrap();
        let client = Client::try_from(kube::Config::new(uri)).unwrap();
        let (pods, changes) = Pods::new(node_name);
        let task = tokio::spawn(run(client, node_name.to_owned(), false, changes, AtOnce));
        (Self { requests, task }, pods)
    }

    /// The query of the next request, and where its answer goes.
    async fn request(&mut self) -> (String, oneshot::Sender<Response>) {
        let (uri, answer) = timeout(LONG, self.requests.recv()).await.unwrap().unwrap();
        assert_eq!(uri.path(), "/api/v1/pods");
        (uri.query().unwrap_or_default().to_owned(), answer)
    }

    async fn list(&mut self, status: u16, body: Value) {
        let (query, answer) = self.request().await;
        assert_eq!(value_of(&query, "watch"), None, "{query}");
        assert_eq!(value_of(&query, "resourceVersion"), Some("0"), "{query}");
        assert_eq!(
            value_of(&query, "fieldSelector"),
            Some("spec.nodeName%3Dn1"),
            "{query}"
        );
        answer
            .send(answered(status, Body::from(body.to_string())))
            .unwrap();
    }

    /// Answers a watch that resumes at version `from`. The watch lasts until the events are
    /// dropped.
    async fn watch(&mut self, from: &str) -> Events {
        let (query, answer) = self.request().await;
        assert_eq!(value_of(&query, "watch"), Some("true"), "{query}");
        assert_eq!(value_of(&query, "resourceVersion"), Some(from), "{query}");
        assert_eq!(value_of(&query, "allowWatchBookmarks"), Some("true"));
        let (send, lines) = mpsc::channel(8);
        let body = Body::from_stream(ReceiverStream::new(lines));
        answer.send(answered(200, body)).unwrap();
        Events(send)
    }
}

struct Events(mpsc::Sender<Result<Bytes, std::io::Error>>);

impl Events {
    async fn send(&self, kind: &str, object: Value) {
        let line = json!({"type": kind, "object": object}).to_string() + "\n";
        self.0.send(Ok(line.into())).await.unwrap();
    }
}

async fn ask(State(send): State<mpsc::Sender<Asked>>, request: Request) -> Response {
    let (answer, answered) = oneshot::channel();
    send.send((request.uri().clone(), answer)).await.unwrap();
    answered.await.unwrap()
}

fn answered(status: u16, body: Body) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

fn value_of<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

struct AtOnce;

impl Iterator for AtOnce {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl Backoff for AtOnce {
    fn reset(&mut self) {}
}

fn pod(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": format!("uid-{name}"),
            "resourceVersion": version,
            "creationTimestamp": "2026-11-24T10:00:07Z",
            "labels": {"app": "shop"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "s",
                "controller": true, "blockOwnerDeletion": true
            }],
            "managedFields": [{
                "manager": "kubelet", "operation": "Update", "apiVersion": "v1",
                "time": "2026-11-24T10:00:09Z", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:status": {"f:phase": {}}}, "subresource": "status"
            }]
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "db:16", "resources": {}}]},
        "status": {
            "phase": "Running",
            "containerStatuses": [{
                "name": "main", "ready": true, "restartCount": 0, "image": "db:16", "imageID": "",
                "containerID": format!("containerd://id-{name}")
            }]
        }
    })
}

fn list(version: &str, names: &[&str]) -> Value {
    let items: Vec<_> = names.iter().map(|name| pod(name, version)).collect();
    json!({
        "kind": "PodList", "apiVersion": "v1",
        "metadata": {"resourceVersion": version}, "items": items
    })
}

fn failure(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "as asked for", "reason": reason, "code": code
    })
}

/// Applies changes until `holds` is true.
async fn until(pods: &mut Pods, holds: impl Fn(&Pods) -> bool) {
    let waiting = async {
        while !holds(pods) {
            let change = pods.coming.recv().await.unwrap();
            pods.table.apply(change);
        }
    };
    timeout(LONG, waiting).await.unwrap();
}

fn workload_of(pods: &Pods, name: &str) -> Option<String> {
    let found = pods.find(&Container {
        id: Some(format!("id-{name}")),
        pod_uid: None,
    })?;
    let mut resource = Resource::default();
    found.describe(&mut resource);
    match resource.get("k8s.statefulset.name") {
        Some(Attribute::String(text)) => Some(text.clone()),
        other => panic!("{other:?}"),
    }
}

fn knows(name: &str) -> impl Fn(&Pods) -> bool + '_ {
    move |pods| workload_of(pods, name).as_deref() == Some("db")
}

fn lacks(name: &str) -> impl Fn(&Pods) -> bool + '_ {
    move |pods| workload_of(pods, name).is_none()
}

#[tokio::test]
async fn lists_follows_and_lists_again() {
    let (mut server, mut pods) = Server::start("n1").await;
    server.list(200, list("1000", &["db-0", "db-1"])).await;
    until(&mut pods, knows("db-1")).await;

    let events = server.watch("1000").await;
    events.send("ADDED", pod("db-2", "1001")).await;
    until(&mut pods, knows("db-2")).await;
    events.send("DELETED", pod("db-0", "1002")).await;
    until(&mut pods, lacks("db-0")).await;
    let bookmark = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"resourceVersion": "1050", "creationTimestamp": null},
        "spec": {"containers": null}, "status": {}
    });
    events.send("BOOKMARK", bookmark).await;
    // The server ends a watch after a while. The next one resumes at the bookmark.
    drop(events);
    let events = server.watch("1050").await;
    let mut restarted = pod("db-1", "1051");
    restarted["status"]["containerStatuses"][0]["containerID"] = json!("containerd://id-db-1b");
    events.send("MODIFIED", restarted).await;
    until(&mut pods, knows("db-1b")).await;
    assert!(lacks("db-1")(&pods), "the old container is gone");

    // Known pods stay until the new list arrives.
    events.send("ERROR", failure(410, "Expired")).await;
    server.list(200, list("2000", &["db-2", "db-3"])).await;
    until(&mut pods, knows("db-3")).await;
    until(&mut pods, lacks("db-1b")).await;
    assert!(knows("db-2")(&pods));
    let _events = server.watch("2000").await;

    drop(pods);
    timeout(LONG, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_refuses_is_asked_again() {
    let (mut server, mut pods) = Server::start("n1").await;
    server.list(403, failure(403, "Forbidden")).await;
    server.list(500, json!("not a status")).await;
    server.list(200, list("1000", &["db-0"])).await;
    until(&mut pods, knows("db-0")).await;
    let (query, answer) = server.request().await;
    assert_eq!(value_of(&query, "watch"), Some("true"));
    let refusal = failure(403, "Forbidden").to_string();
    answer.send(answered(403, Body::from(refusal))).unwrap();
    let events = server.watch("1000").await;
    events.send("ADDED", pod("db-1", "1001")).await;
    until(&mut pods, knows("db-1")).await;
    assert!(knows("db-0")(&pods));
}

#[test]
fn names_cannot_widen_what_is_asked() {
    for (name, expected) in [("n1", "n1"), ("a,b=c\\d", "a\\,b\\=c\\\\d")] {
        assert_eq!(escaped(name), expected);
    }
}

#[test]
fn errors_that_name_their_mend() {
    let status = |code| serde_json::from_value(failure(code, "x")).unwrap();
    for (code, word) in [(401, "credentials"), (403, "grant"), (500, "reached")] {
        let error = kube::Error::Api(Box::new(status(code)));
        let error = watcher::Error::InitialListFailed(error);
        assert!(!is_expired(&error));
        let mend = mend(api_error(&error).and_then(status_code));
        assert!(mend.contains(word), "{mend}");
    }
    assert!(is_expired(&watcher::Error::WatchError(Box::new(status(
        410
    )))));
    assert!(!is_expired(&watcher::Error::WatchError(Box::new(status(
        500
    )))));
}
