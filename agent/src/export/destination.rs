//! Where an exporter sends to, as its metrics report it.

use super::signal::Signal;
use crate::config::Otlp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `otel.component.type` of the exporter.
    pub exporter: &'static str,
    /// `server.address`; `None` for a file.
    pub address: Option<String>,
    /// `server.port`.
    pub port: Option<u16>,
}

impl Destination {
    pub fn collector(otlp: &Otlp, signal: Signal) -> Self {
        let host = otlp.endpoint.host();
        Self {
            exporter: match signal {
                Signal::Traces => "otlp_grpc_span_exporter",
                Signal::Logs => "otlp_grpc_log_exporter",
                Signal::Metrics => "otlp_grpc_metric_exporter",
            },
            address: Some(host.trim_matches(['[', ']']).to_owned()),
            port: Some(otlp.endpoint.port()),
        }
    }

    /// The conventions have no name for an exporter to a file.
    pub fn file() -> Self {
        Self {
            exporter: "otlp_json_file_span_exporter",
            address: None,
            port: None,
        }
    }
}
