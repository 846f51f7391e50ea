//! Blocked callers by queue, from the kernel's list of threads.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

use libbpf_rs::libbpf_sys::bpf_iter_create;

use crate::event::{Call, Event, Operation};
use crate::skel::types::call_event;

/// Callers blocked in the same kind of call on the same queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Name of the queue, if known.
    pub queue: Option<String>,
    /// Inode number of the IPC namespace.
    pub ipc_namespace: u32,
    /// Whether they send; otherwise they receive.
    pub send: bool,
    pub callers: u64,
}

/// The calls in which threads are blocked at one moment. Only the thread's
/// identity and what is known at the entry are valid.
#[derive(Debug, Default)]
pub struct WaitingCalls(Vec<u8>);

/// Reads the whole output of an iterator.
fn run_iterator(link: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    // SAFETY: the call has no memory of ours to touch; it gives a descriptor
    // that nobody has yet, or a negative errno.
    let mut written = unsafe {
        match bpf_iter_create(link.as_raw_fd()) {
            descriptor if descriptor >= 0 => File::from_raw_fd(descriptor),
            error => return Err(io::Error::from_raw_os_error(-error)),
        }
    };
    let mut bytes = Vec::new();
    written.read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl WaitingCalls {
    /// Runs the iterator `it_waiting` of `bpf/blocked.bpf.h` over all threads.
    pub(super) fn read(link: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(run_iterator(link)?))
    }

    /// In the order of the kernel's list of threads.
    pub fn iter(&self) -> impl Iterator<Item = Call<'_>> {
        let records = self.0.chunks_exact(size_of::<call_event>());
        // The record of a thread that has just left its call can be half
        // overwritten by another one. That is no worse than a stale record.
        records.filter_map(|record| match Event::parse(record) {
            Ok(Event::Call(call)) => Some(call),
            _ => None,
        })
    }

    /// The number of callers, by queue and direction.
    pub(super) fn sum(&self) -> Vec<Waiting> {
        let mut sums: HashMap<(Option<String>, u32, bool), u64> = HashMap::new();
        for call in self.iter() {
            let queue = call.name.map(|name| name.into_owned());
            let send = Operation::is_send(call.operation);
            *sums.entry((queue, call.ipc_namespace, send)).or_default() += 1;
        }
        sums.into_iter()
            .map(|((queue, ipc_namespace, send), callers)| Waiting {
                queue,
                ipc_namespace,
                send,
                callers,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_calls::raw_receive;

    #[test]
    fn callers_are_summed_by_queue_and_direction() {
        let one = raw_receive();
        let mut waiting = WaitingCalls([one.clone(), one].concat());
        assert_eq!(
            waiting.sum(),
            [Waiting {
                queue: Some("/orders".to_owned()),
                ipc_namespace: 4_026_531_839,
                send: false,
                callers: 2
            }]
        );
        waiting.0.truncate(waiting.0.len() - 1);
        assert_eq!(waiting.iter().count(), 1);
        assert_eq!(WaitingCalls::default().sum(), []);
    }
}
