//! Which of the functions that programs hook exist in this kernel.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// The function by which BPF programs read kernel memory with plain loads.
const RDONLY_CAST: &str = "bpf_rdonly_cast";
/// Present if tracing programs can use task storage. Both exist since Linux
/// 5.15; before, the first was for LSM programs only.
const TASK_STORAGE: [&str; 2] = ["bpf_task_storage_get", "bpf_task_pt_regs"];
/// Either is present if task storage works while another thread of the CPU is
/// preempted within its helpers: the first in `kernel/bpf/bpf_task_storage.c`
/// since Linux 6.2, the second in `bpf_local_storage.c` since the count of
/// callers was removed (4a98c2efa613).
const REENTRANT_TASK_STORAGE: [&str; 2] = ["bpf_task_storage_get_recur", "bpf_selem_unlink_nofail"];
/// In `kernel/trace/fprobe.c` since Linux 6.14 (4346ba160409): return probes
/// keep their data on a stack of the thread, not in a pool.
const FPROBE_BY_FGRAPH: &str = "fprobe_fgraph_entry";

/// Names of the kernel functions that are related to message queues.
#[derive(Debug, Clone, Default)]
pub struct KernelSymbols {
    names: HashSet<String>,
}

impl KernelSymbols {
    /// Reads `/proc/kallsyms`. `kernel.kptr_restrict` may hide its addresses,
    /// but not the names.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read() -> io::Result<Self> {
        Self::parse(BufReader::new(File::open("/proc/kallsyms")?))
    }

    /// Keeps from lines `address type name [module]` the functions of
    /// `ipc/mqueue.c` and `ipc/msgutil.c`, the returns from signal handlers,
    /// and those that indicate a feature.
    fn parse(mut lines: impl BufRead) -> io::Result<Self> {
        let mut names = HashSet::new();
        let mut line = String::new();
        while lines.read_line(&mut line)? != 0 {
            let mut words = line.split_ascii_whitespace().skip(1);
            if let (Some("t" | "T"), Some(name)) = (words.next(), words.next())
                && (name.contains("mq_")
                    || name.ends_with("_msg")
                    || name.ends_with("sigreturn")
                    || [RDONLY_CAST, FPROBE_BY_FGRAPH].contains(&name)
                    || REENTRANT_TASK_STORAGE.contains(&name)
                    || TASK_STORAGE.contains(&name))
            {
                names.insert(name.to_owned());
            }
            line.clear();
        }
        Ok(Self { names })
    }

    /// Whether BPF programs can read kernel memory with plain loads.
    pub(super) fn has_rdonly_cast(&self) -> bool {
        self.has(RDONLY_CAST)
    }

    /// Whether tracing programs can use task storage. `false` is not certain.
    pub(super) fn has_task_storage(&self) -> bool {
        TASK_STORAGE.iter().all(|name| self.has(name))
    }

    /// Whether task storage works while another program is preempted.
    pub(super) fn has_reentrant_task_storage(&self) -> bool {
        REENTRANT_TASK_STORAGE.iter().any(|name| self.has(name))
    }

    /// Whether `kprobe.multi` sees the returns of any number of blocked calls.
    pub(super) fn has_returns_without_pool(&self) -> bool {
        self.has(FPROBE_BY_FGRAPH)
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_functions_only() {
        let text = "0000000000000000 T load_msg\n\
                    0000000000000000 t do_mq_timedsend\n\
                    0000000000000000 d mq_maxmsg_default\n\
                    0000000000000000 T __x64_sys_read\n";
        let symbols = KernelSymbols::parse(text.as_bytes()).unwrap();
        assert!(symbols.has("load_msg"));
        assert!(symbols.has("do_mq_timedsend"));
        assert!(!symbols.has("mq_maxmsg_default"));
        assert!(!symbols.has("__x64_sys_read"));
    }
}
