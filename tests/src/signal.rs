//! Signals to processes, without the program `kill`, which not every system has.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to one process.
///
/// # Errors
///
/// When there is no such process, or when `pid` is 0, which would be the caller's whole process
/// group.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    kill_process(process_id(pid)?, signal).with_context(|| format!("{signal:?} to {pid}"))
}

/// Rejects 0 and what the kernel would read as negative: both name whole groups of processes.
fn process_id(pid: u32) -> Result<Pid> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .with_context(|| format!("{pid} is no process id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_refused() {
        for pid in [0, u32::MAX, i32::MIN.cast_unsigned()] {
            assert!(process_id(pid).is_err(), "{pid}");
        }
        assert!(process_id(1).is_ok());
        assert!(process_id(i32::MAX.cast_unsigned()).is_ok());
    }
}
