//! The processes of the host as the kernel's programs know them: their ids in
//! the agent's namespace, and their parents.

use std::collections::HashMap;
use std::io::{self, Read as _};

use libbpf_rs::{Iter, Link};

use super::bpf_error::into_io;
use crate::skel::types::process_entry;

/// All processes at one moment, from the iterator `it_processes`.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    /// Id in the initial PID namespace, by the id in the agent's.
    ids: HashMap<u32, u32>,
    /// Parent by child, both as ids in the initial PID namespace.
    parents: HashMap<u32, u32>,
    /// Level of the agent's PID namespace; 0 is the initial one.
    pub(super) level_here: u32,
}

impl ProcessTable {
    /// Runs the iterator over all processes.
    pub(super) fn read(link: &Link) -> io::Result<Self> {
        let mut bytes = Vec::new();
        Iter::new(link).map_err(into_io)?.read_to_end(&mut bytes)?;
        let mut table = Self::default();
        for entry in bytes.chunks_exact(size_of::<process_entry>()) {
            // SAFETY: `process_entry` is `repr(C)` of integers only, so any
            // bytes are a value of it; there are as many, and the read asks no
            // alignment.
            let entry = unsafe { entry.as_ptr().cast::<process_entry>().read_unaligned() };
            table.parents.insert(entry.pid, entry.parent);
            table.level_here = entry.level_here;
            if entry.pid_here != 0 {
                table.ids.insert(entry.pid_here, entry.pid);
            }
        }
        Ok(table)
    }

    /// The id in the initial PID namespace. If the agent is in that namespace
    /// the two are the same, even if there is no such process.
    pub(super) fn kernel_pid(&self, pid_here: u32) -> Option<u32> {
        if self.level_here == 0 {
            return Some(pid_here);
        }
        self.ids.get(&pid_here).copied()
    }

    /// The named processes and all their descendants, with the verdict on the
    /// nearest named one. A process that starts meanwhile is seen at its fork.
    pub(super) fn with_descendants(&self, named: &[(u32, u8)]) -> HashMap<u32, u8> {
        extend(named, &self.parents)
    }
}

fn extend(named: &[(u32, u8)], parents: &HashMap<u32, u32>) -> HashMap<u32, u8> {
    let mut verdicts: HashMap<u32, u8> = named.iter().copied().collect();
    for &pid in parents.keys() {
        let mut line = Vec::new();
        let mut at = pid;
        let found = loop {
            if let Some(&verdict) = verdicts.get(&at) {
                break Some(verdict);
            }
            line.push(at);
            match parents.get(&at) {
                // A line longer than the number of processes is a cycle: the
                // table was read while processes came and went.
                Some(&parent) if parent != 0 && line.len() <= parents.len() => at = parent,
                _ => break None,
            }
        };
        if let Some(verdict) = found {
            verdicts.extend(line.into_iter().map(|pid| (pid, verdict)));
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_decides() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 3), (9, 1)]);
        let verdicts = extend(&[(2, 1), (4, 2)], &parents);
        assert_eq!(verdicts, HashMap::from([(2, 1), (3, 1), (4, 2), (5, 1)]));
    }

    #[test]
    fn a_circle_ends() {
        let parents = HashMap::from([(2, 3), (3, 2)]);
        assert_eq!(extend(&[(7, 1)], &parents), HashMap::from([(7, 1)]));
    }
}
