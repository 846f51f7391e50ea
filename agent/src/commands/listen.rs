//! The HTTP endpoints of `mqspan run`. Those of one address share a listener.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use tokio::runtime::Runtime;

use crate::config::Config;
use crate::health::{self, Health};
use crate::metrics::{Source, endpoint};

/// Binds what the configuration names, so that an address in use fails the
/// start, and answers from then on.
pub(super) fn listen(
    config: &Config,
    runtime: &Runtime,
    health: Health,
    source: &Arc<Source>,
) -> anyhow::Result<()> {
    let health = health::router(health);
    let metrics = endpoint::router(Arc::clone(source));
    match (config.health.address, config.metrics.prometheus_address) {
        (Some(address), Some(same)) if address == same => {
            return serve(runtime, "health.address", address, health.merge(metrics));
        }
        (for_health, for_metrics) => {
            if let Some(address) = for_health {
                serve(runtime, "health.address", address, health)?;
            }
            if let Some(address) = for_metrics {
                serve(runtime, "metrics.prometheus.address", address, metrics)?;
            }
        }
    }
    Ok(())
}

fn serve(runtime: &Runtime, key: &str, address: SocketAddr, router: Router) -> anyhow::Result<()> {
    let listener = runtime
        .block_on(health::bind(address))
        .with_context(|| format!("cannot bind {key} {address}"))?;
    runtime.spawn(health::serve(listener, router));
    Ok(())
}
