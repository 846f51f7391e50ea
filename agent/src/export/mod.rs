//! Send: batches and queues spans, and delivers them to a collector and a file.
//!
//! ```text
//!  capture thread            tokio tasks
//!  SpanSender ──> BatchQueue ──> Delivery ──> Client ──> collector
//!            │             └─> Aside ─┘  (refused for now)
//!            └──> BatchQueue ──> FileSink (a thread) ──> file
//! ```
//!
//! Spans can be lost here only in these places, each with its reason in
//! [`counters`]: a span too large for a batch, a full queue, exhausted retries,
//! a disk or file that fails. Spans that are still queued when the deadline of
//! [`Exporter::shutdown`] passes are reported as left.

mod answer;
mod aside;
pub mod client;
pub mod compress;
mod connect;
pub mod counters;
mod deliver;
pub mod destination;
pub mod disk;
mod file;
mod grpc;
mod http;
mod lease;
pub mod logs;
pub mod message;
pub mod operation;
pub mod own;
mod paths;
pub mod queue;
pub mod refusal;
pub mod retry;
mod rotate;
mod sender;
mod shares;
pub mod signal;
mod too_large;
mod trust;

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use client::Client;
use counters::{Counters, SinkCounts};
use deliver::Delivery;
use destination::Destination;
use disk::DiskQueue;
use file::{FileSink, Output};
use queue::{BatchQueue, Level, MemoryQueue};
pub use sender::SpanSender;
use signal::Signal;

use crate::config::{Exporters, FileExporter, Otlp, Size};

/// One destination, with its queue and its counters.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: Arc<BatchQueue>,
    counters: Arc<Counters>,
    destination: Arc<Destination>,
}

impl Sink {
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    pub fn counters(&self) -> SinkCounts {
        self.counters.snapshot()
    }

    pub fn queue(&self) -> Level {
        self.queue.level()
    }
}

/// Spans that were left at the deadline of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Not sent to the collector: in memory, or kept on disk for the next start.
    pub otlp_spans: u64,
    /// Whether `otlp_spans` are kept on disk.
    pub otlp_kept: bool,
    /// Not written to the file.
    pub file_spans: u64,
}

#[derive(Debug)]
pub struct Exporter {
    otlp: Option<Sink>,
    file: Option<Sink>,
    /// Each returns the number of spans that it still had in hand.
    consumers: JoinSet<u64>,
    file_done: Option<oneshot::Receiver<()>>,
    reopen_file: Arc<Notify>,
    closing: CancellationToken,
    stop: CancellationToken,
}

impl Exporter {
    /// Starts the configured exporters on this runtime. An unreachable
    /// collector is not an error.
    ///
    /// # Errors
    /// If a TLS file, a directory or a path cannot be used.
    pub fn start(config: &Exporters, runtime: &Handle) -> anyhow::Result<(SpanSender, Self)> {
        let _context = runtime.enter();
        let mut exporter = Self {
            otlp: None,
            file: None,
            consumers: JoinSet::new(),
            file_done: None,
            reopen_file: Arc::default(),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        };
        if config.otlp.enabled {
            exporter.start_otlp(&config.otlp, runtime)?;
        }
        if !config.file.path.as_os_str().is_empty() {
            let queue_size = config.otlp.sending_queue.queue_size;
            exporter.start_file(config.file.clone(), queue_size, runtime)?;
        }
        let sinks = [&exporter.otlp, &exporter.file];
        let sinks = sinks.into_iter().flatten().cloned().collect();
        Ok((SpanSender::new(&config.otlp.batch, sinks), exporter))
    }

    fn start_otlp(&mut self, otlp: &Otlp, runtime: &Handle) -> anyhow::Result<()> {
        let counters = Arc::<Counters>::default();
        let client = Client::new(otlp.clone(), Signal::Traces)?;
        let memory_bytes = otlp.sending_queue.queue_size.0;
        let storage = &otlp.sending_queue.storage;
        let queue = if storage.directory.as_os_str().is_empty() {
            BatchQueue::Memory(MemoryQueue::new(memory_bytes))
        } else {
            let counters = Arc::clone(&counters);
            BatchQueue::Disk(DiskQueue::open(storage, memory_bytes, counters)?)
        };
        let sink = Sink {
            queue: Arc::new(queue),
            counters,
            destination: Arc::new(Destination::collector(otlp, Signal::Traces)),
        };
        let delivery = Arc::new(Delivery::new(
            otlp,
            client,
            (Arc::clone(&sink.queue), Arc::clone(&sink.counters)),
            self.closing.clone(),
            self.stop.clone(),
        ));
        self.consumers
            .spawn_on(Arc::clone(&delivery).run(), runtime);
        if let Some(every) = otlp.tls.reload_interval.unless_zero() {
            runtime.spawn(reload(delivery, every, self.closing.clone()));
        }
        self.otlp = Some(sink);
        Ok(())
    }

    fn start_file(
        &mut self,
        config: FileExporter,
        queue_size: Size,
        runtime: &Handle,
    ) -> anyhow::Result<()> {
        let sink = Sink {
            queue: Arc::new(BatchQueue::Memory(MemoryQueue::new(queue_size.0))),
            counters: Arc::default(),
            destination: Arc::new(Destination::file()),
        };
        let (done, file_done) = oneshot::channel();
        let writer = FileSink {
            queue: Arc::clone(&sink.queue),
            counters: Arc::clone(&sink.counters),
            output: Output::open(&config.path)?,
            config,
            broken: false,
            cannot_rotate: false,
            reopen: Arc::clone(&self.reopen_file),
            stop: self.stop.clone(),
        };
        let runtime = runtime.clone();
        std::thread::Builder::new()
            .name("mqspan-file".to_owned())
            .spawn(move || {
                writer.run(&runtime);
                // Nobody listens once the deadline has passed.
                done.send(()).unwrap_or_default();
            })
            .context("cannot start the thread of the file exporter")?;
        self.file = Some(sink);
        self.file_done = Some(file_done);
        Ok(())
    }

    /// Opens the file again, if there is one, because it may have been renamed.
    pub fn reopen_file(&self) {
        self.reopen_file.notify_one();
    }

    /// The sink that the balance is about: the collector, or the file if there
    /// is no collector.
    pub fn primary(&self) -> Option<&Sink> {
        self.otlp().or_else(|| self.file())
    }

    pub fn otlp(&self) -> Option<&Sink> {
        self.otlp.as_ref()
    }

    pub fn file(&self) -> Option<&Sink> {
        self.file.as_ref()
    }

    /// Accepts no more spans, sends what it can within `deadline`, and returns
    /// what was left.
    ///
    /// Flush and drop the [`SpanSender`] first. A request that the deadline
    /// cuts off counts as left, although the collector may have accepted it.
    pub async fn shutdown(mut self, deadline: Duration) -> Left {
        for sink in [&self.otlp, &self.file].into_iter().flatten() {
            sink.queue.close();
        }
        self.closing.cancel();
        let mut in_hand = 0;
        let finished = {
            let consumers = &mut self.consumers;
            let file_done = &mut self.file_done;
            let all = async {
                while let Some(ended) = consumers.join_next().await {
                    in_hand += ended.unwrap_or(0);
                }
                if let Some(done) = file_done {
                    done.await.unwrap_or_default();
                }
            };
            tokio::time::timeout(deadline, all).await.is_ok()
        };
        self.stop.cancel();
        while let Some(ended) = self.consumers.join_next().await {
            in_hand += ended.unwrap_or(0);
        }
        let file_spans = self.file.as_ref().filter(|_| !finished).map_or(0, |sink| {
            sink.queue().spans + sink.counters().exports.in_flight
        });
        let mut otlp_kept = false;
        let mut otlp_spans = in_hand;
        if let Some(sink) = &self.otlp {
            if !sink.queue.is_kept() {
                // Spans in the hands of a consumer that panicked.
                otlp_spans += sink.counters().exports.in_flight;
            }
            let queue = Arc::clone(&sink.queue);
            let finish = tokio::task::spawn_blocking(move || queue.finish());
            otlp_spans += finish.await.unwrap_or(0) + sink.queue().spans;
            otlp_kept = sink.queue.is_kept() && otlp_spans > 0;
        }
        let left = Left {
            otlp_spans,
            otlp_kept,
            file_spans,
        };
        if left.otlp_spans + left.file_spans > 0 {
            warn!(
                otlp_spans = left.otlp_spans,
                file_spans = left.file_spans,
                "the deadline of the shutdown left spans"
            );
        }
        left
    }
}

/// Checks whether a queue could be kept in this directory. Anything created for
/// the check is removed again.
///
/// # Errors
/// The reason why `run` could not keep one.
pub fn check_storage(directory: &Path) -> anyhow::Result<()> {
    disk::check(directory)
}

/// Checks whether spans could be written to this file. Anything created for the
/// check is removed again.
///
/// # Errors
/// The reason why `run` could not write them.
pub fn check_file(path: &Path) -> anyhow::Result<()> {
    let was_there = path.symlink_metadata();
    if was_there
        .as_ref()
        .is_ok_and(|there| there.file_type().is_fifo())
    {
        // Opening and closing it could look like the end of the file to its
        // reader.
        return Ok(());
    }
    Output::open(path)?;
    if was_there.is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Reloads the TLS files periodically.
async fn reload(delivery: Arc<Delivery>, every: Duration, closing: CancellationToken) {
    let mut failed = false;
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        match delivery.client.reload() {
            Ok(changed) => {
                failed = false;
                if changed {
                    info!("the TLS files changed and are in use");
                }
            }
            Err(cause) if !failed => {
                failed = true;
                warn!(cause = %format!("{cause:#}"), "the TLS files changed and cannot be used");
            }
            Err(_) => {}
        }
    }
}
