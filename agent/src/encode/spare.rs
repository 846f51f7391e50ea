//! Keeps the buffer of a request for the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Keeps the buffer of the request that was dropped last, for a request of
/// similar size. Consecutive requests are then made in the same memory, where
/// an allocator would spread them over the memory of several threads.
#[derive(Debug, Default, Clone)]
pub(super) struct SpareBuffer(Arc<Mutex<Vec<u8>>>);

impl SpareBuffer {
    /// Returns an empty buffer with room for `size` bytes, and for less than
    /// twice as many, so that a request in a queue holds no more memory than
    /// that.
    pub(super) fn take(&self, size: usize) -> Vec<u8> {
        let rounded = size.next_power_of_two();
        let mut spare = self.lock();
        if (size..=rounded).contains(&spare.capacity()) {
            return std::mem::take(&mut spare);
        }
        Vec::with_capacity(rounded)
    }

    /// Wraps the bytes. Their buffer comes back when the last clone is dropped.
    pub(super) fn share(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Shared {
            bytes,
            home: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shared {
    bytes: Vec<u8>,
    home: SpareBuffer,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // The buffer that it replaces is freed after the lock is released.
        let _old = std::mem::replace(&mut *self.home.lock(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::SpareBuffer;

    #[test]
    fn a_request_of_like_size_gets_the_buffer_of_the_last() {
        let spare = SpareBuffer::default();
        let mut first = spare.take(1000);
        first.extend_from_slice(&[1; 1000]);
        let at = first.as_ptr();
        let shared = spare.share(first);
        let clone = shared.clone();
        drop(shared);
        let beside = spare.take(1000);
        assert_ne!(beside.as_ptr(), at, "it is in use");
        assert_eq!(clone, [1; 1000][..]);
        drop(clone);

        for other in [400, 1025, 4000] {
            let buffer = spare.take(other);
            assert_ne!(buffer.as_ptr(), at, "{other} bytes");
        }
        let second = spare.take(600);
        assert_eq!((second.as_ptr(), second.len()), (at, 0));
    }

    #[test]
    fn there_is_room_and_not_too_much() {
        let spare = SpareBuffer::default();
        for size in [0, 1, 3, 500, 513, 512, 1 << 20, (1 << 20) + 1, 7] {
            let buffer = spare.take(size);
            let room = buffer.capacity();
            assert!(
                room >= size && room <= size.next_power_of_two(),
                "{size}: {room}"
            );
            drop(spare.share(buffer));
        }
    }
}
