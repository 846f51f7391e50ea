//! Writes OTLP/JSON to a file or to standard output, one request per line,
//! following the "OpenTelemetry Protocol File Exporter" specification.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::FileExporter;
use crate::encode::json;
use crate::loss::Loss;

use super::counters::Counters;
use super::operation::{ErrorType, Operation};
use super::paths::{is_of_others, refuse_links_of_others};
use super::queue::{BatchQueue, Lease};
use super::rotate::{is_at, rotate};

/// How often to check whether a named pipe has a reader, as nothing signals it.
const NEXT_LOOK: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) enum Output {
    Stdout(io::Stdout),
    File(File),
    /// A named pipe that has no reader yet.
    Unread(PathBuf),
}

impl Output {
    /// Opens for appending; `-` is standard output. A new file is private to
    /// this user; an existing one keeps its mode.
    ///
    /// # Errors
    /// If the path cannot be written to. The message names the cause.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(io::stdout()));
        }
        let shown = path.display();
        let in_words = || format!("cannot write spans to {shown}");
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent
            && !parent.is_dir()
        {
            bail!("{}: there is no directory {}", in_words(), parent.display());
        }
        refuse_links_of_others(path).with_context(in_words)?;
        match open_now(path) {
            Ok(Some(file)) => {
                warn_of_readers(&file, path).with_context(in_words)?;
                Ok(Self::File(file))
            }
            Ok(None) => {
                info!(path = %shown, "the pipe for spans has no reader yet");
                Ok(Self::Unread(path.to_owned()))
            }
            Err(error) => Err(error).with_context(in_words),
        }
    }

    /// The regular file behind it and its length in bytes, if there is one.
    fn regular(&self) -> Option<(&File, u64)> {
        let Self::File(file) = self else { return None };
        let metadata = file.metadata().ok()?;
        metadata.is_file().then_some((file, metadata.len()))
    }

    /// Writes and flushes one or more whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(line)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(line),
            Self::Unread(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// `None` for a named pipe without a reader, as opening it would block until
/// there is one.
fn open_now(path: &Path) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    match opened {
        Ok(file) => {
            // From here on, writes wait for a slow reader.
            let flags = fcntl_getfl(&file)?;
            fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
            Ok(Some(file))
        }
        Err(error)
            if error.raw_os_error() == Some(libc::ENXIO)
                && std::fs::metadata(path)?.file_type().is_fifo() =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Warns if other users can read the spans, which should be a deliberate
/// choice.
fn warn_of_readers(file: &File, path: &Path) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o7777;
    let path = path.display();
    if metadata.is_file() && is_of_others(metadata.uid()) {
        let owner = metadata.uid();
        warn!(%path, owner, "the file of spans belongs to another user, who can read it");
    } else if metadata.is_file() && mode & 0o044 != 0 {
        let mode = format!("{mode:04o}");
        warn!(%path, mode, "others can read the file of spans: chmod 0600");
    }
    Ok(())
}

enum Next {
    Batch(Lease),
    Reopen,
    End,
}

/// Writes the batches of a queue, on its own thread because file I/O blocks.
pub(crate) struct FileSink {
    pub(crate) queue: Arc<BatchQueue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) config: FileExporter,
    pub(crate) output: Output,
    /// The last line may be incomplete.
    pub(crate) broken: bool,
    /// A full file could not be replaced, and that has been logged.
    pub(crate) cannot_rotate: bool,
    /// Notified when the file may have been renamed.
    pub(crate) reopen: Arc<Notify>,
    pub(crate) stop: CancellationToken,
}

impl FileSink {
    /// Runs until the queue is closed and empty, or the deadline passes.
    /// `runtime` is only used to wait.
    pub(crate) fn run(mut self, runtime: &tokio::runtime::Handle) {
        let mut line = Vec::new();
        loop {
            let next = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => Next::End,
                    () = self.reopen.notified() => Next::Reopen,
                    lease = self.queue.pop() => lease.map_or(Next::End, Next::Batch),
                }
            });
            let lease = match next {
                Next::Batch(lease) => lease,
                Next::Reopen => {
                    self.reopen();
                    continue;
                }
                Next::End => return,
            };
            self.counters.enter_flight(lease.batch.spans.into());
            if !self.wait_for_reader(runtime) {
                return;
            }
            self.take(&mut line, lease);
        }
    }

    fn take(&mut self, line: &mut Vec<u8>, lease: Lease) {
        let spans = u64::from(lease.batch.spans);
        self.counters.request();
        let operation = Operation::start();
        line.clear();
        // Ends a line that may be incomplete; `after_break` leaves it out
        // otherwise.
        line.push(b'\n');
        match json::traces_data_line(line, &lease.batch.bytes) {
            Ok(()) => {
                self.make_room(after_break(line, self.broken).len() as u64);
                let broken = self.broken;
                self.write(after_break(line, broken), spans, &operation);
            }
            Err(_) => self.lost(Loss::Corrupt, spans, &operation),
        }
        self.counters.ended(&operation);
        self.counters.leave_flight(spans);
        self.queue.done(lease);
    }

    /// Opens the file again. Pipes and devices stay, since only files are
    /// renamed.
    fn reopen(&mut self) {
        if self.output.regular().is_none() {
            return;
        }
        match Output::open(&self.config.path) {
            Ok(output) => {
                self.set_output(output);
                info!("the file of spans has been opened anew");
            }
            Err(error) => {
                let error = format!("{error:#}");
                error!(error, "spans go on into the old file");
            }
        }
    }

    fn set_output(&mut self, output: Output) {
        self.broken &= output.regular().is_none_or(|(_, len)| len > 0);
        self.output = output;
    }

    /// Starts a new file if this one has no room for `bytes` more.
    fn make_room(&mut self, bytes: u64) {
        let Some(max) = self.config.max_size.unless_zero() else {
            return;
        };
        let Some((file, len)) = self.output.regular() else {
            return;
        };
        if len == 0 || len.saturating_add(bytes) <= max {
            return;
        }
        match self.replaced(file) {
            Ok(output) => {
                self.set_output(output);
                self.cannot_rotate = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.cannot_rotate, true) {
                    let error = format!("{error:#}");
                    error!(error, "the file of spans is full and grows on");
                }
            }
        }
    }

    fn replaced(&self, file: &File) -> anyhow::Result<Output> {
        let path = &self.config.path;
        if is_at(file, path)? {
            rotate(
                path,
                (self.config.max_files > 0).then_some(self.config.max_files),
            )
            .with_context(|| format!("cannot rename {}", path.display()))?;
        } else if path.is_symlink() {
            bail!("{} is a link: name the file itself", path.display());
        }
        Output::open(path)
    }

    /// Waits for a reader of the pipe. Returns false if the deadline passes
    /// first.
    fn wait_for_reader(&mut self, runtime: &tokio::runtime::Handle) -> bool {
        while let Output::Unread(path) = &self.output {
            match open_now(path) {
                Ok(Some(file)) => {
                    info!("the pipe for spans has a reader");
                    self.output = Output::File(file);
                    return true;
                }
                Ok(None) => {}
                // Logged and counted when the spans are written.
                Err(_) => return true,
            }
            let look_again = async { tokio::time::timeout(NEXT_LOOK, self.stop.cancelled()).await };
            if runtime.block_on(look_again).is_ok() {
                return false;
            }
        }
        true
    }

    fn lost(&self, reason: Loss, spans: u64, operation: &Operation) {
        self.counters.lost(reason, spans);
        self.counters
            .failed(operation, ErrorType::Lost(reason), spans);
    }

    fn write(&mut self, line: &[u8], spans: u64, operation: &Operation) {
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
                self.lost(Loss::Storage, spans, operation);
                if !self.counters.set_unreachable(true) {
                    error!(%cause, "spans cannot be written to the file");
                }
            }
        }
    }
}

/// Drops the line break at the start of `line`, unless the last line is
/// incomplete.
fn after_break(line: &[u8], broken: bool) -> &[u8] {
    line.get(usize::from(!broken)..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
