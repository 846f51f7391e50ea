//! Runs `mqwork` and reads its truth.

use std::ffi::OsString;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::Bench;
use crate::spawn::cannot_run;
use crate::truth::{self, Call};

/// An `mqwork` command line with queues and a truth of its own.
pub(crate) struct Workload {
    program: PathBuf,
    args: Vec<String>,
    prefix: String,
    truth: PathBuf,
    dir: TempDir,
    uid: u32,
    variables: Vec<(String, OsString)>,
}

impl Workload {
    pub(crate) fn new(program: PathBuf, scenario: &[&str]) -> Result<Workload> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = TempDir::with_prefix("mqspan-e2e")?;
        let truth = dir.path().join("truth");
        let prefix = format!("/e2e.{}.{number}", std::process::id());
        let mut args = vec![
            "--truth".to_owned(),
            truth.display().to_string(),
            "--prefix".to_owned(),
            prefix.clone(),
        ];
        args.extend(scenario.iter().map(|&arg| arg.to_owned()));
        Ok(Workload {
            program,
            args,
            prefix,
            truth,
            dir,
            uid: 0,
            variables: Vec::new(),
        })
    }

    /// Runs as this user, in no other group.
    pub(crate) fn with_user(mut self, uid: u32) -> Result<Workload> {
        chown(self.dir.path(), Some(uid), Some(uid))?;
        self.uid = uid;
        Ok(self)
    }

    /// Runs with this variable in its environment.
    pub(crate) fn with_variable(mut self, name: &str, value: impl Into<OsString>) -> Workload {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.variables.iter().cloned())
            .kill_on_drop(true);
        if self.uid != 0 {
            command.uid(self.uid).gid(self.uid);
        }
        command
    }

    /// The prefix of its queues' names.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The program and its arguments, for a command that runs it.
    pub(crate) fn command_line(&self) -> Vec<String> {
        let mut line = vec![self.program.display().to_string()];
        line.extend(self.args.iter().cloned());
        line
    }

    pub(crate) fn truth(&self) -> Result<Vec<Call>> {
        truth::read(&self.truth)
    }

    pub(crate) async fn run(&self, bench: &Bench) -> Result<Vec<Call>> {
        self.run_untold(bench).await?;
        self.truth()
    }

    /// Runs the scenario without reading its truth.
    pub(crate) async fn run_untold(&self, bench: &Bench) -> Result<()> {
        self.run_for(bench, Duration::from_secs(60)).await
    }

    /// Like [`Workload::run_untold`], for at most this long on a fast machine.
    pub(crate) async fn run_for(&self, bench: &Bench, at_most: Duration) -> Result<()> {
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot_run(&self.program))?;
        let bound = at_most * bench.slow_factor;
        let output = tokio::time::timeout(bound, child.wait_with_output())
            .await
            .context("the workload did not end")??;
        ensure!(
            output.status.success(),
            "the workload failed, {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Starts a scenario that holds, and returns once it reports that it is blocked.
    pub(crate) async fn hold(&self, bench: &Bench) -> Result<Held> {
        self.hold_once(bench, "blocked").await
    }

    /// Starts a program that runs until it is released, and returns once it has said `word`.
    pub(crate) async fn hold_once(&self, bench: &Bench, word: &str) -> Result<Held> {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(cannot_run(&self.program))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let stdout = BufReader::new(stdout);
        let mut held = Held { child, stdout };
        held.wait_for(bench, word).await?;
        Ok(held)
    }
}

/// A workload that runs until it is released.
pub(crate) struct Held {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Held {
    async fn wait_for(&mut self, bench: &Bench, word: &str) -> Result<()> {
        let mut line = String::new();
        tokio::time::timeout(bench.bound(60), self.stdout.read_line(&mut line))
            .await
            .with_context(|| format!("the workload did not say {word:?}"))??;
        ensure!(
            line.trim_end() == word,
            "the workload said {line:?}, not {word:?}"
        );
        Ok(())
    }

    /// Lets it take its next step, and returns once it has said `word`.
    pub(crate) async fn step(&mut self, bench: &Bench, word: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("no standard input")?;
        stdin.write_all(b"\n").await?;
        self.wait_for(bench, word).await
    }

    /// # Errors
    ///
    /// When the workload has ended.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the workload has ended")
    }

    pub(crate) async fn release(mut self, bench: &Bench) -> Result<()> {
        drop(self.child.stdin.take());
        let status = tokio::time::timeout(bench.bound(60), self.child.wait())
            .await
            .context("the workload did not end")??;
        ensure!(status.success(), "the workload failed, {status}");
        Ok(())
    }
}
