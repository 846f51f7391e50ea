//! Lists the pods of one node and watches them.
//!
//! kube-rs lists, watches from there, follows bookmarks, and lists again if the
//! server no longer knows the state that the watch started from (410 Gone). The
//! API server only has to allow `list` and `watch` of pods.

use std::pin::pin;

use futures_util::{Stream, StreamExt};
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc::Sender;

pub(super) use kube::runtime::watcher::DefaultBackoff;

use super::api::ApiPod;
use super::change::Change;

/// Longest time without an answer, to give up a dead connection. A watch is
/// answered every minute, and ends after 290 s.
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
#[error(
    "nothing says where the API server is: run in a pod whose service account's token is mounted \
     (automountServiceAccountToken: true), or set KUBECONFIG: {0}"
)]
pub struct NoCluster(kube::config::InferConfigError);

/// Makes a client of the API server that the environment names: `$KUBECONFIG`,
/// `~/.kube/config`, or the service account of the pod.
pub(super) async fn connect() -> anyhow::Result<Client> {
    let mut config = kube::Config::infer().await.map_err(NoCluster)?;
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}

/// Lists the pods once, as the watch does at first. Returns their number.
pub(super) async fn list(client: Client, node_name: &str) -> kube::Result<usize> {
    let wanted = ListParams::default()
        .fields(&of_node(node_name))
        .match_any();
    let pods = Api::<ApiPod>::all(client).list(&wanted).await?;
    Ok(pods.items.len())
}

/// Runs until the receiver of changes is gone. Pods have their labels only if
/// they are wanted.
pub(super) async fn run(
    client: Client,
    node_name: String,
    labels: bool,
    changes: Sender<Change>,
    backoff: impl Backoff,
) {
    // Any state in the server's cache is good enough to begin with. For the
    // newest state, or for pages, the server reads all pods of the cluster.
    let wanted = watcher::Config {
        page_size: None,
        ..watcher::Config::default().any_semantic()
    };
    let wanted = wanted.fields(&of_node(&node_name));
    let events = watcher(Api::<ApiPod>::all(client), wanted).backoff(backoff);
    tokio::select! {
        () = forward(events, &changes, &node_name, labels) => {}
        () = changes.closed() => {}
    }
}

async fn forward(
    events: impl Stream<Item = watcher::Result<Event<ApiPod>>>,
    changes: &Sender<Change>,
    node_name: &str,
    labels: bool,
) {
    let seen = |pod: ApiPod| {
        let pod = pod.into_pod(labels);
        pod.map(|pod| Change::Seen(Box::new(pod)))
    };
    let mut events = pin!(events);
    let mut state = State::Starting;
    let mut listed = 0_u64;
    while let Some(event) = events.next().await {
        let change = match event {
            Err(error) => {
                state.fails(&error);
                continue;
            }
            Ok(Event::Init) => {
                listed = 0;
                Some(Change::ListBegins)
            }
            Ok(Event::InitApply(pod)) => {
                listed += 1;
                seen(pod)
            }
            Ok(Event::InitDone) => {
                state.works(node_name, listed);
                Some(Change::ListEnds)
            }
            Ok(Event::Apply(pod)) => {
                state.recovers();
                seen(pod)
            }
            Ok(Event::Delete(pod)) => {
                state.recovers();
                pod.into_uid().map(Change::Gone)
            }
        };
        if let Some(change) = change
            && changes.send(change).await.is_err()
        {
            return;
        }
    }
}

/// Kept so that each change of state is logged once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Working,
    Failing,
}

impl State {
    fn fails(&mut self, error: &watcher::Error) {
        if *self == Self::Failing || is_expired(error) {
            tracing::debug!(%error, "pods are not watched; trying again");
            return;
        }
        *self = Self::Failing;
        let mend = mend(api_error(error).and_then(status_code));
        tracing::warn!(
            %error,
            mend,
            "pods are not watched: spans of new ones go without their names; trying again"
        );
    }

    fn works(&mut self, node: &str, pods: u64) {
        if *self == Self::Working {
            tracing::debug!(node, pods, "pods listed again");
        } else {
            tracing::info!(node, pods, "pods are watched");
        }
        *self = Self::Working;
    }

    /// An event without a new list means that the old watch goes on.
    fn recovers(&mut self) {
        if *self == Self::Failing {
            tracing::info!("pods are watched again");
            *self = Self::Working;
        }
    }
}

/// How to fix an answer with this status, or no answer.
pub(super) fn mend(status: Option<u16>) -> &'static str {
    match status {
        Some(401) => "give credentials that the API server takes",
        Some(403) => "grant list and watch of pods in all namespaces (rbac.create of the chart)",
        _ => "see that the API server can be reached from here",
    }
}

/// The HTTP status of the server's answer.
pub(super) fn status_code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

fn is_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

fn api_error(error: &watcher::Error) -> Option<&kube::Error> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Some(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => None,
    }
}

fn of_node(node_name: &str) -> String {
    format!("spec.nodeName={}", escaped(node_name))
}

/// Escapes like `EscapeValue()` of `k8s.io/apimachinery/pkg/fields`.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests;
