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
        let mut taken = 0;
        if let Wait::For(timeout) = wait {
            // Woken by the fill level, it takes records itself.
            taken = match self.ring.poll_raw(timeout) {
                error if error == -libc::EINTR => 0,
                count => counted(count)?,
            };
        }
        Ok(taken + counted(self.ring.consume_raw())?)
    }
}

/// A number of records, or a negative errno.
fn counted(outcome: i32) -> libbpf_rs::Result<usize> {
    usize::try_from(outcome).map_err(|_| libbpf_rs::Error::from_raw_os_error(-outcome))
}
