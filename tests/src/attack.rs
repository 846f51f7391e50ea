//! Runs one attack of the program `hostile`.

use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::Bench;
use crate::cgroup::ContainerGroups;

/// An attack that `tests/hostile/main.c` lists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) workers: u32,
    /// Number of threads or names, in attacks that make many. 0 leaves it to the attack.
    pub(crate) count: u32,
}

impl Attack {
    pub(crate) const fn new(name: &'static str, workers: u32) -> Attack {
        Attack {
            name,
            workers,
            count: 0,
        }
    }

    pub(crate) const fn with_count(self, count: u32) -> Attack {
        Attack { count, ..self }
    }

    /// Runs as this user, or as root of a container. Returns the approximate number of calls, since
    /// the attack may be killed during some.
    pub(crate) async fn run(&self, bench: &Bench, uid: u32) -> Result<u64> {
        self.run_for(bench, uid, bench.hostile_seconds).await
    }

    /// Like [`Attack::run`], for `seconds` of a fast machine.
    pub(crate) async fn run_for(&self, bench: &Bench, uid: u32, seconds: u32) -> Result<u64> {
        if self.name == "container" {
            let groups = ContainerGroups::new()?;
            self.run_in(bench, 0, seconds, &groups.paths).await
        } else {
            self.run_in(bench, uid, seconds, &[]).await
        }
    }

    /// Like [`Attack::run_for`], in a container with these groups.
    pub(crate) async fn run_in(
        &self,
        bench: &Bench,
        uid: u32,
        seconds: u32,
        groups: &[PathBuf],
    ) -> Result<u64> {
        let span = bench.bound(seconds.into());
        let directory = TempDir::with_prefix("mqspan-hostile")?;
        chown(directory.path(), Some(uid), Some(uid))?;
        let mut command = Command::new(bench.beside_workload("hostile")?);
        for (name, value) in [
            ("--uid", u64::from(uid)),
            ("--seconds", span.as_secs()),
            ("--workers", self.workers.into()),
            ("--count", self.count.into()),
        ] {
            command.arg(name).arg(value.to_string());
        }
        command.arg("--directory").arg(directory.path());
        for path in groups {
            command.arg("--cgroup").arg(path);
        }
        let child = command
            .arg(self.name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let bound = span + bench.bound(30);
        let output = tokio::time::timeout(bound, child.wait_with_output())
            .await
            .with_context(|| format!("the attack {} did not end within {bound:?}", self.name))??;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "the attack {} cannot run here, {}: {told}",
            self.name,
            output.status
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let counted: serde_json::Value = serde_json::from_str(&text)
            .with_context(|| format!("the attack {} said {text:?}: {told}", self.name))?;
        counted
            .get("calls")
            .and_then(serde_json::Value::as_u64)
            .with_context(|| format!("the attack {} counted nothing: {text}", self.name))
    }
}
