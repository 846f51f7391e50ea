//! Collectors that forward spans, and what they need for it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use mqspan_testkit::free_address;
use tempfile::TempDir;
use tokio::process::Command;

use crate::Bench;
use crate::server::Server;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rotel,
    Otelcol,
}

pub(super) const KINDS: [Kind; 2] = [Kind::Rotel, Kind::Otelcol];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Rotel => "rotel 0.0.1a15",
            Kind::Otelcol => "otelcol 0.165.0",
        }
    }
}

/// A running collector. It is killed when dropped.
pub(super) struct Forwarder {
    server: Server,
    address: SocketAddr,
    _config: TempDir,
}

impl Forwarder {
    /// Accepts OTLP/gRPC and forwards it with gzip. tests/bench/rivals.sh puts the programs in
    /// `rivals`.
    pub(super) async fn start(
        bench: &Bench,
        rivals: &Path,
        kind: Kind,
        to: &str,
    ) -> Result<Forwarder> {
        let config = TempDir::with_prefix("mqspan-bench")?;
        let address = free_address()?;
        let mut command = match kind {
            Kind::Rotel => rotel(rivals, address, to).await?,
            Kind::Otelcol => otelcol(rivals, address, to, config.path())?,
        };
        let server = Server::start(bench, kind.name(), &mut command, &[address])
            .await
            .context("tests/bench/rivals.sh builds it")?;
        Ok(Forwarder {
            server,
            address,
            _config: config,
        })
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn pid(&self) -> Result<u32> {
        self.server.pid()
    }
}

async fn rotel(rivals: &Path, address: SocketAddr, to: &str) -> Result<Command> {
    let mut command = Command::new(rivals.join("rotel"));
    let http = free_address()?.to_string();
    command.args(["start", "--otlp-grpc-endpoint", &address.to_string()]);
    command.args(["--otlp-http-endpoint", &http, "--exporter", "otlp"]);
    command.args(["--otlp-exporter-endpoint", to]);
    command.args(["--otlp-exporter-protocol", "grpc"]);
    command.args(["--otlp-exporter-compression", "gzip"]);
    Ok(command)
}

fn otelcol(rivals: &Path, address: SocketAddr, to: &str, directory: &Path) -> Result<Command> {
    let config = serde_json::json!({
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": address.to_string()}}}},
        "processors": {"batch": {}},
        "exporters": {"otlp_grpc": {"endpoint": to, "compression": "gzip", "tls": {"insecure": true}}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {
                "receivers": ["otlp"], "processors": ["batch"], "exporters": ["otlp_grpc"],
            }},
        },
    });
    let path = directory.join("otelcol.yaml");
    std::fs::write(&path, config.to_string())?;
    let mut command = Command::new(rivals.join("otelcol"));
    command.arg("--config").arg(path);
    Ok(command)
}
