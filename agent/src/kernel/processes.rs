//! The processes of the host, as the kernel's programs know them: which ids
//! they have here, and who descends from whom.

use std::collections::HashMap;
use std::io::{self, Read as _};

use libbpf_rs::{Iter, Link};

use super::bpf_error::into_io;
use crate::skel::types::process_entry;

/// All processes at one moment, from the iterator `it_processes`.
#[derive(Debug, Default)]
pub(super) struct ProcessTable {
    /// By the id in the agent's PID namespace.
    ids: HashMap<u32, u32>,
    /// Ids of the initial PID namespace.
    parents: HashMap<u32, u32>,
    /// How deep the agent's PID namespace is; 0: the initial one.
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

    /// The kernel's id of the process that has this one here. In the initial
    /// namespace the two are the same, whether there is a process or not.
    pub(super) fn kernel_pid(&self, pid_here: u32) -> Option<u32> {
        if self.level_here == 0 {
            return Some(pid_here);
        }
        self.ids.get(&pid_here).copied()
    }

    /// The processes named, and all that descend from them, with the verdict of
    /// the nearest one named. One that starts meanwhile is seen at its fork.
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
                // A line longer than all processes is a circle: the table was
                // read while processes came and went.
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
