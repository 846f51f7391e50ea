//! Which of the queues that calls were seen on still exist in the kernel.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use libbpf_rs::{MapCore as _, MapHandle};

use super::bpf_error::into_io;
use super::waiting::run_iterator;
use crate::skel::types::{queue_entry, queue_key};

/// Identifies a queue, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueKey {
    /// Inode number of the queue.
    pub queue: u64,
    /// Inode number of the IPC namespace.
    pub ipc_namespace: u32,
}

/// The kernel's table `queues`, and the iterator `it_queues` over it.
pub(super) struct NotedQueues {
    pub(super) table: MapHandle,
    pub(super) iterator: OwnedFd,
}

impl NotedQueues {
    /// Each noted queue, and whether it still exists. Queues that do not are forgotten.
    pub(super) fn read(&self) -> io::Result<Vec<(QueueKey, bool)>> {
        let bytes = run_iterator(self.iterator.as_fd())?;
        let mut queues = Vec::new();
        for entry in bytes.chunks_exact(size_of::<queue_entry>()) {
            // SAFETY: `queue_entry` is `repr(C)` of integers only, so any
            // bytes are a value of it; there are as many, and the read asks no
            // alignment.
            let entry = unsafe { entry.as_ptr().cast::<queue_entry>().read_unaligned() };
            let is_there = entry.is_there != 0;
            if !is_there {
                self.table.delete(&bytes_of(&entry.key)).map_err(into_io)?;
            }
            let queue_key { queue, ipc_ns, .. } = entry.key;
            let ipc_namespace = ipc_ns;
            queues.push((
                QueueKey {
                    queue,
                    ipc_namespace,
                },
                is_there,
            ));
        }
        Ok(queues)
    }
}

fn bytes_of(key: &queue_key) -> [u8; size_of::<queue_key>()] {
    let mut bytes = [0; size_of::<queue_key>()];
    let (queue, rest) = bytes.split_at_mut(8);
    queue.copy_from_slice(&key.queue.to_ne_bytes());
    let (ipc_ns, _) = rest.split_at_mut(4);
    ipc_ns.copy_from_slice(&key.ipc_ns.to_ne_bytes());
    bytes
}
