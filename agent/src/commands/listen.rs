//! The HTTP endpoints of `mqspan run`. Endpoints with the same address share a
//! listener.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use tokio::runtime::Runtime;

use crate::config::Config;
use crate::health::{self, Health};
use crate::metrics::{MetricsSource, endpoint};
use crate::server;

/// Binds the configured addresses and serves them. An address in use fails the start.
pub(super) fn listen(
    config: &Config,
    runtime: &Runtime,
    health: Health,
    source: &Arc<MetricsSource>,
) -> anyhow::Result<()> {
    let health = health::router(health);
    let metrics = endpoint::router(Arc::clone(source));
    match (config.health.address.0, config.metrics.prometheus.address.0) {
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
        .block_on(server::bind(address))
        .with_context(|| format!("cannot bind {key} {address}"))?;
    runtime.spawn(server::serve(listener, router));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mqspan_testkit::{free_address, http};

    use super::*;
    use crate::balance::Decoded;
    use crate::metrics::exchange::exchange;

    #[test]
    fn endpoints_share_an_address_or_have_their_own() {
        let runtime = Runtime::new().unwrap();
        let (_publisher, reader) = exchange();
        let source = Arc::new(MetricsSource::new(
            reader,
            &BTreeMap::new(),
            Decoded::default,
        ));
        let health = Health::new(Arc::default());
        let status = |address, path| {
            let answer = runtime.block_on(http::get(address, path));
            answer.unwrap().status
        };
        let (ok, not_yet, not_found) = (200, 503, 404);
        for (for_health, for_metrics) in {
            let both = free_address().unwrap();
            [
                (both, both),
                (free_address().unwrap(), free_address().unwrap()),
            ]
        } {
            let mut config = Config::default();
            config.health.address.0 = Some(for_health);
            config.metrics.prometheus.address.0 = Some(for_metrics);
            listen(&config, &runtime, health.clone(), &source).unwrap();
            assert_eq!(status(for_health, "/healthz"), ok);
            assert_eq!(status(for_health, "/readyz"), not_yet);
            // The programs are not loaded.
            assert_eq!(status(for_metrics, "/metrics"), not_yet);
            if for_health != for_metrics {
                assert_eq!(status(for_metrics, "/healthz"), not_found);
            }
            let error = listen(&config, &runtime, health.clone(), &source).unwrap_err();
            assert!(error.to_string().contains("health.address"), "{error}");
        }
    }
}
