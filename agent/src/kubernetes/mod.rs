//! Kubernetes: the pods of this node, watched beside the span path.
//!
//! A task on the runtime lists and watches pods with kube-rs and sends what
//! changes through a bounded channel. The capture thread owns the table and
//! takes the changes in between its rounds, so a look-up neither waits nor
//! locks: a span is never held back for a pod that is not known yet.

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

/// Changes that wait to be taken; with more the watch waits. Also the most
/// that is taken in between two rounds.
const MAX_CHANGES: usize = 256;

/// Why pods cannot be had.
#[derive(Debug)]
pub enum CheckError {
    /// Nothing says how to ask; `run` would not start.
    Setup(anyhow::Error),
    /// The API server does not give them; `run` would try again.
    Server {
        /// What it says.
        error: String,
        /// What helps.
        mend: &'static str,
    },
}

/// Asks the API server for the pods of a node, once. How many there are.
///
/// # Errors
/// [`CheckError`], also when there is no answer within this time.
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

/// The pods of a node.
#[derive(Debug)]
pub struct Pods {
    node_name: String,
    table: PodTable,
    coming: Receiver<Change>,
    generation: u64,
    /// Ends with this value.
    watch: Option<AbortOnDropHandle<()>>,
}

impl Pods {
    /// Watches the pods of the node, if they are wanted, through the API server
    /// that the surroundings name. One that cannot be reached is tried again
    /// for ever.
    ///
    /// # Errors
    /// [`NoCluster`] when the surroundings name none, and when the client
    /// cannot be made, such as by a certificate that cannot be read.
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
            changes,
            watch::DefaultBackoff::default(),
        );
        pods.watch = Some(AbortOnDropHandle::new(runtime.spawn(task)));
        Ok(Some(pods))
    }

    /// No pods yet, and the way to tell of some.
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

    /// Takes what the watch has told since the last time. Never waits.
    pub fn update(&mut self) {
        for _ in 0..MAX_CHANGES {
            let Ok(change) = self.coming.try_recv() else {
                return;
            };
            self.generation += 1;
            self.table.apply(change);
        }
    }

    /// Another number whenever a look-up could find more than before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The pod of a container.
    pub fn find(&self, container: &Container) -> Option<FoundPod<'_>> {
        self.table.find(container)
    }

    /// Sets what holds for every process on the node.
    pub fn describe_node(&self, resource: &mut Resource) {
        resource.set_text(semconv::K8S_NODE_NAME, self.node_name.clone());
    }
}
