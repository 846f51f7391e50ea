//! The agent's own log over OTLP.

use anyhow::{Context, Result, bail, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::span::attributes;
use opentelemetry_proto::tonic::common::v1::any_value;
use serde_json::{Value, json};

use super::{Case, case};
use crate::Bench;
use crate::agent::Agent;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![case!("logs_otlp", over_otlp)]
}

/// Target, level and message of an event.
type Said = (String, String, String);

/// Each event on standard error is also a log record, and exporting records makes no events.
async fn over_otlp(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let config = json!({"logs": {"level": "trace", "format": "json", "otlp": {"enabled": true}}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let bound = bench.bound(10);
    collector
        .wait_until(bound, |seen| !seen.logs.is_empty())
        .await
        .context("no log record came")?;
    Workload::new(bench.workload()?, &["basic"])?
        .run_untold(bench)
        .await?;
    let (status, log) = agent.stop(bench).await?;
    ensure!(status.success(), "{status}:\n{log}");

    let seen = collector.seen();
    let mut records = Vec::new();
    for logs in &seen.logs {
        let resource = logs.resource.as_ref().context("no resource")?;
        let (resource, _) = attributes(&resource.attributes);
        let service = resource.get("service.name");
        ensure!(
            service.is_some_and(|name| *name == "mqspan".into()),
            "of {resource:?}"
        );
        for scope in &logs.scope_logs {
            let target = &scope.scope.as_ref().context("no scope")?.name;
            for record in &scope.log_records {
                let body = record.body.as_ref().and_then(|body| body.value.clone());
                let Some(any_value::Value::StringValue(body)) = body else {
                    bail!("no text: {record:?}");
                };
                records.push((target.clone(), record.severity_text.clone(), body));
            }
        }
    }
    let mut lines: Vec<_> = log.lines().filter_map(said).collect();
    // Records exist only once their exporter has started, lines also before.
    let from = lines.iter().position(|line| records.contains(line));
    let from = from.with_context(|| format!("no line is a record: {records:#?}\n{log}"))?;
    let mut lines = lines.split_off(from);
    lines.sort();
    records.sort();
    ensure!(records == lines, "records: {records:#?}\nlines: {lines:#?}");
    for wanted in ["tracing", "stopped"] {
        let is_there = records.iter().any(|(_, _, body)| body == wanted);
        ensure!(is_there, "no record says {wanted:?}: {records:#?}");
    }
    Ok(())
}

/// The event in a line of the log, if it must be a record too.
fn said(line: &str) -> Option<Said> {
    let line: Value = serde_json::from_str(line).ok()?;
    let target = line.get("target")?.as_str()?;
    if !target.starts_with("mqspan") || target == "mqspan::export::logs" {
        return None;
    }
    let level = line.get("level")?.as_str()?;
    let message = line.pointer("/fields/message")?.as_str()?;
    Some((target.to_owned(), level.to_owned(), message.to_owned()))
}
