//! Reads the ring buffer, by the layout of `kernel/bpf/ringbuf.c`.
//!
//! libbpf maps the data twice in a row, so that no record is in two pieces, and
//! each copy counts as resident memory of the agent. Here the data is mapped
//! once, and the few records in two pieces are joined.

use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::{self, Errno};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::param::page_size;

/// Upper bound on records taken before control returns to the caller, because
/// the programs can fill the ring as fast as it is emptied.
pub const MAX_RECORDS: usize = 16_384;

/// Size of a record's header: its length and flags, and a page offset for the
/// kernel's own use.
const HEADER_SIZE: usize = 8;

/// `BPF_RINGBUF_BUSY_BIT`: being written.
const BUSY: u32 = 1 << 31;

/// `BPF_RINGBUF_DISCARD_BIT`: to be skipped.
const DISCARD: u32 = 1 << 30;

/// Pages shared with the kernel.
struct Mapping {
    start: NonNull<u8>,
    size: NonZeroUsize,
}

impl Mapping {
    fn new(
        map: BorrowedFd<'_>,
        offset: usize,
        size: NonZeroUsize,
        protection: ProtFlags,
    ) -> io::Result<Self> {
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                size.get(),
                protection,
                MapFlags::SHARED,
                map,
                offset as u64,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(Errno::FAULT)?;
        Ok(Self { start, size })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in new(), and nobody has a reference into it.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.size.get()) } {
            tracing::debug!(%error, "pages of the ring buffer stay mapped");
        }
    }
}

/// Callback for each record.
type Taker<'cb> = Box<dyn FnMut(&[u8]) + 'cb>;

/// The reading end of the ring buffer.
pub struct CaptureRing<'cb> {
    record: Taker<'cb>,
    /// One page: the position up to which records have been taken.
    consumer: Mapping,
    /// One page with the position up to which records have been reserved,
    /// followed by the data.
    producer: Mapping,
    /// Bytes, a power of two.
    size: NonZeroUsize,
    /// Readable if a program has woken the agent since the last look.
    woken: OwnedFd,
    /// For a record that is in two pieces.
    joined: Vec<u8>,
}

impl<'cb> CaptureRing<'cb> {
    /// `map` is a `BPF_MAP_TYPE_RINGBUF` of `size` bytes.
    pub(super) fn new(
        map: BorrowedFd<'_>,
        size: u32,
        record: impl FnMut(&[u8]) + 'cb,
    ) -> io::Result<Self> {
        let page = NonZeroUsize::new(page_size()).ok_or(Errno::INVAL)?;
        let size = usize::try_from(size).ok().and_then(NonZeroUsize::new);
        let size = size
            .filter(|size| size.is_power_of_two())
            .ok_or(Errno::INVAL)?;
        let both = page.checked_add(size.get()).ok_or(Errno::INVAL)?;
        let woken = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Edge-triggered: otherwise records that came without a wake-up would
        // end a wait.
        epoll::add(
            &woken,
            map,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN | epoll::EventFlags::ET,
        )?;
        Ok(Self {
            record: Box::new(record),
            consumer: Mapping::new(map, 0, page, ProtFlags::READ | ProtFlags::WRITE)?,
            producer: Mapping::new(map, page.get(), both, ProtFlags::READ)?,
            size,
            woken,
            joined: Vec::new(),
        })
    }

    /// Waits until a program wakes the agent, `other` becomes readable, or
    /// `timeout` has passed.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&self, other: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        let mut either = [
            PollFd::new(&self.woken, PollFlags::IN),
            PollFd::from_borrowed_fd(other, PollFlags::IN),
        ];
        match poll(&mut either, Timespec::try_from(timeout).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let at_once = Timespec::default();
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        match epoll::wait(&self.woken, &mut events, Some(&at_once)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Takes up to [`MAX_RECORDS`] records. Returns their number.
    pub fn take(&mut self) -> usize {
        let mut position = self.consumed().load(Ordering::Relaxed);
        let mut taken = 0;
        while taken < MAX_RECORDS && position < self.produced().load(Ordering::Acquire) {
            let header = self.header(position).load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let len = (header & !DISCARD) as usize;
            if header & DISCARD == 0 {
                self.deliver(position, len);
                taken += 1;
            }
            position += (len + HEADER_SIZE).next_multiple_of(8) as u64;
            self.consumed().store(position, Ordering::Release);
        }
        taken
    }

    /// Hands over the record whose header is at `position`.
    fn deliver(&mut self, position: u64, len: usize) {
        let start = self.offset(position + HEADER_SIZE as u64);
        let len = len.min(self.size.get());
        let first = len.min(self.size.get() - start);
        // SAFETY: both pieces are within the data; between the two positions
        // the kernel writes to no record that is not busy.
        let (first, second) = unsafe {
            (
                std::slice::from_raw_parts(self.data().add(start), first),
                std::slice::from_raw_parts(self.data(), len - first),
            )
        };
        if second.is_empty() {
            (self.record)(first);
            return;
        }
        self.joined.clear();
        self.joined.extend_from_slice(first);
        self.joined.extend_from_slice(second);
        (self.record)(&self.joined);
    }

    /// Offset of a position in the data.
    fn offset(&self, position: u64) -> usize {
        (position & (self.size.get() as u64 - 1)) as usize
    }

    fn data(&self) -> *const u8 {
        // SAFETY: the mapping is of a page and of the data.
        unsafe { self.producer.start.as_ptr().add(page_size()) }
    }

    fn consumed(&self) -> &AtomicU64 {
        // SAFETY: the first word of the page, an unsigned long; only this
        // reader writes to it.
        unsafe { AtomicU64::from_ptr(self.consumer.start.as_ptr().cast()) }
    }

    fn produced(&self) -> &AtomicU64 {
        // SAFETY: the first word of the page, an unsigned long. It is only
        // loaded: the page is mapped without the right to write.
        unsafe { AtomicU64::from_ptr(self.producer.start.as_ptr().cast()) }
    }

    fn header(&self, position: u64) -> &AtomicU32 {
        // SAFETY: positions are multiples of 8, so the word is aligned and
        // within the data. It is only loaded.
        unsafe { AtomicU32::from_ptr(self.data().add(self.offset(position)).cast_mut().cast()) }
    }
}
