//! Where an exporter sends to, as its metrics report it.

use super::signal::Signal;
use crate::config::{Address, Otlp, Protocol};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `otel.component.type` of the exporter.
    pub exporter: &'static str,
    /// `server.address`: host or path of the socket; `None` for a file.
    pub address: Option<String>,
    /// `server.port`.
    pub port: Option<u16>,
}

impl Destination {
    pub fn collector(otlp: &Otlp, signal: Signal) -> Self {
        let (address, port) = match otlp.endpoint.address() {
            Address::Tcp { host, port } => (host.trim_matches(['[', ']']).to_owned(), Some(*port)),
            Address::Unix(path) => (path.to_string_lossy().into_owned(), None),
        };
        Self {
            exporter: match (otlp.protocol, signal) {
                (Protocol::Grpc, Signal::Traces) => "otlp_grpc_span_exporter",
                (Protocol::Grpc, Signal::Logs) => "otlp_grpc_log_exporter",
                (Protocol::Grpc, Signal::Metrics) => "otlp_grpc_metric_exporter",
                (Protocol::HttpProtobuf, Signal::Traces) => "otlp_http_span_exporter",
                (Protocol::HttpProtobuf, Signal::Logs) => "otlp_http_log_exporter",
                (Protocol::HttpProtobuf, Signal::Metrics) => "otlp_http_metric_exporter",
            },
            address: Some(address),
            port,
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
