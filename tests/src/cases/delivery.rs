//! Spans reach the collector once each, whatever it does in the meantime.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mqspan_testkit::collector::{Answer, Collector, Options, Protocol};
use mqspan_testkit::free_address;
use mqspan_testkit::otlp_json;
use serde_json::json;

use super::{Case, case, comparison, defaults};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::truth::Call;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("collector_down_then_up", collector_down_then_up),
        case!("collector_unavailable", collector_unavailable),
        case!("collector_slow", collector_slow),
        case!("partial_success", partial_success),
        case!("sigterm_drains", sigterm_drains),
        case!("file_exporter", file_exporter),
        case!("file_alone", file_alone),
        case!("file_renamed", file_renamed),
        case!("file_rotated", file_rotated),
        case!("gzip", |b| compressed(b, "gzip")),
        case!("zstd", |b| compressed(b, "zstd")),
        case!("over_http", over_http),
        case!("headers", headers),
    ]
}

fn paced(bench: &Bench) -> Result<Workload> {
    Workload::new(bench.workload()?, &["paced", "500"])
}

/// Spans made while the collector is down arrive once it is up.
async fn collector_down_then_up(bench: &'static Bench) -> Result<()> {
    let address = free_address()?;
    let endpoint = format!("http://{address}");
    let fast_retry = json!({"exporters": {"otlp": {"retry_on_failure":
        {"initial_interval": "100ms", "max_interval": "200ms"}}}});
    let agent = Agent::start(bench, agent::config(bench, &endpoint, fast_retry)).await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    let collector = Collector::start_on(address)?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// Requests refused with UNAVAILABLE are tried again: nothing is lost and nothing arrives twice.
async fn collector_unavailable(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    collector.answer_next(vec![Answer::unavailable(); 5]);
    let fast_retry = json!({"exporters": {"otlp": {"retry_on_failure":
        {"initial_interval": "50ms", "max_interval": "100ms"}}}});
    let config = agent::config(bench, &collector.endpoint(), fast_retry);
    let agent = Agent::start(bench, config).await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    let refused = collector.refused_requests();
    ensure!(refused == 5, "{refused} refusals, not 5");
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// With a slow collector, every span still arrives.
async fn collector_slow(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    collector.answer(|_| Answer::Delay(Duration::from_millis(300)));
    let config = agent::config(bench, &collector.endpoint(), defaults());
    let agent = Agent::start(bench, config).await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// Spans that the collector says it rejected are not sent again.
async fn partial_success(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    collector.answer(|_| Answer::partial(1, "as it was asked to"));
    let config = agent::config(bench, &collector.endpoint(), defaults());
    let agent = Agent::start(bench, config).await?;
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    let requests = collector.accepted_requests();
    ensure!(requests > 0, "no request");
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// With a long flush timeout every span is still in the agent at SIGTERM, and is sent then.
async fn sigterm_drains(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let late = json!({"exporters": {"otlp": {"batch":
        {"flush_timeout": "600s", "max_size": "4MiB"}}}});
    let agent = Agent::sending_to(bench, &collector, late).await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// The file and the collector both get every span.
async fn file_exporter(bench: &'static Bench) -> Result<()> {
    let dir = tempfile::TempDir::with_prefix("mqspan-e2e")?;
    let path = dir.path().join("spans.jsonl");
    let collector = Collector::start()?;
    let to_file = json!({"exporters": {"file": {"path": path}}});
    let agent = Agent::sending_to(bench, &collector, to_file).await?;
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    let written = otlp_json::traces_data_lines(&std::fs::read_to_string(&path)?)?;
    comparison(bench, &workload).check(&calls, &written)?;
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// Without OTLP export, all spans are in the file at the stop, and nothing is sent to a collector.
async fn file_alone(bench: &'static Bench) -> Result<()> {
    let dir = tempfile::TempDir::with_prefix("mqspan-e2e")?;
    let path = dir.path().join("spans.jsonl");
    let collector = Collector::start()?;
    let to_file = json!({
        "exporters": {"otlp": {"enabled": false}, "file": {"path": path}},
        "filter": {"include": {"pids": [std::process::id()]}},
        "metrics": {"otlp": {"enabled": true}},
    });
    let agent = Agent::sending_to(bench, &collector, to_file).await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(balance.lost_by("shutdown") == 0, "{balance:?}");
    ensure!(
        collector.spans().is_empty(),
        "the collector has been sent spans"
    );
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o7777;
    ensure!(mode == 0o600, "the file's mode is {mode:04o}");
    let written = otlp_json::traces_data_lines(&std::fs::read_to_string(&path)?)?;
    comparison(bench, &workload).check(&calls, &written)
}

/// From SIGHUP on, a renamed file is left alone, even if the new configuration is refused.
async fn file_renamed(bench: &'static Bench) -> Result<()> {
    const REOPENED: &str = "the file of spans has been opened anew";
    let dir = tempfile::TempDir::with_prefix("mqspan-e2e")?;
    let path = dir.path().join("spans.jsonl");
    let to_file = json!({
        "exporters": {"otlp": {"enabled": false}, "file": {"path": path}},
        "filter": {"include": {"pids": [std::process::id()]}},
    });
    let config = |over| agent::config(bench, "http://127.0.0.1:1", over);
    let agent = Agent::start(bench, config(to_file.clone())).await?;
    let bad = json!({"no_such_section": {}});
    let mut all = Vec::new();
    for (number, over) in [to_file, bad].into_iter().enumerate() {
        let workload = paced(bench)?;
        let calls = workload.run(bench).await?;
        wait_to_be_written(bench, &path, &calls).await?;
        let old = dir.path().join(format!("old.{number}"));
        std::fs::rename(&path, &old)?;
        agent.reload(config(over))?;
        agent
            .wait_for_logs(REOPENED, number + 1, bench.bound(10))
            .await?;
        all.push((workload, calls));
    }
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    agent.stop_balanced(bench).await?;
    all.push((workload, calls));
    for (name, (workload, calls)) in ["old.0", "old.1", "spans.jsonl"].iter().zip(&all) {
        let text = std::fs::read_to_string(dir.path().join(name))?;
        let written = otlp_json::traces_data_lines(&text)?;
        comparison(bench, workload)
            .check(calls, &written)
            .with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

async fn wait_to_be_written(bench: &Bench, path: &Path, calls: &[Call]) -> Result<()> {
    let all = async {
        loop {
            let text = std::fs::read_to_string(path)?;
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            let written = otlp_json::traces_data_lines(whole)?;
            if written.iter().filter(|span| is_of(calls)(span)).count() >= calls.len() {
                return Ok(());
            }
            tokio::time::sleep(agent::POLL).await;
        }
    };
    tokio::time::timeout(bench.bound(30), all)
        .await
        .context("the file lacks spans")?
}

/// Full files make room for new ones, and no span is lost in between.
async fn file_rotated(bench: &'static Bench) -> Result<()> {
    const MAX_SIZE: u64 = 256 << 10;
    let dir = tempfile::TempDir::with_prefix("mqspan-e2e")?;
    let path = dir.path().join("spans.jsonl");
    let to_file = json!({
        "exporters": {
            "otlp": {"enabled": false, "batch": {"max_size": "16KiB"}},
            "file": {"path": path, "max_size": MAX_SIZE},
        },
        "filter": {"include": {"pids": [std::process::id()]}},
    });
    let config = agent::config(bench, "http://127.0.0.1:1", to_file);
    let agent = Agent::start(bench, config).await?;
    let workload = Workload::new(bench.workload()?, &["paced", "2000"])?;
    let calls = workload.run(bench).await?;
    agent.stop_balanced(bench).await?;
    let mut written = Vec::new();
    let mut files = 0;
    for entry in std::fs::read_dir(dir.path())? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let (mode, len) = (metadata.permissions().mode() & 0o7777, metadata.len());
        ensure!(mode == 0o600 && len <= MAX_SIZE, "{mode:04o}, {len} bytes");
        let text = std::fs::read_to_string(entry.path())?;
        written.extend(otlp_json::traces_data_lines(&text)?);
        files += 1;
    }
    ensure!(files > 2, "{files} files");
    comparison(bench, &workload).check(&calls, &written)
}

/// Requests are compressed as configured, and every span arrives.
async fn compressed(bench: &'static Bench, how: &'static str) -> Result<()> {
    let workload = paced(bench)?;
    let config = json!({"exporters": {"otlp": {"compression": how}}});
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let calls = workload.run(bench).await?;
    agent.stop_well(bench).await?;
    let encoding = collector.metadata("grpc-encoding");
    ensure!(
        encoding.as_deref() == Some(how),
        "the collector saw grpc-encoding {encoding:?}, not {how}"
    );
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// Spans go over HTTP, to a collector that refuses some requests and is away for a while.
async fn over_http(bench: &'static Bench) -> Result<()> {
    let listening = || Options {
        protocol: Protocol::Http,
        ..Options::default()
    };
    let workload = paced(bench)?;
    let collector = Collector::start_with(listening())?;
    collector.answer_next([Answer::unavailable(), Answer::unavailable()]);
    let config = json!({"exporters": {"otlp": {
        "protocol": "http/protobuf",
        "compression": "gzip",
        "retry_on_failure": {"initial_interval": "100ms", "max_interval": "200ms"},
    }}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    let address = collector.address;
    let came = collector.spans();
    let refused = collector.refused_requests();
    ensure!(refused == 2, "{refused} requests were refused, not 2");
    let encoding = collector.metadata("content-encoding");
    ensure!(
        encoding.as_deref() == Some("gzip"),
        "the collector saw content-encoding {encoding:?}"
    );
    comparison(bench, &workload).check(&calls, &came)?;
    collector.kill().await?;
    let workload = paced(bench)?;
    let calls = workload.run(bench).await?;
    let collector = Collector::start_with(Options {
        address: Some(address),
        ..listening()
    })?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// Configured headers reach the collector.
async fn headers(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["paced", "1"])?;
    let config = json!({"exporters": {"otlp": {"headers": {"x-tenant": "queues"}}}});
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, config).await?;
    workload.run(bench).await?;
    agent.stop_well(bench).await?;
    let tenant = collector.metadata("x-tenant");
    ensure!(
        tenant.as_deref() == Some("queues"),
        "the collector saw x-tenant {tenant:?}"
    );
    Ok(())
}
