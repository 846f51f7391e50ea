//! The collector behind TLS, trusted and not.

use anyhow::{Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use super::{Case, case, comparison};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::sink::Sink;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("tls", trusted),
        case!("tls_unknown_authority", unknown_authority),
    ]
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A sink with a certificate for `localhost`, and its endpoint.
async fn sink_of(authority: &CertifiedIssuer<'_, KeyPair>) -> Result<(Sink, String)> {
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, authority)?;
    let sink = Sink::start_tls(&certificate.pem(), &key.serialize_pem()).await?;
    let endpoint = format!("https://localhost:{}", sink.address.port());
    Ok((sink, endpoint))
}

async fn trusted(bench: &'static Bench) -> Result<()> {
    let authority = authority()?;
    let (sink, endpoint) = sink_of(&authority).await?;
    let dir = TempDir::with_prefix("mqspan-e2e")?;
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem())?;
    let tls = json!({"exporters": {"otlp": {"tls": {"ca_file": ca_file}}}});
    let agent = Agent::start(bench, agent::config(bench, &endpoint, tls)).await?;
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let calls = workload.run(bench).await?;
    sink.wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &sink.spans())
}

/// Nothing goes to a collector that cannot show who it is.
async fn unknown_authority(bench: &'static Bench) -> Result<()> {
    let (sink, endpoint) = sink_of(&authority()?).await?;
    let dir = TempDir::with_prefix("mqspan-e2e")?;
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, authority()?.pem())?;
    let tls = json!({"exporters": {"otlp": {"tls": {"ca_file": ca_file}}}});
    let agent = Agent::start(bench, agent::config(bench, &endpoint, tls)).await?;
    let workload = Workload::new(bench.workload()?, &["paced", "1"])?;
    workload.run(bench).await?;
    agent.wait_for_log("certificate", bench.bound(30)).await?;
    agent.stop(bench).await?;
    ensure!(
        sink.spans().is_empty(),
        "spans went to an unknown collector"
    );
    Ok(())
}
