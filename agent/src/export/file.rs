//! OTLP/JSON lines to a file or the standard output, one request a line, by
//! the "OpenTelemetry Protocol File Exporter" specification.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::encode::json;

use super::counters::{Counters, LossReason};
use super::queue::Queue;

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Output {
    Stdout(io::Stdout),
    File(File),
}

impl Output {
    /// Opens for appending; `-` is the standard output.
    ///
    /// # Errors
    /// A path that cannot be written to, in words that name the cause.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(io::stdout()));
        }
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent
            && !parent.is_dir()
        {
            bail!(
                "cannot write spans to {}: there is no directory {}",
                path.display(),
                parent.display()
            );
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map(Self::File)
            .with_context(|| format!("cannot write spans to {}", path.display()))
    }

    /// A whole line or lines, flushed.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(line)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(line),
        }
    }
}

/// Writes the batches of a queue, on a thread of its own as files block.
pub(crate) struct FileSink {
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) output: Output,
    /// The last line may be there in part.
    pub(crate) broken: bool,
    pub(crate) stop: CancellationToken,
}

impl FileSink {
    /// Until the queue is closed and empty, or the deadline passes. `runtime`
    /// is only waited on.
    pub(crate) fn run(mut self, runtime: &tokio::runtime::Handle) {
        let mut line = Vec::new();
        loop {
            let stop = self.stop.clone();
            let lease = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    lease = self.queue.pop() => lease,
                }
            });
            let Some(lease) = lease else { return };
            let spans = u64::from(lease.batch.spans);
            self.counters.enter_flight(spans);
            self.counters.request();
            line.clear();
            if self.broken {
                line.push(b'\n');
            }
            match json::traces_data_line(&mut line, &lease.batch.bytes) {
                Ok(()) => self.write(&line, spans),
                Err(_) => self.counters.lost(LossReason::Corrupt, spans),
            }
            self.counters.leave_flight(spans);
            self.queue.done(lease);
        }
    }

    fn write(&mut self, line: &[u8], spans: u64) {
        let written = self.output.write(line);
        self.broken = written.is_err();
        match written {
            Ok(()) => {
                self.counters.exported(spans);
                if self.counters.set_unreachable(false) {
                    info!("spans are written to the file again");
                }
            }
            Err(cause) => {
                self.counters.lost(LossReason::Storage, spans);
                self.counters.error(cause.to_string());
                if !self.counters.set_unreachable(true) {
                    error!(%cause, "spans cannot be written to the file");
                }
            }
        }
    }
}
