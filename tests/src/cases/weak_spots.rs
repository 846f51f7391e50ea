//! The agent's own weak spots. A reader of its log, a client of its health endpoint or another user
//! of its files may be slow, gone or hostile, and the agent still traces and stops as usual.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use mqspan_testkit::collector::Collector;
use mqspan_testkit::free_address;
use mqspan_testkit::http;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Case, case, defaults, ensure_contains};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::scrape::{collection, scrape, sum};
use crate::workload::Workload;

const NOBODY: u32 = 65534;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("weak_log_full", log_full),
        case!("weak_log_reader_gone", log_reader_gone),
        case!("weak_log_reader_stuck", log_reader_stuck),
        case!("weak_commands_untold", commands_untold),
        case!("weak_slow_clients", slow_clients),
        case!("weak_scrapes_shared", scrapes_shared),
        case!("weak_files_private", files_private),
        case!("weak_directory_refused", directory_refused),
        case!("weak_file_pipe", file_pipe),
    ]
}

/// Makes benches whose agents have another standard error.
struct Stderr {
    scripts: TempDir,
}

impl Stderr {
    fn new() -> Result<Stderr> {
        Ok(Stderr {
            scripts: TempDir::with_prefix("mqspan-e2e")?,
        })
    }

    fn bench(&self, bench: &Bench, stderr: &Path) -> Result<Bench> {
        let script = self.scripts.path().join("mqspan");
        let (agent, stderr) = (bench.agent.display(), stderr.display());
        fs::write(
            &script,
            format!("#!/bin/sh\nexec {agent} \"$@\" 2>{stderr}\n"),
        )?;
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755))?;
        Ok(Bench {
            agent: script,
            ..bench.clone()
        })
    }

    /// A named pipe and its reading end.
    fn pipe(&self) -> Result<(PathBuf, File)> {
        let path = self.scripts.path().join("stderr");
        make_pipe(&path)?;
        // Open for writing too, so that neither side waits for the other to open it.
        let reader = File::options()
            .read(true)
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(&path)?;
        Ok((path, reader))
    }
}

/// `O_NONBLOCK` on x86 and Arm (`include/uapi/asm-generic/fcntl.h`).
const O_NONBLOCK: i32 = 0o4000;

fn make_pipe(path: &Path) -> Result<()> {
    let made = Command::new("mkfifo").arg(path).status()?;
    ensure!(made.success(), "mkfifo {}: {made}", path.display());
    Ok(())
}

/// Logs everything that there is to log.
fn loud(prometheus: SocketAddr) -> Value {
    json!({
        "logs": {"level": "trace"},
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
    })
}

/// A workload of a few hundred calls, and an agent that traces only these, because others on the
/// machine may make any number.
async fn start(bench: &Bench, collector: &Collector, over: Value) -> Result<(Workload, Agent)> {
    let workload = Workload::new(bench.workload()?, &["paced", "200"])?;
    let queues = format!("{}.*", workload.prefix());
    let mut config = agent::config(bench, &collector.endpoint(), over);
    agent::merge(
        &mut config,
        json!({"filter": {"include": {"queues": [queues]}}}),
    );
    let agent = Agent::start(bench, config).await?;
    Ok((workload, agent))
}

/// Makes the agent log connections until more lines are lost than before.
async fn wait_for_loss(bench: &Bench, prometheus: SocketAddr) -> Result<()> {
    let give_up = tokio::time::Instant::now() + bench.bound(60);
    let lost = |text: &str| sum(text, "mqspan_log_lost_total", &[]);
    let before = lost(&scrape(prometheus).await?);
    loop {
        let texts = try_join_all((0..20).map(|_| scrape(prometheus))).await?;
        if texts.iter().any(|text| lost(text) > before) {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < give_up,
            "no line of the log is lost but {before} before"
        );
    }
}

/// Runs the workload and waits until every call has arrived.
async fn trace(bench: &Bench, collector: &Collector, workload: &Workload) -> Result<()> {
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await
}

/// The agent traces and stops as usual when not a byte of its log can be written.
async fn log_full(bench: &'static Bench) -> Result<()> {
    let stderr = Stderr::new()?;
    let bench = stderr.bench(bench, Path::new("/dev/full"))?;
    traces_without_log(&bench, || ()).await
}

/// The agent traces and stops as usual when the reader of its log goes away.
async fn log_reader_gone(bench: &'static Bench) -> Result<()> {
    let stderr = Stderr::new()?;
    let (pipe, reader) = stderr.pipe()?;
    let bench = stderr.bench(bench, &pipe)?;
    traces_without_log(&bench, || drop(reader)).await
}

async fn traces_without_log(bench: &Bench, end_log: impl FnOnce()) -> Result<()> {
    let collector = Collector::start()?;
    let prometheus = free_address()?;
    let (workload, agent) = start(bench, &collector, loud(prometheus)).await?;
    end_log();
    trace(bench, &collector, &workload).await?;
    wait_for_loss(bench, prometheus).await?;
    agent.stop_well(bench).await
}

/// The agent traces and stops as usual when the reader of its log does not read.
async fn log_reader_stuck(bench: &'static Bench) -> Result<()> {
    let stderr = Stderr::new()?;
    let (pipe, mut reader) = stderr.pipe()?;
    let bench = &stderr.bench(bench, &pipe)?;
    let collector = Collector::start()?;
    let prometheus = free_address()?;
    let (workload, agent) = start(bench, &collector, loud(prometheus)).await?;
    wait_for_loss(bench, prometheus).await?;
    trace(bench, &collector, &workload).await?;
    wait_to_read(bench, &mut reader, "log lines were lost").await?;
    // The reader is stuck again when the agent stops.
    wait_for_loss(bench, prometheus).await?;
    agent.stop_well(bench).await
}

async fn wait_to_read(bench: &Bench, reader: &mut File, text: &str) -> Result<()> {
    let give_up = tokio::time::Instant::now() + bench.bound(60);
    let mut read = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    while !String::from_utf8_lossy(&read).contains(text) {
        ensure!(
            tokio::time::Instant::now() < give_up,
            "no {text:?} in {} bytes",
            read.len()
        );
        match reader.read(&mut chunk) {
            Ok(size @ 1..) => read.extend(chunk.iter().take(size)),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            // Nothing has been written yet, or nobody writes at the moment.
            _ => tokio::time::sleep(agent::POLL).await,
        }
        // Keep the end, which is enough to find the text in.
        let excess = read.len().saturating_sub(2 * chunk.len());
        read.drain(..excess);
    }
    Ok(())
}

/// When commands cannot write their messages, they still do their work and exit with the same
/// codes.
async fn commands_untold(bench: &'static Bench) -> Result<()> {
    let stderr = Stderr::new()?;
    let workload = Workload::new(bench.workload()?, &["paced", "20"])?;
    let backend = bench.backend.name();
    let bench = &stderr.bench(bench, Path::new("/dev/full"))?;
    let mut trace = vec!["trace", "--summary", "--backend", backend, "--"];
    let command = workload.command_line();
    trace.extend(command.iter().map(String::as_str));
    let output = agent::command(bench, &trace).await?;
    let spans = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "{}", output.status);
    ensure_contains(&spans, "mq_timedsend", "trace")?;
    for (command, code) in [
        (["run", "--config", "/nowhere/mqspan.yaml"], 2),
        (["config", "check", "/nowhere/mqspan.yaml"], 2),
        (["trace", "--", "/nowhere/command"], 127),
    ] {
        let status = agent::command(bench, &command).await?.status;
        ensure!(
            status.code() == Some(code),
            "{command:?}: {status}, not {code}"
        );
    }
    Ok(())
}

/// Number of descriptors that the agent has open.
fn descriptors(agent: &Agent) -> Result<usize> {
    let directory = format!("/proc/{}/fd", agent.pid()?);
    Ok(fs::read_dir(directory)?.count())
}

/// Two hundred clients that connect and send nothing, or byte by byte, do not keep a probe out.
async fn slow_clients(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let before = descriptors(&agent)?;
    let mut clients = try_join_all((0..200).map(|_| TcpStream::connect(agent.health))).await?;
    for path in ["/healthz", "/readyz"] {
        for client in &mut clients {
            // The agent may have closed the connection.
            drop(client.write_all(b"G").await);
        }
        let response = http::get(agent.health, path).await?;
        ensure!(response.status == 200, "{path}: {}", response.status);
        let now = descriptors(&agent)?;
        ensure!(
            now <= before + 100,
            "{now} open descriptors, {before} before the clients"
        );
    }
    agent.stop_well(bench).await
}

/// However many clients scrape, the metrics are collected once a second.
async fn scrapes_shared(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let prometheus = free_address()?;
    let metrics = json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}});
    let agent = Agent::sending_to(bench, &collector, metrics).await?;
    let began = tokio::time::Instant::now();
    let mut collections = Vec::new();
    for _ in 0..10 {
        for text in try_join_all((0..20).map(|_| scrape(prometheus))).await? {
            let collection = collection(&text);
            ensure!(!collection.is_empty(), "no CPU time");
            collections.push(collection);
        }
    }
    collections.sort();
    collections.dedup();
    let (times, at_most) = (collections.len(), began.elapsed().as_secs() + 2);
    ensure!(
        u64::try_from(times)? <= at_most,
        "{times} collections for 200 scrapes, not {at_most}"
    );
    agent.stop_well(bench).await
}

fn mode(path: &Path) -> Result<u32> {
    let metadata = fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(metadata.mode() & 0o7777)
}

/// What an unprivileged user gets on opening the file for reading.
fn open_as_nobody(path: &Path) -> Result<std::process::Output> {
    Ok(Command::new("/bin/sh")
        .args(["-c", "exec 3<\"$1\"", "sh"])
        .arg(path)
        .current_dir("/")
        .env("LC_ALL", "C")
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .output()?)
}

fn on_disk(directory: &Path) -> Value {
    json!({"exporters": {"otlp": {"sending_queue": {"storage": {"directory": directory}}}}})
}

/// A queue directory that everyone could read becomes the agent's alone, so that nobody else can
/// take its lock. Nobody else can read the file of spans either.
async fn files_private(bench: &'static Bench) -> Result<()> {
    let parent = TempDir::with_prefix("mqspan-e2e")?;
    fs::set_permissions(parent.path(), PermissionsExt::from_mode(0o755))?;
    let queue = parent.path().join("queue");
    let (lock, spans) = (queue.join("lock"), parent.path().join("spans.json"));
    fs::create_dir(&queue)?;
    fs::write(&lock, "")?;
    fs::set_permissions(&queue, PermissionsExt::from_mode(0o755))?;
    fs::set_permissions(&lock, PermissionsExt::from_mode(0o644))?;
    let before = open_as_nobody(&lock)?;
    ensure!(before.status.success(), "nobody could not open it before");

    let collector = Collector::start()?;
    let mut config = on_disk(&queue);
    agent::merge(&mut config, json!({"exporters": {"file": {"path": spans}}}));
    let (workload, agent) = start(bench, &collector, config).await?;
    trace(bench, &collector, &workload).await?;
    for (path, wanted) in [(&queue, 0o700), (&lock, 0o600), (&spans, 0o600)] {
        let got = mode(path)?;
        ensure!(got == wanted, "{}: {got:o}, not {wanted:o}", path.display());
    }
    for path in [&lock, &spans] {
        let output = open_as_nobody(path)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && said.contains("Permission denied"),
            "nobody opens {}: {}: {said}",
            path.display(),
            output.status
        );
    }
    agent
        .wait_for_log("others could use the queue's directory", bench.bound(10))
        .await?;
    agent.stop_well(bench).await
}

/// Directories that others can replace, or use for something else, are refused by name and left as
/// they are.
async fn directory_refused(bench: &'static Bench) -> Result<()> {
    let parent = TempDir::with_prefix("mqspan-e2e")?;
    let at = |name: &str| parent.path().join(name);
    for (name, mode) in [("theirs", 0o700), ("shared", 0o1777), ("full", 0o755)] {
        fs::create_dir(at(name))?;
        fs::set_permissions(at(name), PermissionsExt::from_mode(mode))?;
    }
    chown(at("theirs"), Some(NOBODY), None)?;
    fs::write(at("full").join("else"), "")?;
    std::os::unix::fs::symlink(at("real"), at("link"))?;
    std::os::unix::fs::lchown(at("link"), Some(NOBODY), None)?;
    for (name, says) in [
        ("theirs", "belongs to user 65534"),
        ("shared", "mode 1777"),
        ("full", "mode 0755"),
        ("link", "is a link of user 65534"),
        ("link/queue", "is a link of user 65534"),
    ] {
        let config = agent::config(bench, "http://127.0.0.1:1", on_disk(&at(name)));
        let file = at("mqspan.yaml");
        fs::write(&file, config.to_string())?;
        let file = file.display().to_string();
        let output = agent::command(bench, &["run", "--config", &file]).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        ensure_contains(&said, says, name)?;
        ensure_contains(&said, &at(name).display().to_string(), name)
            .or_else(|_| ensure_contains(&said, &at("link").display().to_string(), name))?;
    }
    for (name, wanted) in [("shared", 0o1777), ("full", 0o755)] {
        ensure!(mode(&at(name))? == wanted, "the mode of {name} has changed");
    }
    Ok(())
}

/// With a named pipe for spans, the agent starts without a reader, who later gets every span.
async fn file_pipe(bench: &'static Bench) -> Result<()> {
    let directory = TempDir::with_prefix("mqspan-e2e")?;
    let pipe = directory.path().join("spans");
    make_pipe(&pipe)?;
    let collector = Collector::start()?;
    let config = json!({"exporters": {"file": {"path": pipe}}});
    let (workload, agent) = start(bench, &collector, config).await?;
    trace(bench, &collector, &workload).await?;
    let mut reader = File::options()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(&pipe)?;
    wait_to_read(bench, &mut reader, "mq_unlink").await?;
    agent.stop_well(bench).await
}
