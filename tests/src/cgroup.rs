//! Control groups of either version: one with a memory limit, and one that looks like a
//! container's.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::Bench;

/// The memory limit in the chart, in bytes.
pub(crate) const CHART_MEMORY: u64 = 256 << 20;

/// A group with a memory limit. It is removed when dropped, once its processes have ended.
pub(crate) struct MemoryLimit {
    path: PathBuf,
    is_v1: bool,
    scripts: TempDir,
}

impl MemoryLimit {
    pub(crate) fn new(bytes: u64) -> Result<MemoryLimit> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let v2 = Path::new("/sys/fs/cgroup");
        let is_v1 = v1.join("cgroup.procs").exists();
        if !is_v1 && !v2.join("cgroup.controllers").exists() {
            bail!("no cgroup file system in /sys/fs/cgroup");
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mqspan-e2e.{}.{number}", std::process::id());
        let path = if is_v1 { v1 } else { v2 }.join(name);
        if !is_v1 {
            fs::write(v2.join("cgroup.subtree_control"), "+memory")
                .context("no memory controller")?;
        }
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        let group = MemoryLimit {
            path,
            is_v1,
            scripts: TempDir::with_prefix("mqspan-e2e")?,
        };
        let limit = group.file("memory.limit_in_bytes", "memory.max");
        fs::write(&limit, bytes.to_string()).with_context(|| limit.display().to_string())?;
        Ok(group)
    }

    fn file(&self, v1: &str, v2: &str) -> PathBuf {
        self.path.join(if self.is_v1 { v1 } else { v2 })
    }

    /// Includes memory of the kernel and the page cache. `None` where the kernel does not report
    /// it: with version 2 before 5.19.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        let path = self.file("memory.max_usage_in_bytes", "memory.peak");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// How many processes of the group the kernel has killed for want of memory.
    pub(crate) fn killed(&self) -> Result<u64> {
        let path = self.file("memory.oom_control", "memory.events");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count
            .with_context(|| format!("{}: no oom_kill: {text}", path.display()))?
            .parse()
            .map_err(Into::into)
    }

    /// The same bench, with its agents in the group from their first instruction on.
    pub(crate) fn bench(&self, bench: &Bench) -> Result<Bench> {
        let script = self.scripts.path().join("mqspan");
        let procs = self.path.join("cgroup.procs");
        let text = format!(
            "#!/bin/sh\necho $$ >{} && exec {} \"$@\"\n",
            procs.display(),
            bench.agent.display()
        );
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(Bench {
            agent: script,
            ..bench.clone()
        })
    }
}

/// Removes a group. Retries, because a killed process leaves its group a little later.
fn remove(group: &Path) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while let Err(error) = fs::remove_dir(group) {
        if error.kind() != ErrorKind::ResourceBusy || Instant::now() > give_up {
            eprintln!("{}: {error}", group.display());
            return;
        }
        sleep(Duration::from_millis(5));
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// A container's groups, one in each hierarchy. They are removed when dropped, with what was made
/// below them.
pub(crate) struct ContainerGroups {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) id: String,
}

impl ContainerGroups {
    /// Makes groups where Docker's cgroupfs driver does.
    pub(crate) fn new() -> Result<ContainerGroups> {
        Self::named("docker/ID")
    }

    /// Makes groups at a path in which `ID` stands for the container's id.
    pub(crate) fn named(form: &str) -> Result<ContainerGroups> {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let id = uuid.trim().replace('-', "").repeat(2);
        let mut groups = ContainerGroups {
            paths: Vec::new(),
            id,
        };
        let top = Path::new("/sys/fs/cgroup");
        let mut roots = vec![top.to_owned()];
        for entry in fs::read_dir(top).context("no cgroup file system in /sys/fs/cgroup")? {
            roots.push(entry?.path());
        }
        let is_v2 = top.join("cgroup.procs").exists();
        // A cpuset takes no process before it has CPUs.
        roots.retain(|root| {
            root.join("cgroup.procs").exists()
                && (!is_v2 || root == top)
                && !root.ends_with("cpuset")
        });
        for root in roots {
            let path = root.join(form.replace("ID", &groups.id));
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
            groups.paths.push(path);
        }
        Ok(groups)
    }
}

impl ContainerGroups {
    /// Removes all other groups.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(&PathBuf) -> bool) {
        let (paths, others) = self.paths.drain(..).partition(is_wanted);
        self.paths = others;
        self.remove_all();
        self.paths = paths;
    }

    fn remove_all(&self) {
        for path in &self.paths {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    remove(&entry.path());
                }
            }
            remove(path);
            // Other containers' groups may be there.
            for above in path.ancestors().skip(1) {
                if fs::remove_dir(above).is_err() {
                    break;
                }
            }
        }
    }
}

impl Drop for ContainerGroups {
    fn drop(&mut self) {
        self.remove_all();
    }
}

#[cfg(test)]
mod tests {
    use super::CHART_MEMORY;

    #[test]
    fn the_limit_is_the_charts() {
        let values = include_str!("../../helm/mqspan/values.yaml");
        let limits = values.split_once("limits:").map(|(_, limits)| limits);
        let mut lines = limits.into_iter().flat_map(str::lines);
        let memory = lines.find_map(|line| line.trim().strip_prefix("memory: "));
        assert_eq!(memory, Some(format!("{}Mi", CHART_MEMORY >> 20).as_str()));
    }
}
