//! `mqspan top` as plain tables: what it shows, and that an agent beside it is not affected.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use mqspan_testkit::collector::Collector;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{Case, case, comparison, defaults, ensure_contains};
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::spawn::cannot_run;
use crate::workload::Workload;
use crate::{Bench, signal};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("top_batch_64", |b| batch(b, b.workload())),
        case!("top_batch_32", |b| batch(b, b.workload32())),
        case!("top_batch_beside_run", beside_run),
        case!("top_batch_flood", flood),
        case!("top_usage", usage),
    ]
}

/// A `top --batch` that runs until it is stopped. It is killed when dropped.
struct Batch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Batch {
    fn start(bench: &Bench, options: &[&str]) -> Result<Batch> {
        let mut child = Command::new(&bench.agent)
            .args(["top", "--batch", "100000", "--interval", "200ms"])
            .args(options)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot_run(&bench.agent))?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Batch {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// The next table, which ends before an empty line.
    async fn table(&mut self) -> Result<Vec<String>> {
        let mut table = Vec::new();
        loop {
            let line = self.lines.next_line().await?.context("top has ended")?;
            if line.is_empty() && !table.is_empty() {
                return Ok(table);
            }
            ensure!(!line.contains('\x1b'), "an escape sequence: {line:?}");
            table.push(line);
        }
    }

    /// The first table for which `is_so` holds.
    async fn wait_for(
        &mut self,
        bench: &Bench,
        what: &str,
        is_so: impl Fn(&[String]) -> bool,
    ) -> Result<Vec<String>> {
        let give_up = tokio::time::Instant::now() + bench.bound(60);
        loop {
            let table = self.table().await?;
            if is_so(&table) {
                return Ok(table);
            }
            ensure!(
                tokio::time::Instant::now() < give_up,
                "no {what}:\n{}",
                table.join("\n")
            );
        }
    }

    /// Sends SIGTERM and checks that `top` succeeds.
    async fn stop(mut self, bench: &Bench) -> Result<()> {
        let pid = self.child.id().context("top has ended")?;
        signal::send(pid, Signal::TERM)?;
        // It may print until its end.
        let end = async {
            while self.lines.next_line().await?.is_some() {}
            self.child.wait().await
        };
        let status = tokio::time::timeout(bench.bound(30), end)
            .await
            .context("top did not end at SIGTERM")??;
        ensure!(status.success(), "top ended with {status}");
        Ok(())
    }
}

/// The words of the first line that contains all of `words`.
fn row<'a>(table: &'a [String], words: &[&str]) -> Option<Vec<&'a str>> {
    let mut rows = table.iter().map(|line| line.split_whitespace().collect());
    rows.find(|row: &Vec<&str>| words.iter().all(|word| row.contains(word)))
}

/// `HH:MM:SS` of a Unix time.
fn clock(second: u64) -> String {
    let of_day = second % 86_400;
    format!(
        "{:02}:{:02}:{:02}",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// The tables show a queue with a known depth, and blocked callers until they are released.
async fn batch(bench: &'static Bench, program: Result<PathBuf>) -> Result<()> {
    let program = program?;
    let until = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 3_600;
    let filled = Workload::new(program.clone(), &["filled", "3", &until.to_string()])?;
    let blocked = Workload::new(program, &["blocked", "2", "hold"])?;
    let (full, waits) = (
        format!("{}.filled", filled.prefix()),
        format!("{}.waits", filled.prefix()),
    );
    let many = format!("{}.blocked", blocked.prefix());
    // Blocked before the start and not asked for, so the kernel has not judged its calls.
    let other = Workload::new(bench.workload()?, &["blocked", "1", "hold"])?;
    let other_held = other.hold(bench).await?;
    let options = [
        "--backend",
        bench.backend.name(),
        "--queue",
        &format!("{}.*", filled.prefix()),
        "--queue",
        &format!("{}.*", blocked.prefix()),
    ];
    // These have waited since before the start too, but are asked for.
    let blocked_held = blocked.hold(bench).await?;
    let mut top = Batch::start(bench, &options)?;
    top.wait_for(bench, "two callers from before", |table| {
        row(table, &[&many, "0/8", "2"]).is_some()
            && table.iter().filter(|line| line.contains('>')).count() == 2
    })
    .await?;
    let filled_held = filled.hold(bench).await?;
    let table = top
        .wait_for(bench, "3 of 8 messages and their receiver", |table| {
            row(table, &[&full, "3/8"]).is_some() && row(table, &[&waits, "0/8", "1"]).is_some()
        })
        .await?;
    let caller = row(&table, &[&waits, &clock(until)]).context("no deadline")?;
    let pid = filled_held.pid()?;
    ensure!(
        caller
            .get(1)
            .is_some_and(|id| id.starts_with(&format!("{pid}/"))),
        "{pid} is the process: {caller:?}"
    );
    ensure!(
        caller
            .first()
            .is_some_and(|comm| comm.starts_with("mqwork")),
        "{caller:?}"
    );
    let calls = filled.truth()?;
    let abi = &calls.first().context("no call in the truth")?.abi;
    ensure!(caller.contains(&abi.as_str()), "{abi}: {caller:?}");
    let text = table.join("\n");
    ensure_contains(&text, "3 queues by traffic  no call lost", "the table")?;
    ensure_contains(&text, "3 receivers, 0 senders", "the table")?;
    ensure!(!text.contains(other.prefix()), "not filtered:\n{text}");

    filled_held.release(bench).await?;
    blocked_held.release(bench).await?;
    let table = top
        .wait_for(bench, "end of the waits", |table| {
            table.iter().any(|line| line == "BLOCKED NOW: nobody")
        })
        .await?;
    ensure!(
        row(&table, &[&full, "(unlinked)", "0/8"]).is_some(),
        "{table:?}"
    );
    top.stop(bench).await?;
    other_held.release(bench).await
}

/// While `top` starts and stops beside it, with whatever backend it likes, an agent sees every
/// call, including those blocked meanwhile.
async fn beside_run(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let workload = Workload::new(bench.workload()?, &["blocked", "100", "hold"])?;
    let held = workload.hold(bench).await?;
    let busy = Workload::new(bench.workload()?, &["pingpong", "2000"])?;
    for _ in 0..2 {
        let mut top = Batch::start(bench, &[])?;
        top.table().await?;
        busy.run_untold(bench).await?;
        top.stop(bench).await?;
    }
    held.release(bench).await?;
    let calls = workload.truth()?;
    let may_miss = agent.may_miss();
    if !may_miss {
        collector
            .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
            .await?;
    }
    let balance = agent.stop_balanced(bench).await?;
    ensure!(may_miss || balance.lost == 0, "{balance:?}");
    if may_miss {
        return Ok(());
    }
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// However fast calls come, `top` reports any that it loses.
async fn flood(bench: &'static Bench) -> Result<()> {
    let flood = Workload::new(bench.workload()?, &["flood", "100000"])?;
    let name = format!("{}.flood", flood.prefix());
    let options = ["--backend", bench.backend.name(), "--queue", &name];
    let mut top = Batch::start(bench, &options)?;
    top.table().await?;
    flood.run_untold(bench).await?;
    let table = top
        .wait_for(bench, "end of the flood", |table| {
            row(table, &[&name, "(unlinked)", "0/2"]).is_some()
        })
        .await?;
    let row = row(&table, &[&name]).context("no row")?;
    ensure!(
        row.iter().any(|word| word.ends_with('k')),
        "no thousands a second: {row:?}"
    );
    ensure!(
        table
            .iter()
            .any(|line| line.contains("no call lost") || line.contains("CALLS LOST")),
        "{table:?}"
    );
    top.stop(bench).await
}

/// Wrong usage, such as without a terminal, fails with advice on how to go on.
async fn usage(bench: &'static Bench) -> Result<()> {
    for (line, wanted) in [
        (&["top"][..], "mqspan top --batch 1"),
        (&["top", "--batch", "0"], "0 is not in 1.."),
        (
            &["top", "--batch", "1", "--interval", "1ms"],
            "at least 100ms",
        ),
        (&["top", "--batch", "1", "--queue", "["], "--queue"),
        (&["top", "--batch", "1", "--backend", "x"], "--backend"),
    ] {
        let output = agent::command(bench, line).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2),
            "{line:?}: {}",
            output.status
        );
        ensure_contains(&stderr, wanted, "standard error")?;
    }
    let output = agent::command(bench, &["top", "--help"]).await?;
    ensure!(output.status.success(), "{}", output.status);
    let help = String::from_utf8(output.stdout)?;
    for wanted in ["last 10 seconds", "WAITp99", "--interval", "NO_COLOR"] {
        ensure_contains(&help, wanted, "the help")?;
    }
    Ok(())
}
