//! A collector behind TLS, trusted and untrusted.

use anyhow::{Result, ensure};
use mqspan_testkit::certificates::Authority;
use mqspan_testkit::collector::Collector;
use serde_json::json;
use tempfile::TempDir;

use super::{Case, case, comparison};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("tls", trusted),
        case!("tls_unknown_authority", unknown_authority),
    ]
}

/// A collector with a certificate for `localhost`, and its endpoint.
fn collector_of(authority: &Authority) -> Result<(Collector, String)> {
    let collector = Collector::start_tls(authority.issue("localhost")?.server())?;
    let endpoint = format!("https://localhost:{}", collector.address.port());
    Ok((collector, endpoint))
}

/// Every span arrives at a collector whose certificate is trusted.
async fn trusted(bench: &'static Bench) -> Result<()> {
    let authority = Authority::new()?;
    let (collector, endpoint) = collector_of(&authority)?;
    let dir = TempDir::with_prefix("mqspan-e2e")?;
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem())?;
    let tls = json!({"exporters": {"otlp": {"tls": {"ca_file": ca_file}}}});
    let agent = Agent::start(bench, agent::config(bench, &endpoint, tls)).await?;
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &collector.spans())
}

/// No span goes to a collector whose certificate is not trusted.
async fn unknown_authority(bench: &'static Bench) -> Result<()> {
    let (collector, endpoint) = collector_of(&Authority::new()?)?;
    let dir = TempDir::with_prefix("mqspan-e2e")?;
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, Authority::new()?.pem())?;
    let tls = json!({"exporters": {"otlp": {"tls": {"ca_file": ca_file}}}});
    let agent = Agent::start(bench, agent::config(bench, &endpoint, tls)).await?;
    let workload = Workload::new(bench.workload()?, &["paced", "1"])?;
    workload.run(bench).await?;
    agent.wait_for_log("certificate", bench.bound(30)).await?;
    agent.stop(bench).await?;
    ensure!(
        collector.spans().is_empty(),
        "spans went to an unknown collector"
    );
    Ok(())
}
