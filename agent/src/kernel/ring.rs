//! Reads the ring buffer.

use std::time::Duration;

use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};

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

    /// Takes all records there are, after waiting for the fill level or the
    /// time. Returns how many there were.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn take(&self, wait: Wait) -> libbpf_rs::Result<usize> {
        if let Wait::For(timeout) = wait {
            let woken = self.ring.poll_raw(timeout);
            if woken < 0 && woken != -libc::EINTR {
                return Err(libbpf_rs::Error::from_raw_os_error(-woken));
            }
        }
        let taken = self.ring.consume_raw();
        usize::try_from(taken).map_err(|_| libbpf_rs::Error::from_raw_os_error(-taken))
    }
}
