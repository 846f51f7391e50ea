//! Collects spans into one `ExportTraceServiceRequest`, grouped by process.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use crate::event::ProcessKey;
use crate::hash::KeyHasher;
use crate::span::Span;

use super::encoded::EncodedBatch;
use super::otlp;
use super::resource::EncodedResource;
use super::spare::SpareBuffer;
use super::wire::{WireWriter, padded_varint};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    Added,
    /// The batch has no room left. Take it and push the span again.
    Full,
    /// The span does not fit even an empty batch.
    TooLarge,
}

/// Collects spans. Its buffers are reused after [`Batch::take`].
#[derive(Debug)]
pub struct Batch {
    max_bytes: usize,
    size_bytes: usize,
    /// Of calls.
    spans: u32,
    /// The first `open` groups are in use; the rest are kept for reuse.
    groups: Vec<Group>,
    open: usize,
    by_process: HashMap<ProcessKey, usize, BuildHasherDefault<KeyHasher>>,
    spare: SpareBuffer,
}

/// The `ResourceSpans` of one process.
#[derive(Debug, Default)]
struct Group {
    resource: Option<Arc<EncodedResource>>,
    buffer: Buffer,
}

/// Bytes that are all initialised, of which the first `len` are in use. Spare
/// room can therefore be written to without clearing it first.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    /// Lets `write` append at most `limit` bytes. `write` returns how much it
    /// wrote, or `None` if it did not fit. If it needs more than `limit`,
    /// nothing is appended and the result is false.
    #[inline(always)]
    fn append(&mut self, limit: usize, write: impl Fn(WireWriter<'_>) -> Option<usize>) -> bool {
        let end_max = self.len.saturating_add(limit);
        loop {
            let end = self.bytes.len().min(end_max);
            let room = self.bytes.get_mut(self.len..end).unwrap_or_default();
            if let Some(written) = write(WireWriter::new(room)) {
                self.len += written;
                return true;
            }
            if end == end_max {
                return false;
            }
            let grown = (self.bytes.len() * 2).max(1 << 10).min(end_max);
            self.bytes.resize(grown, 0);
        }
    }

    fn filled(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Group {
    /// Fills in the lengths of the `ResourceSpans` and the `ScopeSpans`.
    fn close(&mut self) -> &[u8] {
        let len = self.buffer.len;
        let scope_len_at = self
            .resource
            .as_ref()
            .map_or(0, |resource| resource.scope_len_at());
        for at in [EncodedResource::LEN_AT, scope_len_at] {
            let counted = len.saturating_sub(at + 4);
            if let Some(room) = self.buffer.bytes.get_mut(at..at + 4) {
                room.copy_from_slice(&padded_varint::<4>(counted));
            }
        }
        self.buffer.filled()
    }
}

impl Batch {
    /// The longest request that four-byte lengths can describe.
    pub const MAX_BYTES: usize = (1 << 28) - 1;

    /// Creates a batch whose requests never exceed `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes: max_bytes.min(Self::MAX_BYTES),
            size_bytes: 0,
            spans: 0,
            groups: Vec::new(),
            open: 0,
            by_process: HashMap::default(),
            spare: SpareBuffer::default(),
        }
    }

    /// Exact size of the request so far.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.size_bytes == 0
    }

    /// Adds a span under the resource of its process. If the process's resource
    /// is a different object than before, a new group starts.
    #[inline]
    pub fn push(
        &mut self,
        process: ProcessKey,
        resource: &Arc<EncodedResource>,
        span: &Span<'_>,
    ) -> Push {
        if let Some(&at) = self.by_process.get(&process)
            && let Some(group) = self.groups.get_mut(at)
            && group
                .resource
                .as_ref()
                .is_some_and(|held| Arc::ptr_eq(held, resource))
        {
            let before = group.buffer.len;
            let limit = self.max_bytes.saturating_sub(self.size_bytes);
            if !group
                .buffer
                .append(limit, |writer| otlp::span(writer, span).finish())
            {
                return Push::Full;
            }
            self.size_bytes += group.buffer.len - before;
            self.spans += u32::from(!span.is_process);
            return Push::Added;
        }
        self.push_first(process, resource, span)
    }

    /// Starts the group of a process with its first span.
    fn push_first(
        &mut self,
        process: ProcessKey,
        resource: &Arc<EncodedResource>,
        span: &Span<'_>,
    ) -> Push {
        if self.open == self.groups.len() {
            self.groups.push(Group::default());
        }
        let limit = self.max_bytes.saturating_sub(self.size_bytes);
        let fits = self.groups.get_mut(self.open).is_some_and(|group| {
            group.buffer.len = 0;
            group.buffer.append(limit, |mut writer| {
                writer.bytes(resource.head());
                otlp::span(writer, span).finish()
            })
        });
        let Some(group) = self.groups.get_mut(self.open).filter(|_| fits) else {
            return if self.is_empty() {
                Push::TooLarge
            } else {
                Push::Full
            };
        };
        group.resource = Some(Arc::clone(resource));
        self.size_bytes += group.buffer.len;
        self.spans += u32::from(!span.is_process);
        self.by_process.insert(process, self.open);
        self.open += 1;
        Push::Added
    }

    /// Returns the request and leaves the batch empty.
    ///
    /// Allocates once, or not at all if the previous request was dropped and
    /// had a similar size. The buffers kept for the next request total at most
    /// twice the limit.
    pub fn take(&mut self) -> EncodedBatch {
        let mut bytes = self.spare.take(self.size_bytes);
        let mut kept = 0;
        for group in self.groups.iter_mut().take(self.open) {
            bytes.extend_from_slice(group.close());
            group.resource = None;
            group.buffer.len = 0;
            kept += group.buffer.bytes.len();
            if kept > self.max_bytes * 2 {
                kept -= group.buffer.bytes.len();
                group.buffer = Buffer::default();
            }
        }
        for group in self.groups.iter_mut().skip(self.open) {
            kept += group.buffer.bytes.len();
            if kept > self.max_bytes * 2 {
                kept -= group.buffer.bytes.len();
                group.buffer = Buffer::default();
            }
        }
        let spans = self.spans;
        self.by_process.clear();
        (self.open, self.size_bytes, self.spans) = (0, 0, 0);
        EncodedBatch {
            bytes: self.spare.share(bytes),
            spans,
        }
    }
}
