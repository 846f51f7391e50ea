//! The endpoints that an orchestrator probes.

use anyhow::{Result, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::http;

use super::{Case, case, defaults};
use crate::Bench;
use crate::agent::Agent;

pub(super) fn cases() -> Vec<Case> {
    vec![case!("health", health)]
}

/// The agent answers probes while it runs, and no longer once it has ended.
async fn health(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/nothing", 404)] {
        let response = http::get(agent.health, path).await?;
        ensure!(
            response.status == status,
            "{path}: {}, not {status}: {}",
            response.status,
            response.body
        );
    }
    let address = agent.health;
    agent.stop_well(bench).await?;
    ensure!(
        http::get(address, "/healthz").await.is_err(),
        "health answers after the end"
    );
    Ok(())
}
