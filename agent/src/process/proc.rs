//! What `/proc/<pid>` adds to what the kernel reported.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::environment::Environment;
use crate::container::Container;
use crate::event::ProcessKey;

/// Facts from `/proc`, each empty where it could not be had.
#[derive(Default)]
pub(super) struct ProcFacts {
    pub(super) exe_path: String,
    pub(super) uid: Option<u32>,
    pub(super) container: Container,
    /// Last parts of its cgroups' paths, one for each hierarchy.
    cgroups: Vec<String>,
    pub(super) environment: Environment,
}

impl ProcFacts {
    /// Empty where the process is gone, the number has gone to another, or it
    /// has become another program: `exe_name` is what the kernel reported, cut
    /// at 63 bytes, or empty.
    pub(super) fn read(key: &ProcessKey, exe_name: &str) -> Self {
        let directory = format!("/proc/{}", key.pid);
        let exe_path = fs::read_link(format!("{directory}/exe"))
            .map(|path| {
                let path = path.to_string_lossy();
                path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned()
            })
            .unwrap_or_default();
        let cgroup = fs::read_to_string(format!("{directory}/cgroup")).unwrap_or_default();
        let mut facts = Self {
            exe_path,
            uid: fs::metadata(&directory).ok().map(|meta| meta.uid()),
            container: Container::of_proc(&cgroup),
            cgroups: cgroup
                .lines()
                .filter_map(|line| line.rsplit('/').next())
                .map(str::to_owned)
                .collect(),
            environment: fs::read(format!("{directory}/environ"))
                .map(|bytes| Environment::parse(&bytes))
                .unwrap_or_default(),
        };
        // Checked last: what was read before is of the process that is there.
        if !start_ns(&directory).is_some_and(|start| same_start(start, key.start_ns)) {
            return Self::default();
        }
        let is_other = facts
            .exe_name()
            .is_some_and(|name| !exe_name.is_empty() && !name.starts_with(exe_name));
        if is_other {
            facts.exe_path.clear();
            facts.environment = Environment::default();
        }
        facts
    }

    /// Is the process still in the cgroup that the kernel reported, whose name
    /// it cuts at 127 bytes? Then what is known of its container is true of
    /// all that run in that cgroup.
    pub(super) fn is_in(&self, cgroup: &str) -> bool {
        self.cgroups.iter().any(|name| {
            if cgroup.len() < 127 {
                name == cgroup
            } else {
                name.starts_with(cgroup)
            }
        })
    }

    pub(super) fn exe_name(&self) -> Option<&str> {
        self.exe_path
            .rsplit('/')
            .next()
            .filter(|name| !name.is_empty())
    }
}

/// Start of a process in boot time, from field 22 of `stat`, proc(5). It is in
/// clock ticks, which are a hundredth of a second to user space everywhere.
fn start_ns(directory: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("{directory}/stat")).ok()?;
    // The second field is a name in parentheses that may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(ticks * 10_000_000)
}

/// `stat` cuts the start to the tick.
fn same_start(from_stat_ns: u64, start_ns: u64) -> bool {
    start_ns.abs_diff(from_stat_ns) <= 10_000_000
}
