//! What `/proc/<pid>` adds to the kernel's report.
//!
//! A process controls how long its files there are and how long a reader waits.
//! So every read is bounded, and none happens on the capture thread.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use super::environment::Environment;
use crate::container::Container;
use crate::event::ProcessKey;

/// Limit for each file.
const READ_MAX_BYTES: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Missing {
    pub(super) exe: bool,
    pub(super) container: bool,
    pub(super) environment: bool,
}

impl Missing {
    pub(super) fn anything(self) -> bool {
        self != Self::default()
    }
}

/// Facts from `/proc`, each `None` if it cannot be read.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct ProcFacts {
    pub(super) exe_path: Option<String>,
    pub(super) container: Option<Container>,
    pub(super) environment: Option<Environment>,
}

impl ProcFacts {
    /// Reads what is missing about the process with id `pid` in the agent's own
    /// PID namespace. Finds nothing if the process is gone or the id has been
    /// reused.
    pub(super) fn read(pid: u32, key: &ProcessKey, missing: Missing) -> Self {
        let directory = Path::new("/proc").join(pid.to_string());
        let mut facts = Self::default();
        if missing.exe {
            facts.exe_path = exe_path(&directory);
        }
        if missing.container {
            facts.container = read_bounded(&directory.join("cgroup"))
                .map(|bytes| Container::of_proc(&String::from_utf8_lossy(&bytes)))
                .ok();
        }
        if missing.environment {
            facts.environment = read_bounded(&directory.join("environ"))
                .map(|bytes| {
                    let is_whole = (bytes.len() as u64) < READ_MAX_BYTES;
                    Environment::parse(&bytes, is_whole).0
                })
                .ok();
        }
        // Checked last, so that everything read before is of the same process.
        if is_still(pid, key) {
            facts
        } else {
            Self::default()
        }
    }
}

/// Whether the id still stands for this process.
pub(super) fn is_still(pid: u32, key: &ProcessKey) -> bool {
    let directory = Path::new("/proc").join(pid.to_string());
    start_ns(&directory).is_some_and(|start| same_start(start, key.start_ns))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(READ_MAX_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn exe_path(directory: &Path) -> Option<String> {
    let path = fs::read_link(directory.join("exe")).ok()?;
    let path = path.to_string_lossy();
    Some(path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned())
}

/// Start of a process in ns since boot, from field 22 of `stat`, proc(5). The
/// field is in clock ticks, which are 10 ms in user space everywhere.
fn start_ns(directory: &Path) -> Option<u64> {
    let stat = read_bounded(&directory.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The second field is a name in parentheses that may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ticks * 10_000_000)
}

/// `stat` truncates the start to the tick.
fn same_start(from_stat_ns: u64, start_ns: u64) -> bool {
    start_ns.abs_diff(from_stat_ns) <= 10_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process_and_no_other() {
        let missing = Missing {
            exe: true,
            container: true,
            environment: true,
        };
        let pid = std::process::id();
        let start = start_ns(Path::new("/proc/self")).unwrap();
        let key = |start_ns| ProcessKey {
            pid,
            start_ns,
            exec_id: 0,
        };
        let facts = ProcFacts::read(pid, &key(start), missing);
        let own = std::env::current_exe().unwrap();
        assert_eq!(facts.exe_path.as_deref(), own.to_str());
        assert!(facts.environment.is_some() && facts.container.is_some());
        let another = ProcFacts::read(pid, &key(start + 20_000_000), missing);
        assert_eq!(another, ProcFacts::default());
        let nothing = ProcFacts::read(pid, &key(start), Missing::default());
        assert_eq!(nothing, ProcFacts::default());
    }

    #[test]
    fn endless_files_end() {
        let bytes = read_bounded(Path::new("/dev/zero")).unwrap();
        assert_eq!(bytes.len() as u64, READ_MAX_BYTES);
    }
}
