//! Spans reach the collector once each, whatever it does meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Case, case, comparison, defaults};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::otlp_json;
use crate::sink::{Answer, Sink, free_address};
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("collector_down_then_up", collector_down_then_up),
        case!("collector_unavailable", collector_unavailable),
        case!("collector_slow", collector_slow),
        case!("partial_success", partial_success),
        case!("sigterm_drains", sigterm_drains),
        case!("file_exporter", file_exporter),
        case!("gzip", |b| compressed(b, "gzip")),
        case!("zstd", |b| compressed(b, "zstd")),
        case!("headers", headers),
    ]
}

fn paced(bench: &Bench) -> Result<Workload> {
    Workload::new(bench.workload()?, &["paced", "500"])
}

async fn collector_down_then_up(bench: &'static Bench) -> Result<()> {
    let address = free_address().await?;
    let endpoint = format!("http://{address}");
    let fast_retry = json!({"exporters": {"otlp": {"retry_on_failure":
        {"initial_interval": "100ms", "max_interval": "200ms"}}}});
    let agent = Agent::start(bench, agent::config(bench, &endpoint, fast_retry)).await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    let sink = Sink::start_on(address).await?;
    sink.wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &sink.spans())
}

/// Refusals with UNAVAILABLE are tried again: nothing is lost, nothing comes twice.
async fn collector_unavailable(bench: &'static Bench) -> Result<()> {
    let sink = Sink::start().await?;
    sink.answer(Answer::Unavailable { times: 5 });
    let fast_retry = json!({"exporters": {"otlp": {"retry_on_failure":
        {"initial_interval": "50ms", "max_interval": "100ms"}}}});
    let config = agent::config(bench, &sink.endpoint(), fast_retry);
    let agent = Agent::start(bench, config).await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    sink.wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    ensure!(sink.refused() == 5, "{} refusals, not 5", sink.refused());
    comparison(bench, &workload).check(&calls, &sink.spans())
}

/// A collector that takes its time holds up nothing for good.
async fn collector_slow(bench: &'static Bench) -> Result<()> {
    let sink = Sink::start().await?;
    sink.answer(Answer::Delay(Duration::from_millis(300)));
    let config = agent::config(bench, &sink.endpoint(), defaults());
    let agent = Agent::start(bench, config).await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &sink.spans())
}

/// Spans that the collector says it rejected are not sent again.
async fn partial_success(bench: &'static Bench) -> Result<()> {
    let sink = Sink::start().await?;
    sink.answer(Answer::Partial { rejected: 1 });
    let config = agent::config(bench, &sink.endpoint(), defaults());
    let agent = Agent::start(bench, config).await?;
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let calls = workload.run(bench).await?;
    sink.wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    let requests = sink.requests();
    ensure!(requests > 0, "no request");
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &sink.spans())
}

/// With a flush far away every span is still in the agent when SIGTERM comes.
async fn sigterm_drains(bench: &'static Bench) -> Result<()> {
    let sink = Sink::start().await?;
    let late = json!({"exporters": {"otlp": {"batch":
        {"flush_timeout": "600s", "max_size": "4MiB"}}}});
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), late)).await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &sink.spans())
}

async fn file_exporter(bench: &'static Bench) -> Result<()> {
    let dir = tempfile::TempDir::with_prefix("mqspan-e2e")?;
    let path = dir.path().join("spans.jsonl");
    let sink = Sink::start().await?;
    let to_file = json!({"exporters": {"file": {"path": path}}});
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), to_file)).await?;
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    let written = otlp_json::traces_data_lines(&std::fs::read_to_string(&path)?)?;
    comparison(bench, &workload).check(&calls, &written)?;
    comparison(bench, &workload).check(&calls, &sink.spans())
}

async fn compressed(bench: &'static Bench, how: &'static str) -> Result<()> {
    let workload = paced(bench)?;
    let config = json!({"exporters": {"otlp": {"compression": how}}});
    let sink = Sink::start().await?;
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), config)).await?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    let encoding = sink.metadata("grpc-encoding");
    ensure!(
        encoding.as_deref() == Some(how),
        "the sink saw grpc-encoding {encoding:?}, not {how}"
    );
    comparison(bench, &workload).check(&calls, &sink.spans())
}

async fn headers(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["paced", "1"])?;
    let config = json!({"exporters": {"otlp": {"headers": {"x-tenant": "queues"}}}});
    let sink = Sink::start().await?;
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), config)).await?;
    workload.run(bench).await?;
    agent.stop_well(bench).await?;
    let tenant = sink.metadata("x-tenant");
    ensure!(
        tenant.as_deref() == Some("queues"),
        "the sink saw x-tenant {tenant:?}"
    );
    Ok(())
}
