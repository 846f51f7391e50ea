//! Observers that watch while a workload runs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::agent::{self, Agent};
use crate::spawn::cannot_run;
use crate::workload::Workload;
use crate::{Bench, signal};

/// Files that do not come with the machine.
pub(super) struct Tools {
    pub(super) floor: PathBuf,
    pub(super) bpftrace_script: PathBuf,
}

/// Watches from its creation until it is stopped.
pub(super) enum Observer {
    Nobody,
    Mqspan(Box<Agent>),
    Floor(Child),
    Tool { child: Child, _output: TempDir },
}

impl Observer {
    /// mqspan with this filter. Its spans go nowhere, so that nothing competes with the workload
    /// for the CPUs and only what the workload pays is measured.
    pub(super) async fn mqspan(bench: &Bench, filter: Value) -> Result<Observer> {
        let over = json!({
            "capture": {"ring_buffer_size": "64MiB"},
            "filter": filter,
            "sampling": {"ratio": 0.0, "always_keep": {"errors": false}},
        });
        let config = agent::config(bench, "http://127.0.0.1:1", over);
        let agent = Agent::start(bench, config).await?;
        Ok(Observer::Mqspan(Box::new(agent)))
    }

    /// Empty programs, attached to the tracepoints that mqspan uses.
    pub(super) async fn floor(tools: &Tools) -> Result<Observer> {
        let mut child = Command::new(&tools.floor)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot_run(&tools.floor))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        ensure!(line == "attached\n", "the empty programs are not attached");
        Ok(Observer::Floor(child))
    }

    /// bpftrace, printing the same fields.
    pub(super) async fn bpftrace(bench: &Bench, tools: &Tools) -> Result<Observer> {
        // x86-64 numbers these calls differently from include/uapi/asm-generic/unistd.h.
        let (send, receive) = if cfg!(target_arch = "x86_64") {
            ("242", "243")
        } else {
            ("182", "183")
        };
        let script = text(&tools.bpftrace_script);
        Self::tool(bench, "bpftrace", &[&script, send, receive]).await
    }

    pub(super) async fn perf_trace(bench: &Bench) -> Result<Observer> {
        let args = ["trace", "-a", "-e", "mq_timedsend,mq_timedreceive"];
        Self::tool(bench, "perf", &args).await
    }

    /// Runs a tool with its output in a file, as in real use.
    async fn tool(bench: &Bench, program: &str, args: &[&str]) -> Result<Observer> {
        let directory = TempDir::with_prefix("mqspan-bench")?;
        let path = directory.path().join("output");
        let output = std::fs::File::create(&path)?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot_run(program))?;
        wait_until_it_sees(bench, program, &mut child, &path).await?;
        Ok(Observer::Tool {
            child,
            _output: directory,
        })
    }

    pub(super) async fn stop(self, bench: &Bench) -> Result<()> {
        match self {
            Observer::Nobody => Ok(()),
            Observer::Mqspan(agent) => {
                let balance = agent.stop_balanced(bench).await?;
                ensure!(balance.lost == 0, "calls were lost: {balance:?}");
                Ok(())
            }
            Observer::Floor(mut child) => {
                drop(child.stdin.take());
                child.wait().await?;
                Ok(())
            }
            Observer::Tool { mut child, .. } => {
                let pid = child.id().context("it has ended")?;
                signal::send(pid, Signal::INT)?;
                child.wait().await?;
                Ok(())
            }
        }
    }
}

/// Makes calls until some show up in the output, because no tool says when it has attached and
/// output is buffered.
async fn wait_until_it_sees(
    bench: &Bench,
    program: &str,
    child: &mut Child,
    output: &Path,
) -> Result<()> {
    let give_up = tokio::time::Instant::now() + bench.bound(60);
    loop {
        if let Some(status) = child.try_wait()? {
            bail!(
                "{program} ended, {status}: {}",
                std::fs::read_to_string(output)?
            );
        }
        let calls = Workload::new(bench.workload()?, &["flood", "1000"])?;
        calls.run_untold(bench).await?;
        let text = std::fs::read_to_string(output).unwrap_or_default();
        if text.contains("mqwork") {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < give_up,
            "{program} sees no call: {text}"
        );
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a command to its end. Fails unless the command succeeds.
pub(super) async fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .await
        .map_err(cannot_run(program))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
