//! Which of the functions that programs hook this kernel has.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// Names of the kernel's functions that have to do with message queues.
#[derive(Debug, Clone, Default)]
pub struct KernelSymbols {
    names: HashSet<String>,
}

impl KernelSymbols {
    /// From `/proc/kallsyms`. Its addresses may be hidden by
    /// `kernel.kptr_restrict`; the names are not.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read() -> io::Result<Self> {
        Self::parse(BufReader::new(File::open("/proc/kallsyms")?))
    }

    /// Keeps of lines `address type name [module]` the functions of
    /// `ipc/mqueue.c` and `ipc/msgutil.c`, and what BPF programs may call.
    fn parse(mut lines: impl BufRead) -> io::Result<Self> {
        let mut names = HashSet::new();
        let mut line = String::new();
        while lines.read_line(&mut line)? != 0 {
            let mut words = line.split_ascii_whitespace().skip(1);
            if let (Some("t" | "T"), Some(name)) = (words.next(), words.next())
                && (name.contains("mq_") || name.ends_with("_msg") || name == "bpf_rdonly_cast")
            {
                names.insert(name.to_owned());
            }
            line.clear();
        }
        Ok(Self { names })
    }

    /// Is there a function of this name?
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
