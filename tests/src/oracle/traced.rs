//! A program under strace, in an IPC namespace of its own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::spawn::cannot_run;

/// Prints the namespace, and goes on once there is a line to read.
const GATE: &str = "readlink /proc/self/ns/ipc && read -r go && exec strace \"$@\"";

/// `-y` prints descriptors with their paths, which name the queues. `-s 0` leaves out the bytes of
/// messages. There is only one `-q`, since a second would hide what ended a thread.
const STRACE: [&str; 9] = [
    "-f",
    "-q",
    "-y",
    "-v",
    "-s",
    "0",
    "-e",
    "trace=/^mq_",
    "-esignal=none",
];

/// A program whose namespace exists and that has not begun.
pub(super) struct Stopped {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ipc_namespace: String,
    dir: TempDir,
}

pub(super) struct Run {
    pub(super) code: Option<i32>,
    pub(super) output: String,
    pub(super) strace: String,
}

impl Stopped {
    pub(super) async fn new(command: &[String]) -> Result<Stopped> {
        let dir = TempDir::with_prefix("mqspan-oracle")?;
        let mut child = Command::new("unshare")
            .args(["--ipc", "sh", "-c", GATE, "sh"])
            .args(STRACE)
            .arg("-o")
            .arg(dir.path().join("strace"))
            .arg("--")
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot_run("unshare"))?;
        let mut stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut ipc_namespace = String::new();
        stdout.read_line(&mut ipc_namespace).await?;
        Ok(Stopped {
            child,
            stdout,
            ipc_namespace: ipc_namespace.trim_end().to_owned(),
            dir,
        })
    }

    /// In the form `ipc:[INODE]`.
    pub(super) fn ipc_namespace(&self) -> &str {
        &self.ipc_namespace
    }

    /// Lets the program run to its end.
    pub(super) async fn run(mut self, bound: Duration) -> Result<Run> {
        let mut gate = self.child.stdin.take().context("no standard input")?;
        gate.write_all(b"go\n").await?;
        drop(gate);
        let mut output = Vec::new();
        let to_the_end = async {
            self.stdout.read_to_end(&mut output).await?;
            self.child.wait().await
        };
        let status = tokio::time::timeout(bound, to_the_end)
            .await
            .with_context(|| format!("the program did not end within {bound:?}"))??;
        let path = self.dir.path().join("strace");
        Ok(Run {
            code: status.code(),
            output: String::from_utf8_lossy(&output).into_owned(),
            strace: std::fs::read_to_string(&path).context("no output of strace")?,
        })
    }
}
