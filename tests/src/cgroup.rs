//! A control group with a limit on memory, of either version.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::Bench;

/// Removed when dropped, once its processes have ended.
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
        let name = format!("mqspan-e2e.{}", std::process::id());
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

    /// The same bench, whose agents run in the group from their first instruction on.
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

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}
