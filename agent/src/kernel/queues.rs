//! Which of the queues that calls were seen on still exist in the kernel.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use libbpf_rs::libbpf_sys::{bpf_prog_test_run_opts, bpf_test_run_opts};
use libbpf_rs::{MapCore as _, MapHandle};

use super::bpf_error::into_io;
use crate::skel::types::queue_key;

/// Identifies a queue, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueKey {
    /// Inode number of the queue.
    pub queue: u64,
    /// Inode number of the IPC namespace.
    pub ipc_namespace: u32,
}

/// The kernel's table `queues`, and the program that looks an entry's queue up.
pub(super) struct NotedQueues {
    pub(super) table: MapHandle,
    /// The program `queue_is_there`.
    pub(super) is_there: OwnedFd,
}

impl NotedQueues {
    /// Each noted queue, and whether it still exists. Queues that do not are forgotten.
    pub(super) fn read(&self) -> io::Result<Vec<(QueueKey, bool)>> {
        let mut queues = Vec::new();
        // Keys first: after a deletion the kernel's walk begins anew.
        let keys: Vec<Vec<u8>> = self.table.keys().collect();
        for bytes in keys {
            // SAFETY: `queue_key` is `repr(C)` of integers only, so any bytes are
            // a value of it; a key of this table has as many, and the read asks no
            // alignment.
            let key = unsafe { bytes.as_ptr().cast::<queue_key>().read_unaligned() };
            let is_there = self.is_there(&key)?;
            if !is_there {
                self.table.delete(&bytes).map_err(into_io)?;
            }
            let queue_key { queue, ipc_ns, .. } = key;
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

    /// Runs the program on one key.
    fn is_there(&self, key: &queue_key) -> io::Result<bool> {
        let arguments = [key.queue, key.ipc_ns.into()];
        let mut options = bpf_test_run_opts {
            sz: size_of::<bpf_test_run_opts>() as u64,
            ctx_in: arguments.as_ptr().cast(),
            ctx_size_in: size_of_val(&arguments) as u32,
            ..bpf_test_run_opts::default()
        };
        // SAFETY: the descriptor is open, and the kernel reads `ctx_size_in` bytes
        // of the arguments, which outlive the call.
        let code = unsafe { bpf_prog_test_run_opts(self.is_there.as_raw_fd(), &mut options) };
        if code < 0 {
            return Err(io::Error::from_raw_os_error(-code));
        }
        Ok(options.retval != 0)
    }
}
