//! The memory of another process.

use std::cell::Cell;
use std::io::IoSliceMut;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Bounds for one process.
const MAX_BYTES: usize = 16 << 20;
const MAX_READS: usize = 20_000;

/// Why a process was not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("not permitted")]
    NotPermitted,
    #[error("larger than the bounds")]
    TooMuch,
    /// Ended, changed meanwhile, or makes no sense.
    #[error("unreadable")]
    Unreadable,
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Unreadable,
        }
    }
}

pub(super) trait Memory {
    /// Fills `bytes` from this address on.
    ///
    /// # Errors
    /// If not all of it can be read, or the bounds are reached.
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Refused>;
}

/// Reads a value of `N` bytes.
pub(super) fn read_array<const N: usize>(
    memory: &impl Memory,
    at: u64,
) -> Result<[u8; N], Refused> {
    let mut bytes = [0; N];
    memory.read(at, &mut bytes)?;
    Ok(bytes)
}

/// Reads a number of 32 bits.
pub(super) fn read_u32(memory: &impl Memory, at: u64) -> Result<u32, Refused> {
    read_array(memory, at).map(u32::from_ne_bytes)
}

pub(super) struct ProcessMemory {
    pid: Pid,
    bytes: Cell<usize>,
    reads: Cell<usize>,
    deadline: Instant,
}

impl ProcessMemory {
    pub(super) fn new(pid: u32, deadline: Instant) -> Self {
        Self {
            pid: Pid::from_raw(pid.cast_signed()),
            bytes: Cell::new(0),
            reads: Cell::new(0),
            deadline,
        }
    }
}

impl Memory for ProcessMemory {
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Refused> {
        let wanted = bytes.len();
        self.bytes.set(self.bytes.get().saturating_add(wanted));
        self.reads.set(self.reads.get() + 1);
        if self.bytes.get() > MAX_BYTES
            || self.reads.get() > MAX_READS
            || Instant::now() > self.deadline
        {
            return Err(Refused::TooMuch);
        }
        let base = usize::try_from(at).map_err(|_| Refused::Unreadable)?;
        let from = RemoteIoVec { base, len: wanted };
        match process_vm_readv(self.pid, &mut [IoSliceMut::new(bytes)], &[from]) {
            Ok(read) if read == wanted => Ok(()),
            Err(Errno::EPERM) => Err(Refused::NotPermitted),
            Ok(_) | Err(_) => Err(Refused::Unreadable),
        }
    }
}
