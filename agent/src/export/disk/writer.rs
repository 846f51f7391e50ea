//! The thread that owns the directory: recovery, appends, syncs, removals.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

use crate::encode::EncodedBatch;
use crate::loss::Loss;

use super::record::{self, FoundRecord, Header};
use super::segments::{OVERHEAD, Segment};
use super::{SYNC_WINDOW, Shared};

/// A segment is closed at this size, or at an eighth of the queue's limit if
/// that is less.
const SEGMENT_BYTES: u64 = 16 << 20;

pub(super) struct QueueWriter {
    shared: Arc<Shared>,
    /// The last segment, open for appending.
    file: Option<File>,
    /// Time of the oldest change that is not synced.
    dirty: Option<Instant>,
    /// Segments were created since the last sync.
    names_dirty: bool,
    /// The consumed position that is stored on disk.
    stored: u64,
    failing: bool,
}

struct Work {
    batches: Vec<EncodedBatch>,
    /// The number of the latest requested sync, if one is pending.
    sync: Option<u64>,
    closed: bool,
    finish: bool,
}

impl QueueWriter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            file: None,
            dirty: None,
            names_dirty: false,
            stored: 0,
            failing: false,
        }
    }

    pub(super) fn run(mut self) {
        if let Err(cause) = self.recover() {
            self.failed(&cause);
        }
        self.shared.lock().recovered = true;
        self.shared.ready.notify_waiters();
        loop {
            let work = self.wait();
            for batch in work.batches {
                self.append(&batch);
            }
            self.remove_consumed();
            let due = self
                .dirty
                .is_some_and(|since| since.elapsed() >= SYNC_WINDOW);
            if due || work.sync.is_some() || work.finish {
                self.sync();
            }
            let mut state = self.shared.lock();
            if let Some(wanted) = work.sync {
                state.sync_made = wanted;
            }
            state.drained |= work.closed;
            state.ended |= work.finish;
            drop(state);
            self.shared.synced.notify_all();
            if work.closed {
                self.shared.ready.notify_waiters();
            }
            if work.finish {
                return;
            }
        }
    }

    /// Waits for batches, for a sync that is requested or due, or for the end.
    fn wait(&mut self) -> Work {
        let mut state = self.shared.lock();
        loop {
            if self.dirty.is_none() && state.floor() > self.stored {
                self.dirty = Some(Instant::now());
            }
            let due = self
                .dirty
                .map(|since| SYNC_WINDOW.saturating_sub(since.elapsed()));
            let sync = state.sync_wanted > state.sync_made;
            let closing = state.closed && !state.drained;
            let idle = state.staging.is_empty() && !sync && !closing && !state.finish;
            if !idle || due == Some(Duration::ZERO) {
                state.staging_bytes = 0;
                return Work {
                    batches: state.staging.drain(..).collect(),
                    sync: sync.then_some(state.sync_wanted),
                    closed: state.closed,
                    finish: state.finish,
                };
            }
            state = self
                .shared
                .work
                .wait_timeout(state, due.unwrap_or(Duration::from_secs(3_600)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Scans what an earlier process left. Reads only headers.
    fn recover(&mut self) -> io::Result<()> {
        let directory = &self.shared.directory;
        let consumed = directory.consumed();
        self.stored = consumed;
        let mut segments = directory.segments()?;
        // What a failed append left after a segment is not part of it.
        let bases: Vec<_> = segments.iter().skip(1).map(|next| next.base).collect();
        for (segment, next) in segments.iter_mut().zip(bases) {
            segment.len = segment.len.min(next - segment.base);
        }
        let mut spans = 0;
        for segment in segments.iter().filter(|segment| segment.end() > consumed) {
            spans += self.spans_of(*segment, consumed)?;
        }
        let mut state = self.shared.lock();
        let first = segments.iter().find(|segment| segment.end() > consumed);
        // A segment that still exists was not consumed as a whole. If it ends
        // before the consumed position, its end is missing.
        let oldest_is_cut = segments
            .first()
            .is_some_and(|oldest| oldest.base <= consumed)
            && first.is_some_and(|first| first.base > consumed);
        if oldest_is_cut {
            self.shared.counters.corrupt_record();
        }
        state.read = first.map_or(consumed, |segment| segment.base.max(consumed));
        state.end = segments.last().map_or(0, |last| last.end()).max(consumed);
        state.spans += spans;
        state.segments = segments;
        drop(state);
        self.shared.counters.recovered(spans);
        if spans > 0 {
            info!(spans, "the queue on disk holds spans of an earlier run");
        }
        Ok(())
    }

    /// Counts the spans of a segment from a position on, as far as headers are
    /// intact.
    fn spans_of(&self, segment: Segment, from: u64) -> io::Result<u64> {
        let file = self.shared.directory.read(segment.base)?;
        let mut at = from.saturating_sub(segment.base);
        let mut spans = 0;
        while at < segment.len {
            match record::find(&file, at, segment.len)? {
                FoundRecord::Record(header) => {
                    spans += u64::from(header.spans);
                    at += header.record_len();
                }
                FoundRecord::Torn(header) => return Ok(spans + u64::from(header.spans)),
                FoundRecord::Damage { resume } => at = resume,
            }
        }
        Ok(spans)
    }

    fn append(&mut self, batch: &EncodedBatch) {
        let Some(header) = Header::of(&batch.bytes, batch.spans) else {
            return self.lost(Loss::TooLarge, batch.spans);
        };
        let need = header.record_len();
        if !self.has_room(need) {
            return self.lost(Loss::QueueFull, batch.spans);
        }
        match self.write(header, &batch.bytes) {
            Ok(()) => {
                self.failing = false;
                self.dirty.get_or_insert_with(Instant::now);
                let mut state = self.shared.lock();
                state.end += need;
                if let Some(last) = state.segments.last_mut() {
                    last.len += need;
                }
                drop(state);
                self.shared.ready.notify_one();
            }
            Err(cause) => {
                self.failed(&cause);
                self.lost(Loss::Storage, batch.spans);
            }
        }
    }

    /// Whether a record of `need` bytes fits. Removes consumed segments to make
    /// room, including the last.
    fn has_room(&mut self, need: u64) -> bool {
        let fits =
            |shared: &Shared| shared.lock().disk_bytes() + need + OVERHEAD <= shared.max_size_bytes;
        if fits(&self.shared) {
            return true;
        }
        let all_consumed = {
            let state = self.shared.lock();
            state.recovered && state.floor() >= state.end
        };
        if all_consumed {
            self.file = None;
        }
        self.remove_consumed();
        fits(&self.shared)
    }

    /// Appends a record to the last segment, or to a new one.
    fn write(&mut self, header: Header, request: &[u8]) -> io::Result<()> {
        let (end, len) = {
            let state = self.shared.lock();
            (state.end, state.segments.last().map_or(0, |last| last.len))
        };
        let limit = (self.shared.max_size_bytes / 8).min(SEGMENT_BYTES);
        if len > 0 && len + header.record_len() > limit {
            self.sync();
            self.file = None;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.next_segment(end)?,
        };
        let len = file.metadata()?.len();
        let written = file
            .write_all(&header.to_bytes())
            .and_then(|()| file.write_all(request));
        // A partial record must not stay. If it does, the name of the next
        // segment tells where this one ends.
        if written.is_ok() || file.set_len(len).is_ok() {
            self.file = Some(file);
        }
        written
    }

    fn next_segment(&mut self, base: u64) -> io::Result<File> {
        // A failed append may have left a segment without a whole record.
        let mut state = self.shared.lock();
        if state.segments.pop_if(|last| last.len == 0).is_some() {
            drop(state);
            self.shared.directory.remove(base)?;
        } else {
            drop(state);
        }
        let file = self.shared.directory.create(base)?;
        self.names_dirty = true;
        self.shared.lock().segments.push(Segment { base, len: 0 });
        Ok(file)
    }

    /// Removes consumed segments, except the one being written.
    fn remove_consumed(&mut self) {
        let writing = self.file.is_some();
        let removed: Vec<_> = {
            let mut state = self.shared.lock();
            if !state.recovered {
                return;
            }
            let floor = state.floor();
            let keep = state.segments.len().saturating_sub(usize::from(writing));
            let consumed = state.segments.iter().take(keep);
            let count = consumed
                .take_while(|segment| segment.end() <= floor)
                .count();
            state.segments.drain(..count).collect()
        };
        for segment in removed {
            if let Err(cause) = self.shared.directory.remove(segment.base) {
                self.failed(&cause);
            }
        }
    }

    /// Makes appended records and the consumed position durable.
    fn sync(&mut self) {
        self.dirty = None;
        let floor = {
            let state = self.shared.lock();
            if state.recovered { state.floor() } else { 0 }
        };
        let directory = &self.shared.directory;
        let file = self.file.as_ref().map_or(Ok(()), File::sync_data);
        let names = if std::mem::take(&mut self.names_dirty) {
            directory.sync()
        } else {
            Ok(())
        };
        let consumed = if floor > self.stored {
            directory.set_consumed(floor)
        } else {
            Ok(())
        };
        self.stored = self.stored.max(floor);
        for synced in [file, names, consumed] {
            if let Err(cause) = synced {
                self.failed(&cause);
            }
        }
    }

    fn lost(&self, reason: Loss, spans: u32) {
        self.shared.counters.dropped(reason, spans.into());
        let mut state = self.shared.lock();
        state.spans = state.spans.saturating_sub(spans.into());
    }

    /// Logs only the first failure until an append succeeds again.
    fn failed(&mut self, cause: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            error!(%cause, "the queue on disk cannot be written");
        }
    }
}
