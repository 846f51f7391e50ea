//! `mqspan trace` and `doctor`, wrong usage, and `--version`: what they print and how they exit.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use mqspan_testkit::otlp_json;
use serde_json::Value;
use tokio::process::Command;

use super::{Case, case, comparison, ensure_contains};
use crate::Bench;
use crate::agent;
use crate::compare::{Comparison, ReadFrom};
use crate::spawn::cannot_run;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("trace_json_basic_64", |b: &'static Bench| trace_json(
            b,
            b.workload(),
            &["basic"]
        )),
        case!("trace_json_basic_32", |b: &'static Bench| trace_json(
            b,
            b.workload32(),
            &["basic"]
        )),
        case!("trace_json_killed", |b: &'static Bench| trace_json(
            b,
            b.workload(),
            &["killed"]
        )),
        case!("trace_json_interrupted", |b: &'static Bench| trace_json(
            b,
            b.workload(),
            &["interrupted"]
        )),
        case!("trace_json_pingpong", |b: &'static Bench| trace_json(
            b,
            b.workload(),
            &["pingpong", "200"]
        )),
        case!("trace_json_blocked", |b: &'static Bench| trace_json(
            b,
            b.workload(),
            &["blocked", "200"]
        )),
        case!("trace_pretty", trace_pretty),
        case!("trace_summary", trace_summary),
        case!("trace_exit_codes", trace_exit_codes),
        case!("trace_pid_namespace", trace_pid_namespace),
        case!("trace_journeys", trace_journeys),
        case!("trace_chains", trace_chains),
        case!("trace_causes", trace_causes),
        case!("doctor", doctor),
        case!("doctor_mends", doctor_mends),
        case!("wrong_usage", wrong_usage),
        case!("version", version),
    ]
}

/// Arguments for `trace` with the bench's backend, these options and this command.
fn trace_line(bench: &Bench, options: &[&str], command: &[String]) -> Vec<String> {
    let mut line = words(&["trace", "--backend", bench.backend.name()]);
    line.extend(words(options));
    line.push("--".to_owned());
    line.extend_from_slice(command);
    line
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|&word| word.to_owned()).collect()
}

/// `trace --output json` prints the same spans as `run` exports, one JSON object per line.
async fn trace_json(
    bench: &'static Bench,
    program: Result<std::path::PathBuf>,
    scenario: &'static [&'static str],
) -> Result<()> {
    let workload = Workload::new(program?, scenario)?;
    let line = trace_line(bench, &["--output", "json"], &workload.command_line());
    let output = agent::command(bench, &line).await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(0),
        "{}: {stderr}",
        output.status
    );
    let spans = otlp_json::span_lines(std::str::from_utf8(&output.stdout)?)?;
    let truth = workload.truth()?;
    // Where its backend misses calls, `trace` says so, and how many at the end.
    if agent::says_that_it_misses(&stderr) && spans.len() < truth.len() {
        let missing = truth.len() - spans.len();
        ensure!(missing <= truth.len() / 20, "{missing} are missing");
        let told = format!("mqspan: {missing} of {} calls are missing", truth.len());
        return ensure_contains(&stderr, &told, "trace");
    }
    let comparison = Comparison {
        read_from: ReadFrom::Trace,
        ..comparison(bench, &workload)
    };
    comparison.check(&truth, &spans)
}

/// The output for people names each call, its queue and its error.
async fn trace_pretty(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let line = trace_line(bench, &[], &workload.command_line());
    let output = agent::command(bench, &line).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "{}: {text}", output.status);
    for call in workload.truth()? {
        ensure_contains(&text, &call.op, "trace")?;
        if let Some(queue) = &call.queue {
            ensure_contains(&text, queue, "trace")?;
        }
        if let Some(error) = &call.error_name {
            ensure_contains(&text, error, "trace")?;
        }
    }
    Ok(())
}

/// Where messages are followed, each line of a receive that got one names the sender.
async fn trace_journeys(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["pingpong", "20"])?;
    let options = ["--color", "always"];
    let line = trace_line(bench, &options, &workload.command_line());
    let output = agent::command(bench, &line).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "{}: {text}", output.status);
    let receives = workload
        .truth()?
        .iter()
        .filter(|call| call.op.starts_with("mq_timedreceive") && call.ret >= 0)
        .count();
    let name = workload.program().file_name().unwrap_or_default();
    let journey = format!("  \x1b[36m\u{2190} {}/", name.to_string_lossy());
    let told = text
        .lines()
        .filter(|line| line.contains(&journey) && line.contains(" after "))
        .count();
    let wanted = match bench.backend.sees_messages() {
        true if agent::says_that_it_misses(&String::from_utf8_lossy(&output.stderr)) => {
            receives * 19 / 20..=receives
        }
        true => receives..=receives,
        false => 0..=0,
    };
    ensure!(
        wanted.contains(&told) && receives >= 40,
        "{told} of {receives} receives tell their sender: {text}"
    );
    Ok(())
}

/// `--chains` prints every call that others come of, in a tree of its trace, and counts the others.
async fn trace_chains(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["shape", "pipeline", "20"])?;
    let line = trace_line(bench, &["--chains"], &workload.command_line());
    let output = agent::command(bench, &line).await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !bench.backend.sees_messages() {
        ensure!(output.status.code() == Some(1), "{}", output.status);
        return ensure_contains(&stderr, "fentry and kprobe do", "trace --chains");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.code() == Some(0),
        "{}: {stderr}",
        output.status
    );
    let number_before = |line: &str, what: &str| {
        let (before, _) = line.split_once(what)?;
        before.split_whitespace().last()?.parse::<usize>().ok()
    };
    let chains: Vec<usize> = text
        .lines()
        .filter_map(|line| number_before(line, " calls in "))
        .collect();
    let alone = stderr
        .lines()
        .find_map(|line| number_before(line, " calls belong to no chain"));
    let truth = workload.truth()?;
    let told = chains.iter().sum::<usize>() + alone.unwrap_or(0);
    ensure!(
        told == truth.len() || agent::says_that_it_misses(&stderr) && told < truth.len(),
        "{told} of {} calls: {text}\n{stderr}",
        truth.len()
    );
    let lines = text.lines().filter(|line| line.contains("(/")).count();
    ensure!(
        lines == chains.iter().sum::<usize>(),
        "{lines} lines of calls in {chains:?}: {text}"
    );
    // Twenty messages and the last; in each hop a thread may be made to wait.
    let whole = chains.iter().filter(|&&calls| calls == 6).count();
    ensure!(
        whole > 10,
        "{whole} of 21 chains have all six calls: {text}"
    );
    ensure_contains(&text, "\u{2514}\u{2500} ", "trace --chains")
}

/// A send of a thread that has received tells what it comes of, or may come of.
async fn trace_causes(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["shape", "pipeline", "20"])?;
    let line = trace_line(bench, &[], &workload.command_line());
    let output = agent::command(bench, &line).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "{}: {text}", output.status);
    let (mut proven, mut possible) = (0, 0);
    for line in text.lines().filter(|line| line.contains(" mq_timedsend")) {
        let Some((_, cause)) = line.split_once("\u{2190} /") else {
            continue;
        };
        ensure_contains(cause, " after ", "trace")?;
        match cause.contains("? after ") {
            true => possible += 1,
            false => proven += 1,
        }
    }
    let truth = workload.truth()?;
    let due = truth.iter().filter(|call| call.cause.is_some()).count();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        due > 0 && proven + possible == due || agent::says_that_it_misses(&stderr),
        "{proven} + {possible} of {due} sends tell their cause: {text}"
    );
    ensure!(
        (proven > possible) == bench.backend.sees_messages(),
        "{proven} proven, {possible} possible"
    );
    Ok(())
}

/// The final table counts as many calls and errors as the program made.
async fn trace_summary(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let line = trace_line(bench, &["--summary"], &workload.command_line());
    let output = agent::command(bench, &line).await?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(0), "{}: {text}", output.status);
    let truth = workload.truth()?;
    let errors = truth.iter().filter(|call| call.ret < 0).count();
    let total = text.lines().find(|line| line.ends_with(" total"));
    let words: Vec<&str> = total.context("no total")?.split_whitespace().collect();
    let want = [truth.len().to_string(), errors.to_string()];
    ensure!(
        words.get(..2) == Some(want.each_ref().map(String::as_str).as_slice()),
        "{text}"
    );
    for call in truth {
        let row = format!("{} {}", call.op, call.queue.as_deref().unwrap_or("?"));
        ensure_contains(&text, &row, "the summary")?;
    }
    Ok(())
}

/// `trace` exits as its command does.
async fn trace_exit_codes(bench: &'static Bench) -> Result<()> {
    let table: [(&[&str], i32); 4] = [
        (&["sh", "-c", "exit 0"], 0),
        (&["sh", "-c", "exit 7"], 7),
        // As in a shell: 128 plus the signal.
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["/no/such/command"], 127),
    ];
    for (command, code) in table {
        let line = trace_line(bench, &[], &words(command));
        let output = agent::command(bench, &line).await?;
        ensure!(
            output.status.code() == Some(code),
            "trace -- {}: {}, not {code}: {}",
            command.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// In a PID namespace of its own, `trace` follows its command by the ids there, and an id of no
/// process is an error that names it.
async fn trace_pid_namespace(bench: &'static Bench) -> Result<()> {
    let agent = bench.agent.display().to_string();
    let inside = |options: &[String]| {
        let output = Command::new("unshare")
            .args(["--pid", "--fork", &agent])
            .args(options)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        tokio::time::timeout(bench.bound(60), output)
    };
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let line = trace_line(bench, &["--output", "json"], &workload.command_line());
    let output = inside(&line).await?.map_err(cannot_run("unshare"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {stderr}", output.status);
    let spans = otlp_json::span_lines(std::str::from_utf8(&output.stdout)?)?;
    let calls = workload.truth()?.len();
    ensure!(
        spans.len() == calls || agent::says_that_it_misses(&stderr),
        "{} spans of {calls} calls: {stderr}",
        spans.len()
    );
    ensure!(!spans.is_empty(), "no span: {stderr}");
    for options in [
        ["trace", "--pid", "4194303"].as_slice(),
        &["top", "--batch", "1", "--pid", "4194303"],
    ] {
        let output = inside(&words(options))
            .await?
            .map_err(cannot_run("unshare"))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1),
            "{options:?}: {}: {stderr}",
            output.status
        );
        ensure_contains(&stderr, "4194303", "the error")?;
        ensure_contains(&stderr, "--pid=host", "the error")?;
    }
    let backend = bench.backend.name();
    let output = inside(&words(&[
        "top",
        "--batch",
        "1",
        "--backend",
        backend,
        "--comm",
        "none",
    ]))
    .await?
    .map_err(cannot_run("unshare"))?;
    ensure!(
        output.status.success(),
        "top --comm: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Where `run` works, the doctor says so, for people and for programs.
async fn doctor(bench: &'static Bench) -> Result<()> {
    let output = agent::command(bench, &["doctor"]).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "{}: {text}", output.status);
    ensure_contains(&text, bench.backend.name(), "the doctor")?;
    let output = agent::command(bench, &["doctor", "--output", "json"]).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "{}: {text}", output.status);
    for line in text.lines() {
        let check: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(
            check.get("check").is_some_and(Value::is_string),
            "names no check: {line}"
        );
    }
    Ok(())
}

/// Without privileges, the doctor says that `run` would not work, and how to fix each problem.
async fn doctor_mends(bench: &'static Bench) -> Result<()> {
    const NOBODY: u32 = 65_534;
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    // Other users may not be able to enter the directory where it was built.
    let agent = directory.path().join("mqspan");
    fs::copy(&bench.agent, &agent)?;
    let output = Command::new(&agent)
        .args(["doctor", "--output", "json"])
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(bench.bound(60), output)
        .await?
        .map_err(cannot_run(&agent))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "{}: {text}", output.status);
    let mut mends = HashMap::new();
    for line in text.lines() {
        let finding: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let get = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
        if get("grade") != "ok" {
            mends.insert(get("check").to_owned(), get("mend").to_owned());
        }
    }
    ensure!(
        mends.values().all(|mend| !mend.is_empty()),
        "without a mend: {text}"
    );
    for check in [
        "capabilities",
        "capture",
        &format!("backend {}", bench.backend.name()),
    ] {
        ensure!(mends.contains_key(check), "{check} is well: {text}");
    }
    ensure_contains(
        mends.get("capabilities").map_or("", String::as_str),
        "CAP_BPF and CAP_PERFMON",
        "the mend",
    )
}

/// Wrong usage exits with 2 and a message on standard error.
async fn wrong_usage(bench: &'static Bench) -> Result<()> {
    let table: [&[&str]; 4] = [
        &["fly"],
        &["run", "--no-such-flag"],
        &["trace", "--output", "yaml"],
        &["trace", "--min-duration", "soon"],
    ];
    for line in table {
        let output = agent::command(bench, line).await?;
        ensure!(
            output.status.code() == Some(2) && !output.stderr.is_empty(),
            "mqspan {}: {}, not 2 with a word on standard error: {}",
            line.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// `--version` names the program.
async fn version(bench: &'static Bench) -> Result<()> {
    let output = agent::command(bench, &["--version"]).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.code() == Some(0) && text.starts_with("mqspan "),
        "{}: {text}",
        output.status
    );
    Ok(())
}
