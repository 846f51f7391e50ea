//! Kubernetes: the pods of this node, watched outside the span path.
//!
//! A task on the runtime lists and watches pods with kube-rs and sends changes
//! through a bounded channel. The capture thread owns the table and applies
//! changes between its rounds, so a look-up neither waits nor locks. A span is
//! never held back for a pod that is not known yet.

mod api;
mod change;
mod image;
mod pod;
mod table;
mod watch;
mod workload;

use std::time::Duration;

use anyhow::Context;
use opentelemetry_semantic_conventions::attribute as semconv;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

pub use self::pod::FoundPod;
#[cfg(test)]
pub use self::pod::Pod;

pub(crate) use self::change::Change;
use self::table::PodTable;
use crate::config::Kubernetes;
use crate::container::Container;
use crate::resource::Resource;

/// Capacity of the channel, beyond which the watch waits. Also the maximum
/// number of changes applied between two rounds.
const MAX_CHANGES: usize = 256;

/// Why pods cannot be listed.
#[derive(Debug)]
pub enum CheckError {
    /// No usable access to an API server; `run` would not start.
    Setup(anyhow::Error),
    /// The API server refuses or fails; `run` would try again.
    Server {
        error: String,
        /// How to fix it.
        mend: &'static str,
    },
}

/// Asks the API server once for the pods of a node. Returns their number.
///
/// # Errors
/// [`CheckError`], also when there is no answer in time.
pub async fn check(node_name: &str, within: Duration) -> Result<usize, CheckError> {
    let client = watch::connect().await.map_err(CheckError::Setup)?;
    match timeout(within, watch::list(client, node_name)).await {
        Ok(Ok(pods)) => Ok(pods),
        Ok(Err(error)) => Err(CheckError::Server {
            mend: watch::mend(watch::status_code(&error)),
            error: error.to_string(),
        }),
        Err(_) => Err(CheckError::Server {
            mend: watch::mend(None),
            error: format!("no answer within {within:?}"),
        }),
    }
}

#[derive(Debug)]
pub struct Pods {
    node_name: String,
    table: PodTable,
    coming: Receiver<Change>,
    generation: u64,
    watch: Option<AbortOnDropHandle<()>>,
}

impl Pods {
    /// Watches the pods of the node, if enabled, through the API server that
    /// the environment names. A server that cannot be reached is retried
    /// forever.
    ///
    /// # Errors
    /// `NoCluster` when the environment names no server. Also when the client
    /// cannot be made, for example because a certificate cannot be read.
    pub fn watch(wanted: &Kubernetes, runtime: &Handle) -> anyhow::Result<Option<Self>> {
        if !wanted.enabled {
            return Ok(None);
        }
        let node_name = &wanted.node_name;
        let client = runtime
            .block_on(watch::connect())
            .context("enrich.kubernetes")?;
        let (mut pods, changes) = Self::new(node_name);
        let task = watch::run(
            client,
            node_name.clone(),
            wanted.labels,
            changes,
            watch::DefaultBackoff::default(),
        );
        pods.watch = Some(AbortOnDropHandle::new(runtime.spawn(task)));
        Ok(Some(pods))
    }

    /// An empty table, and the sender of changes to it.
    pub(crate) fn new(node_name: &str) -> (Self, Sender<Change>) {
        let (send, coming) = mpsc::channel(MAX_CHANGES);
        let pods = Self {
            node_name: node_name.to_owned(),
            table: PodTable::default(),
            coming,
            generation: 0,
            watch: None,
        };
        (pods, send)
    }

    /// Applies the changes since the last call. Never waits.
    pub fn update(&mut self) {
        for _ in 0..MAX_CHANGES {
            let Ok(change) = self.coming.try_recv() else {
                return;
            };
            self.generation += 1;
            self.table.apply(change);
        }
    }

    /// Changes whenever a look-up could find more than before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn find(&self, container: &Container) -> Option<FoundPod<'_>> {
        self.table.find(container)
    }

    /// Sets the attributes that hold for every process on the node.
    pub fn describe_node(&self, resource: &mut Resource) {
        resource.set_text(semconv::K8S_NODE_NAME, self.node_name.clone());
    }
}
