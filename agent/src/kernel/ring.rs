//! Reads the ring buffer.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Records taken at most before the caller gets its turn again: the programs
/// can fill the ring as fast as it is emptied.
const MAX_RECORDS: usize = 16_384;

/// The reading end of the ring buffer, with what takes the records.
pub struct CaptureRing<'cb> {
    ring: RingBuffer<'cb>,
}

impl<'cb> CaptureRing<'cb> {
    pub(super) fn new(
        map: &dyn MapCore,
        mut record: impl FnMut(&[u8]) + 'cb,
    ) -> libbpf_rs::Result<Self> {
        let mut builder = RingBufferBuilder::new();
        builder.add(map, move |bytes| {
            record(bytes);
            0
        })?;
        Ok(Self {
            ring: builder.build()?,
        })
    }

    /// Waits for the fill level, for `other` to become readable, or for the
    /// time. Unlike `ring_buffer__poll()` it takes no records, of which there
    /// could be no end.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&self, other: BorrowedFd<'_>, timeout: Duration) -> libbpf_rs::Result<()> {
        // SAFETY: the descriptor is the ring's own and is open as long as it.
        let epoll = unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) };
        let mut either = [
            PollFd::new(&epoll, PollFlags::IN),
            PollFd::new(&other, PollFlags::IN),
        ];
        match poll(&mut either, Timespec::try_from(timeout).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(libbpf_rs::Error::from_raw_os_error(errno.raw_os_error())),
        }
    }

    /// Takes the records there are, up to some ten thousand. Returns how many
    /// there were.
    ///
    /// # Errors
    /// When the ring cannot be read.
    pub fn take(&self) -> libbpf_rs::Result<usize> {
        let taken = self.ring.consume_raw_n(MAX_RECORDS);
        usize::try_from(taken).map_err(|_| libbpf_rs::Error::from_raw_os_error(-taken))
    }
}
