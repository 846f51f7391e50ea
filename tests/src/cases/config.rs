//! Configuration errors are reported where they are, and correct configurations are accepted.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use super::{Case, case, ensure_contains};
use crate::spawn::cannot_run;
use crate::{Bench, agent};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("config_refused", refused),
        case!("config_missing", missing),
        case!("config_accepted", accepted),
        case!("config_secrets_masked", secrets_masked),
        case!("not_root", not_root),
    ]
}

/// The text of a file, and words that the message must contain besides the file's name.
const REFUSED: [(&str, &[&str]); 12] = [
    ("capture: {backend: [", &[]),
    (
        "capture: {bakend: auto}",
        &["capture.bakend", "backend", "ring_buffer_size"],
    ),
    ("no_such_section: {}", &["no_such_section", "exporters"]),
    ("capture: {backend: magic}", &["capture.backend", "fentry"]),
    ("capture: {max_in_flight: many}", &["capture.max_in_flight"]),
    (
        "capture: {ring_buffer_size: 3MiB}",
        &["capture.ring_buffer_size", "power of two"],
    ),
    (
        "capture: {syscalls: [mq_fly]}",
        &["capture.syscalls", "mq_fly"],
    ),
    (
        "exporters: {otlp: {endpoint: 'not an endpoint'}}",
        &["exporters.otlp.endpoint"],
    ),
    (
        "exporters: {otlp: {compression: lzma}}",
        &["exporters.otlp.compression", "gzip"],
    ),
    (
        "exporters: {otlp: {timeout: soon}}",
        &["exporters.otlp.timeout"],
    ),
    ("sampling: {ratio: 1.5}", &["sampling.ratio"]),
    (
        "exporters: {otlp: {endpoint: '${env:MQSPAN_E2E_NOT_SET'}}",
        &["exporters.otlp.endpoint"],
    ),
];

/// `run` and `config check` exit with 2 for a wrong file and say what is wrong.
async fn refused(bench: &'static Bench) -> Result<()> {
    let dir = TempDir::with_prefix("mqspan-e2e")?;
    let path = dir.path().join("refused.yaml");
    let file = path.display().to_string();
    let mut wrong = Vec::new();
    for (text, words) in REFUSED {
        std::fs::write(&path, text)?;
        for line in [
            ["run", "--config", file.as_str()],
            ["config", "check", file.as_str()],
        ] {
            let Ok(output) = agent::command_within(bench, &line, 5).await else {
                wrong.push(format!(
                    "{text:?}: is not refused: {} goes on",
                    line.join(" ")
                ));
                continue;
            };
            let said = String::from_utf8_lossy(&output.stderr);
            let unsaid: Vec<_> = words
                .iter()
                .chain([&"refused.yaml"])
                .filter(|word| !said.contains(**word))
                .collect();
            if output.status.code() != Some(2) || !unsaid.is_empty() {
                wrong.push(format!(
                    "{} of {text:?}: {}; does not say {unsaid:?}: {said}",
                    line.split_last()
                        .map_or(String::new(), |(_, l)| l.join(" ")),
                    output.status
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// `run` and `config check` exit with 2 for a file that does not exist and name it.
async fn missing(bench: &'static Bench) -> Result<()> {
    for line in [
        ["run", "--config", "/no/such/file.yaml"],
        ["config", "check", "/no/such/file.yaml"],
    ] {
        let output = agent::command(bench, &line).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2),
            "mqspan {}: {}, not 2: {said}",
            line.join(" "),
            output.status
        );
        ensure_contains(&said, "/no/such/file.yaml", "the message")?;
    }
    Ok(())
}

/// `config check` accepts correct files, including an empty one.
async fn accepted(bench: &'static Bench) -> Result<()> {
    let dir = TempDir::with_prefix("mqspan-e2e")?;
    let path = dir.path().join("accepted.yaml");
    let file = path.display().to_string();
    for text in [
        "",
        "capture: {backend: auto, ring_buffer_size: 16MiB}",
        "exporters: {otlp: {endpoint: '${env:MQSPAN_E2E_NOT_SET:-http://localhost:4317}'}}",
    ] {
        std::fs::write(&path, text)?;
        let output = agent::command(bench, &["config", "check", file.as_str()]).await?;
        ensure!(
            output.status.code() == Some(0),
            "config check of {text:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// `config print` prints the configuration without its secrets.
async fn secrets_masked(bench: &'static Bench) -> Result<()> {
    let dir = TempDir::with_prefix("mqspan-e2e")?;
    let path = dir.path().join("secret.yaml");
    let file = path.display().to_string();
    std::fs::write(
        &path,
        "exporters: {otlp: {headers: {authorization: 'Bearer xyzzy'}}}",
    )?;
    let output = agent::command(bench, &["config", "print", "--config", file.as_str()]).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "{}: {text}", output.status);
    ensure_contains(&text, "ring_buffer_size", "config print")?;
    ensure_contains(&text, "authorization", "config print")?;
    ensure!(!text.contains("xyzzy"), "a secret is printed:\n{text}");
    Ok(())
}

/// Without privileges, `run` fails at once and says which are missing.
async fn not_root(bench: &'static Bench) -> Result<()> {
    const NOBODY: u32 = 65534;
    // The binary may be in a directory that other users cannot enter.
    let dir = TempDir::with_prefix("mqspan-e2e")?;
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
    let copy = dir.path().join("mqspan");
    std::fs::copy(&bench.agent, &copy)?;
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755))?;
    let child = Command::new(&copy)
        .arg("run")
        .env("MQSPAN__CAPTURE__BACKEND", bench.backend.name())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot_run(&copy))?;
    let output = tokio::time::timeout(bench.bound(30), child.wait_with_output())
        .await
        .context("mqspan run as nobody did not end")??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "mqspan run as nobody: {}, not 1: {said}",
        output.status
    );
    ensure!(
        said.contains("CAP_") || said.contains("root"),
        "names neither a capability nor root: {said}"
    );
    Ok(())
}
