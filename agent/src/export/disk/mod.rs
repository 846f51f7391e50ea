//! A queue on disk, whose contents outlive the process.
//!
//! ```text
//!  push ──> staging ──> writer thread ──> segments ──> pop ──> done
//!           (memory)    append, sync      (disk)               consumed position
//! ```
//!
//! The capture thread only puts a batch into staging, which is bounded by the
//! size of the memory queue. A separate thread appends it to a segment.
//! Appended batches survive the death of the process at once, and that of the
//! machine after at most [`SYNC_WINDOW`]. A batch is consumed when it is done.
//! Each sync stores the position before which everything is consumed, so after
//! a crash some batches are sent again, but none is skipped.
//!
//! When the disk or staging is full, the new batch is given up.

mod record;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Notify;
use tracing::error;

use crate::config::Storage;
use crate::encode::EncodedBatch;
use crate::loss::Loss;

use super::counters::Counters;
use super::lease::{Lease, Level};
use record::FoundRecord;
use segments::{Directory, Segment};
use writer::QueueWriter;

/// The longest time before an appended batch is synced.
pub const SYNC_WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct DiskQueue {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// State shared by the writer thread, the consumers and the capture thread. The
/// lock on `state` is held only for arithmetic, never for I/O.
#[derive(Debug)]
pub(crate) struct Shared {
    directory: Directory,
    counters: Arc<Counters>,
    max_size_bytes: u64,
    staging_max_bytes: u64,
    state: Mutex<State>,
    /// Wakes the writer.
    work: Condvar,
    /// Signals that the writer has synced.
    synced: Condvar,
    /// Wakes the consumers.
    ready: Notify,
    /// The segment that consumers read, one consumer at a time.
    reader: Mutex<Option<(u64, Arc<File>)>>,
}

#[derive(Debug, Default)]
struct State {
    staging: std::collections::VecDeque<EncodedBatch>,
    staging_bytes: u64,
    /// Spans that wait, in staging and on disk.
    spans: u64,
    /// All segments in order. The writer may be appending to the last.
    segments: Vec<Segment>,
    /// Position of the next record to read.
    read: u64,
    /// Position after the last whole record.
    end: u64,
    /// Records that are taken but not done: start and number of spans.
    leased: BTreeMap<u64, u32>,
    /// The writer has scanned what an earlier process left.
    recovered: bool,
    closed: bool,
    /// Closed, and everything that was staged is appended or lost.
    drained: bool,
    /// `finish` asks the writer to end; `ended` says that it has.
    finish: bool,
    ended: bool,
    /// Syncs requested and made.
    sync_wanted: u64,
    sync_made: u64,
}

impl State {
    /// The position before which everything is consumed.
    fn floor(&self) -> u64 {
        self.leased
            .first_key_value()
            .map_or(self.read, |(start, _)| *start)
    }

    fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Whether everything that was appended has been read.
    fn is_read(&self) -> bool {
        self.recovered && self.read >= self.end
    }
}

/// Checks whether the directory can be opened. Anything created for the check
/// is removed again.
///
/// # Errors
/// As [`DiskQueue::open`].
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let had_lock = path.join(segments::LOCK).exists();
    let made: Vec<_> = (path.ancestors())
        .take_while(|part| !part.as_os_str().is_empty() && !part.exists())
        .collect();
    let opened = Directory::open(path).map(drop);
    if opened.is_ok() && !had_lock {
        std::fs::remove_file(path.join(segments::LOCK))?;
    }
    for directory in made {
        // It may not have been created.
        drop(std::fs::remove_dir(directory));
    }
    opened
}

impl DiskQueue {
    /// Opens the directory. The writer thread scans its contents.
    ///
    /// # Errors
    /// If the directory cannot be used, or is in use.
    pub fn open(
        config: &Storage,
        staging_max_bytes: u64,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            directory: Directory::open(&config.directory)?,
            counters,
            max_size_bytes: config.max_size.0,
            staging_max_bytes,
            state: Mutex::default(),
            work: Condvar::new(),
            synced: Condvar::new(),
            ready: Notify::new(),
            reader: Mutex::default(),
        });
        let writer = QueueWriter::new(Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("mqspan-queue".to_owned())
            .spawn(move || writer.run())
            .context("cannot start the thread of the queue on disk")?;
        Ok(Self {
            shared,
            writer: Mutex::new(Some(thread)),
        })
    }

    pub(super) fn push(&self, batch: EncodedBatch) -> Result<(), Loss> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(Loss::Closed);
        }
        let bytes = state.staging_bytes + batch.bytes.len() as u64;
        if bytes > self.shared.staging_max_bytes {
            return Err(Loss::QueueFull);
        }
        state.staging_bytes = bytes;
        state.spans += u64::from(batch.spans);
        state.staging.push_back(batch);
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    pub(super) async fn pop(&self) -> Option<Lease> {
        loop {
            let mut ready = pin!(self.shared.ready.notified());
            ready.as_mut().enable();
            let (readable, ended) = {
                let state = self.shared.lock();
                (state.recovered && state.read < state.end, state.drained)
            };
            if readable {
                let shared = Arc::clone(&self.shared);
                let read = tokio::task::spawn_blocking(move || shared.read_next());
                if let Ok(Some(lease)) = read.await {
                    return Some(lease);
                }
            } else if ended {
                return None;
            } else {
                ready.await;
            }
        }
    }

    pub(super) fn done(&self, lease: &Lease) {
        let mut state = self.shared.lock();
        state.leased.remove(&lease.position);
        drop(state);
        self.shared.work.notify_one();
    }

    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }

    pub(super) fn level(&self) -> Level {
        let state = self.shared.lock();
        Level {
            bytes: state.staging_bytes + state.end.saturating_sub(state.floor()),
            spans: state.spans,
            capacity_bytes: self.shared.max_size_bytes,
        }
    }

    /// Keeps a batch for the next start. Its spans were reported as left.
    pub(super) fn abandon(&self, lease: &Lease) {
        if let Some(spans) = self.shared.lock().leased.get_mut(&lease.position) {
            *spans = 0;
        }
    }

    /// Appends what is staged, syncs, and ends the thread. Returns the spans
    /// that were read for a consumer that has since ended; they are left, too.
    pub(super) fn finish(&self) -> u64 {
        // Wait for a read in progress.
        drop(self.shared.reader.lock());
        let mut state = self.shared.lock();
        state.closed = true;
        state.finish = true;
        let orphans = state.leased.values().map(|spans| u64::from(*spans)).sum();
        drop(state);
        self.shared.work.notify_one();
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = writer.take() {
            // The panic hook has reported a panic of the thread.
            drop(thread.join());
        }
        orphans
    }

    /// Waits until all that was pushed is appended and synced.
    #[cfg(test)]
    fn sync(&self) {
        let mut state = self.shared.lock();
        state.sync_wanted += 1;
        let wanted = state.sync_wanted;
        self.shared.work.notify_one();
        while state.sync_made < wanted && !state.ended {
            state = self
                .shared
                .synced
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for DiskQueue {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the next whole record and counts what it has to skip. `None` if
    /// another consumer was faster.
    fn read_next(&self) -> Option<Lease> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (at, segment) = {
                let state = self.lock();
                if state.finish || state.is_read() {
                    return None;
                }
                let at = state.read;
                let next = state.segments.iter().find(|segment| segment.end() > at);
                let Some(segment) = next.copied() else {
                    drop(state);
                    self.skip_to_end();
                    return None;
                };
                (at, segment)
            };
            if at < segment.base {
                // The end of a segment is missing, or a whole segment.
                self.counters.corrupt_record();
            }
            let at = at.max(segment.base);
            let read = self
                .open(&mut reader, segment.base)
                .and_then(|file| read_record(&file, at - segment.base, segment.len));
            let (record, skipped_spans, used) = match read {
                Ok(read) => read,
                Err(cause) => {
                    error!(%cause, "a part of the queue on disk cannot be read");
                    (None, None, segment.end() - at)
                }
            };
            let end = at + used;
            let mut state = self.lock();
            state.read = end;
            if let Some((request, spans)) = record {
                state.spans = state.spans.saturating_sub(spans.into());
                state.leased.insert(at, spans);
                if !state.is_read() {
                    self.ready.notify_one();
                }
                return Some(Lease {
                    batch: EncodedBatch {
                        bytes: request.into(),
                        spans,
                    },
                    position: at,
                });
            }
            match skipped_spans {
                Some(spans) => {
                    state.spans = state.spans.saturating_sub(spans);
                    self.counters.dropped(Loss::Corrupt, spans);
                }
                None => self.counters.corrupt_record(),
            }
        }
    }

    /// Skips to the end when no segment holds the next position.
    fn skip_to_end(&self) {
        let mut state = self.lock();
        state.read = state.end;
        drop(state);
        self.counters.corrupt_record();
    }

    fn open(&self, reader: &mut Option<(u64, Arc<File>)>, base: u64) -> io::Result<Arc<File>> {
        match reader {
            Some((open, file)) if *open == base => Ok(Arc::clone(file)),
            _ => {
                let file = Arc::new(self.directory.read(base)?);
                *reader = Some((base, Arc::clone(&file)));
                Ok(file)
            }
        }
    }
}

/// The request and its spans, the spans of what is skipped if they are known,
/// and the bytes used.
type ReadRecord = (Option<(Vec<u8>, u32)>, Option<u64>, u64);

fn read_record(file: &File, at: u64, end: u64) -> io::Result<ReadRecord> {
    Ok(match record::find(file, at, end)? {
        FoundRecord::Record(header) => match record::read(file, at, header)? {
            Some(request) => (Some((request, header.spans)), None, header.record_len()),
            None => (None, Some(header.spans.into()), header.record_len()),
        },
        FoundRecord::Torn(header) => (None, Some(header.spans.into()), end - at),
        FoundRecord::Damage { resume } => (None, None, resume - at),
    })
}
