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

/// How long to wait for records.
#[derive(Debug, Clone, Copy)]
pub enum Wait {
    /// Not at all.
    No,
    /// At most this long; a high fill level ends the wait.
    For(Duration),
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

    /// Takes the records there are, up to some ten thousand, after waiting for
    /// the fill level or the time. Returns how many there were.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn take(&self, wait: Wait) -> libbpf_rs::Result<usize> {
        if let Wait::For(timeout) = wait {
            self.wait(timeout)?;
        }
        let taken = self.ring.consume_raw_n(MAX_RECORDS);
        usize::try_from(taken).map_err(|_| libbpf_rs::Error::from_raw_os_error(-taken))
    }

    /// Unlike `ring_buffer__poll()` it takes no records, of which there could
    /// be no end.
    fn wait(&self, timeout: Duration) -> libbpf_rs::Result<()> {
        // SAFETY: the descriptor is the ring's own and is open as long as it.
        let epoll = unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) };
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut [PollFd::new(&epoll, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(libbpf_rs::Error::from_raw_os_error(errno.raw_os_error())),
        }
    }
}
