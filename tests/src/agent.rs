//! Starts `mqspan run`, waits until it traces, and stops it.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::{free_address, http};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::balance::Balance;
use crate::spawn::cannot_run;
use crate::{Bench, signal};

/// Poll interval for state that cannot signal a change.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// A running agent. It is killed when dropped.
pub(crate) struct Agent {
    child: Child,
    pub(crate) health: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    dir: TempDir,
}

/// Merges `over` into `base`, key by key.
pub(crate) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// A configuration that sends to `endpoint`, with `over` merged in. JSON is valid YAML.
pub(crate) fn config(bench: &Bench, endpoint: &str, over: Value) -> Value {
    let mut config = json!({
        "capture": {"backend": bench.backend.name()},
        // An export that times out is sent again and would count twice.
        "exporters": {"otlp": {
            "endpoint": endpoint,
            "timeout": format!("{}s", bench.bound(10).as_secs()),
        }},
        "metrics": {"otlp": {"enabled": false}},
    });
    merge(&mut config, over);
    config
}

fn config_path(dir: &TempDir) -> PathBuf {
    dir.path().join("mqspan.yaml")
}

fn listening_on(health: SocketAddr) -> Value {
    json!({"health": {"address": health.to_string()}})
}

impl Agent {
    pub(crate) async fn start(bench: &Bench, mut config: Value) -> Result<Agent> {
        let dir = TempDir::with_prefix("mqspan-e2e")?;
        let path = config_path(&dir);
        let health = free_address()?;
        merge(&mut config, listening_on(health));
        std::fs::write(&path, serde_json::to_string_pretty(&config)?)?;
        Self::launch(bench, dir, &path, &[], health).await
    }

    /// Starts an agent that sends to this collector, with `over` merged into its configuration.
    pub(crate) async fn sending_to(
        bench: &Bench,
        collector: &Collector,
        over: Value,
    ) -> Result<Agent> {
        Self::start(bench, config(bench, &collector.endpoint(), over)).await
    }

    /// Starts an agent with an existing configuration file, which has its health at `health`, and
    /// with these variables.
    pub(crate) async fn start_file(
        bench: &Bench,
        path: &Path,
        variables: &[(&str, &str)],
        health: SocketAddr,
    ) -> Result<Agent> {
        let dir = TempDir::with_prefix("mqspan-e2e")?;
        Self::launch(bench, dir, path, variables, health).await
    }

    async fn launch(
        bench: &Bench,
        dir: TempDir,
        path: &Path,
        variables: &[(&str, &str)],
        health: SocketAddr,
    ) -> Result<Agent> {
        let mut child = Command::new(&bench.agent)
            .args(["run", "--config"])
            .arg(path)
            .env_remove("RUST_BACKTRACE")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot_run(&bench.agent))?;
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().context("no standard error")?;
        let reader = tokio::spawn(keep_log(BufReader::new(stderr), Arc::clone(&log)));
        let mut agent = Agent {
            child,
            health,
            log,
            reader,
            dir,
        };
        agent.wait_ready(bench.bound(30)).await?;
        Ok(agent)
    }

    async fn wait_ready(&mut self, bound: Duration) -> Result<()> {
        let give_up = tokio::time::Instant::now() + bound;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended at its start, {status}:\n{}", self.log());
            }
            let last = match http::get(self.health, "/readyz").await {
                Ok(response) if response.status == 200 => return Ok(()),
                Ok(response) => format!("answered {}: {}", response.status, response.body),
                Err(error) => format!("{error:#}"),
            };
            ensure!(
                tokio::time::Instant::now() < give_up,
                "the agent was not ready after {bound:?}; /readyz: {last}; its log:\n{}",
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) async fn wait_for_log(&self, text: &str, bound: Duration) -> Result<()> {
        self.wait_for_logs(text, 1, bound).await
    }

    /// Waits until the log has `text` at least `times` times.
    pub(crate) async fn wait_for_logs(
        &self,
        text: &str,
        times: usize,
        bound: Duration,
    ) -> Result<()> {
        let give_up = tokio::time::Instant::now() + bound;
        while self.log().matches(text).count() < times {
            ensure!(
                tokio::time::Instant::now() < give_up,
                "not {times} times {text:?} in the agent's log after {bound:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether the agent has warned that its backend misses calls on this kernel when many threads
    /// compete for a CPU.
    pub(crate) fn may_miss(&self) -> bool {
        says_that_it_misses(&self.log())
    }

    /// # Errors
    ///
    /// When the agent has ended.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the agent has ended already")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        signal::send(self.pid()?, signal)
    }

    /// Sends SIGSTOP. What the kernel has for the agent waits.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Sends SIGCONT.
    pub(crate) fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Replaces the configuration and sends SIGHUP.
    pub(crate) fn reload(&self, mut config: Value) -> Result<()> {
        merge(&mut config, listening_on(self.health));
        let text = serde_json::to_string_pretty(&config)?;
        std::fs::write(config_path(&self.dir), text)?;
        self.signal(Signal::HUP)
    }

    /// Sends SIGKILL.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Sends SIGTERM. Returns the exit status and the whole log.
    pub(crate) async fn stop(mut self, bench: &Bench) -> Result<(ExitStatus, String)> {
        self.signal(Signal::TERM)?;
        let bound = bench.bound(30);
        let status = tokio::time::timeout(bound, self.child.wait())
            .await
            .map_err(|_| {
                anyhow!(
                    "the agent did not end within {bound:?} of SIGTERM:\n{}",
                    self.log()
                )
            })??;
        tokio::time::timeout(bound, &mut self.reader)
            .await
            .context("the agent's log did not end")??;
        Ok((status, self.log()))
    }

    /// Like [`Agent::stop`], but checks that the final tally adds up, and returns it.
    pub(crate) async fn stop_balanced(self, bench: &Bench) -> Result<Balance> {
        let (status, log) = self.stop(bench).await?;
        ensure!(status.success(), "the agent ended with {status}:\n{log}");
        let balance = Balance::of_log(&log)?;
        balance.ensure_even()?;
        Ok(balance)
    }

    /// Sends SIGTERM and checks that the agent exits with 0.
    pub(crate) async fn stop_well(self, bench: &Bench) -> Result<()> {
        let (status, log) = self.stop(bench).await?;
        ensure!(
            status.code() == Some(0),
            "the agent ended with {status} (signal {:?}):\n{log}",
            status.signal()
        );
        Ok(())
    }
}

/// Whether the log warns that the backend misses calls on this kernel.
pub(crate) fn says_that_it_misses(log: &str) -> bool {
    log.contains("this kernel takes the CPU from threads inside system calls")
}

async fn keep_log(mut stderr: BufReader<tokio::process::ChildStderr>, log: Arc<Mutex<String>>) {
    let mut line = Vec::new();
    while matches!(stderr.read_until(b'\n', &mut line).await, Ok(n) if n > 0) {
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
}

/// Runs one of the agent's other commands to its end.
pub(crate) async fn command<S: AsRef<str>>(bench: &Bench, args: &[S]) -> Result<Output> {
    command_within(bench, args, 60).await
}

/// Like [`command`], but killed if it has not ended within the bound of `seconds`.
pub(crate) async fn command_within<S: AsRef<str>>(
    bench: &Bench,
    args: &[S],
    seconds: u64,
) -> Result<Output> {
    let child = Command::new(&bench.agent)
        .args(args.iter().map(AsRef::as_ref))
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot_run(&bench.agent))?;
    tokio::time::timeout(bench.bound(seconds), child.wait_with_output())
        .await
        .with_context(|| {
            let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
            format!("mqspan {} did not end", args.join(" "))
        })?
        .map_err(Into::into)
}
