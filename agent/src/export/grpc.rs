//! The OTLP/gRPC client: one unary call per request over tonic's channel.
//!
//! The call is made on the channel itself, an HTTP/2 service, rather than
//! through `tonic::client::Grpc`. Bytes are then sent without being copied into
//! its buffer, and the gzip level can be chosen. A malformed
//! `grpc-status-details-bin`, on which tonic 0.14 panics, is ignored.

use std::future::poll_fn;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use tonic::body::Body;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Identity};
use tower::Service as _;

use super::compress::Compressor;
use super::message::{Message, PartialSuccess, base64_decode, percent_decode};
use super::refusal::{Refusal, code};
use super::trust::Trust;
use crate::config::{Compression, Otlp, Tls};

const EXPORT_TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const EXPORT_LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const EXPORT_METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// Follows "User Agent" of the OTLP exporter specification, with our name
/// first.
const USER_AGENT: &str = concat!(
    "mqspan/",
    env!("CARGO_PKG_VERSION"),
    " OTel-OTLP-Exporter-Rust/",
    env!("CARGO_PKG_VERSION")
);
/// Bytes of an answer that are kept. Answers are short; anything beyond is
/// dropped.
const MAX_ANSWER: usize = 256 << 10;
/// Bytes of the collector's text that are kept.
const MAX_TEXT: usize = 1024;
/// How often to probe the connection, so that a vanished peer is noticed while
/// a request waits for it.
const KEEPALIVE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The collector answered with an error.
    Refused(Refusal),
    /// There was no connection, or it broke; holds the causes.
    Unreachable(String),
    TimedOut,
}

/// A client of one service of a collector.
#[derive(Debug)]
pub struct Client {
    method: &'static str,
    uri: Uri,
    compressor: Compressor,
    config: Otlp,
    headers: HeaderMap,
    connection: Mutex<Connection>,
}

#[derive(Debug)]
struct Connection {
    channel: Channel,
    /// Contents of the TLS files that the channel was made with.
    files: TlsFiles,
    generation: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct TlsFiles {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Client {
    /// A client of the trace service. Reads the TLS files now, but connects
    /// only at the first request. Must be called in the context of a Tokio
    /// runtime.
    ///
    /// # Errors
    /// If a TLS file or a header cannot be used.
    pub fn new(config: Otlp) -> anyhow::Result<Self> {
        Self::with_method(config, EXPORT_TRACES)
    }

    /// A client of the metrics service, otherwise like [`Self::new`]. The
    /// answers of all services have the same layout, so `rejected_spans` counts
    /// data points.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_metrics(config: Otlp) -> anyhow::Result<Self> {
        Self::with_method(config, EXPORT_METRICS)
    }

    /// A client of the logs service, where `rejected_spans` counts log records.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_logs(config: Otlp) -> anyhow::Result<Self> {
        Self::with_method(config, EXPORT_LOGS)
    }

    fn with_method(config: Otlp, method: &'static str) -> anyhow::Result<Self> {
        let uri = config.endpoint.url().parse()?;
        let headers = request_headers(&config)?;
        let files = TlsFiles::read(&config.tls)?;
        let channel = connect(&uri, &config, &files)?;
        Ok(Self {
            method,
            uri,
            compressor: Compressor::new(config.compression),
            config,
            headers,
            connection: Mutex::new(Connection {
                channel,
                files,
                generation: 0,
            }),
        })
    }

    /// Scheme, host and port, and the proxy if there is one, for log messages.
    pub fn endpoint(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |part| part.as_str());
        let proxy = self.config.proxy.as_ref();
        let through = proxy.and_then(|proxy| proxy.uri().authority());
        let through =
            through.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"));
        format!("{scheme}://{authority}{through}")
    }

    /// Sends one request and waits for its answer, but no longer than the
    /// timeout.
    ///
    /// # Errors
    /// [`Failure`] for anything but an OK status.
    pub async fn send(&self, message: &Message) -> Result<PartialSuccess, Failure> {
        let (channel, generation) = {
            let connection = self.lock();
            (connection.channel.clone(), connection.generation)
        };
        let call = self.call(channel, message);
        let answer = tokio::time::timeout(self.config.timeout.0, call)
            .await
            .unwrap_or(Err(Failure::TimedOut));
        if answer == Err(Failure::TimedOut) {
            self.reconnect(generation);
        }
        answer
    }

    async fn call(
        &self,
        mut channel: Channel,
        message: &Message,
    ) -> Result<PartialSuccess, Failure> {
        let mut request = Request::new(Body::new(message.body()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(self.method);
        *request.headers_mut() = self.headers.clone();
        poll_fn(|cx| channel.poll_ready(cx))
            .await
            .map_err(|error| unreachable(&error))?;
        let response = channel
            .call(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let (head, mut body) = response.into_parts();
        if head.headers.contains_key("grpc-status") {
            return answer(&head.headers, &[]);
        }
        if head.status != http::StatusCode::OK {
            return Err(Failure::Refused(http_refusal(head.status)));
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unreachable(&error))?;
            match frame.into_data() {
                Ok(data) if bytes.len() + data.len() <= MAX_ANSWER => {
                    bytes.extend_from_slice(&data);
                }
                Ok(_) => {}
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return answer(&trailers, &bytes);
                    }
                }
            }
        }
        let cause = "the answer ended without a gRPC status";
        Err(Failure::Unreachable(cause.to_owned()))
    }

    /// Sends a request of the agent's own telemetry, once.
    pub(crate) async fn send_own(&self, request: Vec<u8>) -> Result<PartialSuccess, Failure> {
        let message = self.message(request.into());
        let message = message.map_err(|error| Failure::Unreachable(error.to_string()))?;
        self.send(&message).await
    }

    /// Compresses and frames a request.
    ///
    /// # Errors
    /// As [`Compressor::message`].
    pub fn message(&self, request: Bytes) -> std::io::Result<Message> {
        self.compressor.message(request)
    }

    /// Replaces a connection on which a request got no answer, because the peer
    /// may have vanished. Requests that still use it keep it until they end.
    fn reconnect(&self, generation: u64) {
        let mut connection = self.lock();
        if connection.generation == generation
            && let Ok(channel) = connect(&self.uri, &self.config, &connection.files)
        {
            connection.channel = channel;
            connection.generation += 1;
        }
    }

    /// Reads the TLS files again and reconnects if they changed. Returns
    /// whether they did.
    ///
    /// # Errors
    /// If the files cannot be read or used. The connection then stays.
    pub fn reload(&self) -> anyhow::Result<bool> {
        let files = TlsFiles::read(&self.config.tls)?;
        if self.lock().files == files {
            return Ok(false);
        }
        let channel = connect(&self.uri, &self.config, &files)?;
        let mut connection = self.lock();
        let generation = connection.generation + 1;
        *connection = Connection {
            channel,
            files,
            generation,
        };
        Ok(true)
    }

    /// [`Self::reload`], if `tls.reload_interval` is set. Errors are ignored
    /// here: the exporter of spans reads the same files and reports them.
    pub(crate) fn refresh(&self) {
        if self.config.tls.reload_interval.unless_zero().is_some() {
            self.reload().unwrap_or_default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the gRPC status from headers or trailers.
fn answer(headers: &HeaderMap, body: &[u8]) -> Result<PartialSuccess, Failure> {
    let get = |name: &str| headers.get(name).map_or(&[][..], HeaderValue::as_bytes);
    let code = std::str::from_utf8(get("grpc-status"))
        .ok()
        .and_then(|text| text.parse::<u8>().ok())
        .filter(|code| *code <= code::UNAUTHENTICATED)
        .unwrap_or(code::UNKNOWN);
    if code == 0 {
        let mut success = PartialSuccess::parse(body);
        cut(&mut success.error_message);
        return Ok(success);
    }
    let mut message = percent_decode(get("grpc-message"));
    cut(&mut message);
    Err(Failure::Refused(Refusal {
        code,
        message,
        details: base64_decode(get("grpc-status-details-bin")).unwrap_or_default(),
        http_status: None,
    }))
}

fn cut(text: &mut String) {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
    }
}

/// Follows "HTTP to gRPC Status Code Mapping" of the gRPC documentation.
fn http_refusal(status: http::StatusCode) -> Refusal {
    Refusal {
        code: match status.as_u16() {
            400 => code::INTERNAL,
            401 => code::UNAUTHENTICATED,
            403 => code::PERMISSION_DENIED,
            404 => code::UNIMPLEMENTED,
            429 | 502..=504 => code::UNAVAILABLE,
            _ => code::UNKNOWN,
        },
        message: format!("HTTP status {status}"),
        details: Vec::new(),
        http_status: Some(status.as_u16()),
    }
}

/// Joins an error and its causes, without repetitions. The channel enforces
/// `grpc-timeout`, too, and may be the first to time out.
fn unreachable(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<tonic::TimeoutExpired>() {
            return Failure::TimedOut;
        }
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    Failure::Unreachable(text)
}

fn request_headers(config: &Otlp) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let basic = config
        .endpoint
        .basic_authorization()
        .filter(|_| !config.headers.contains_key(header::AUTHORIZATION.as_str()));
    let basic = basic
        .iter()
        .map(|value| (header::AUTHORIZATION.as_str(), value));
    let given = config.headers.iter();
    for (name, value) in given
        .map(|(name, value)| (name.as_str(), value))
        .chain(basic)
    {
        let parsed: HeaderName = name
            .parse()
            .with_context(|| format!("{name:?} is no header name"))?;
        // The value may be a secret, so the error must not contain it.
        let mut value: HeaderValue = value
            .expose()
            .parse()
            .with_context(|| format!("the value of the header {name:?} is not valid"))?;
        value.set_sensitive(true);
        headers.append(parsed, value);
    }
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if config.compression != Compression::None {
        let encoding = HeaderValue::from_static(config.compression.as_str());
        headers.insert("grpc-encoding", encoding);
    }
    let millis = config.timeout.0.as_millis().clamp(1, 99_999_999);
    headers.insert("grpc-timeout", format!("{millis}m").parse()?);
    Ok(headers)
}

impl TlsFiles {
    fn read(tls: &Tls) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            let is_given = !path.as_os_str().is_empty();
            let cannot = || format!("cannot read {}", path.display());
            is_given
                .then(|| std::fs::read(path).with_context(cannot))
                .transpose()
        };
        Ok(Self {
            ca: read(&tls.ca_file)?,
            cert: read(&tls.cert_file)?,
            key: read(&tls.key_file)?,
        })
    }
}

/// A channel that connects when it is first used, and again when the connection
/// breaks.
fn connect(uri: &Uri, config: &Otlp, files: &TlsFiles) -> anyhow::Result<Channel> {
    let mut endpoint = Endpoint::from(uri.clone())
        .user_agent(USER_AGENT)?
        .connect_timeout(config.timeout.0)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE))
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(config.timeout.0)
        .keep_alive_while_idle(false);
    if uri.scheme_str() == Some("https") {
        let mut tls = ClientTlsConfig::new().assume_http2(true);
        if let (Some(cert), Some(key)) = (&files.cert, &files.key) {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        let name = &config.tls.server_name_override;
        if !name.is_empty() {
            tls = tls.domain_name(name);
        }
        let unusable = "the TLS files cannot be used";
        endpoint = match &files.ca {
            Some(pem) => {
                let trust = Trust::new(pem).context(unusable)?;
                endpoint.tls_config_with_verifier(tls, Arc::new(trust))
            }
            None => endpoint.tls_config(tls.with_native_roots()),
        }
        .context(unusable)?;
    }
    let Some(proxy) = &config.proxy else {
        return Ok(endpoint.connect_lazy());
    };
    let mut to_proxy = HttpConnector::new();
    to_proxy.set_nodelay(true);
    to_proxy.set_keepalive(Some(KEEPALIVE));
    let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
    if let Some(authorization) = proxy.authorization() {
        tunnel = tunnel.with_auth(authorization.clone());
    }
    Ok(endpoint.connect_with_connector_lazy(tunnel))
}
