//! A client of one service of a collector, in either protocol.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use super::answer::PartialSuccess;
use super::compress::Compressor;
use super::connect::{Channel, TlsFiles, unreachable};
use super::message::Message;
use super::refusal::Failure;
use super::signal::Signal;
use super::{grpc, http as otlp_http};
use crate::config::{Compression, Otlp, Protocol};

/// Follows "User Agent" of the OTLP exporter specification, with our name
/// first.
const USER_AGENT: &str = concat!(
    "mqspan/",
    env!("CARGO_PKG_VERSION"),
    " OTel-OTLP-Exporter-Rust/",
    env!("CARGO_PKG_VERSION")
);

#[derive(Debug)]
pub struct Client {
    /// Where requests go.
    uri: Uri,
    headers: HeaderMap,
    compressor: Compressor,
    config: Otlp,
    connection: Mutex<Connection>,
}

#[derive(Debug)]
struct Connection {
    channel: Channel,
    /// Contents of the TLS files that the channel was made with.
    files: TlsFiles,
    generation: u64,
}

impl Client {
    /// Reads the TLS files now, but connects only at the first request. Must be
    /// called in the context of a Tokio runtime.
    ///
    /// The answers of all services have the same layout, so `rejected_spans`
    /// counts data points or log records where the signal is another.
    ///
    /// # Errors
    /// If a TLS file or a header cannot be used.
    pub fn new(config: Otlp, signal: Signal) -> anyhow::Result<Self> {
        let path = match config.protocol {
            Protocol::Grpc => grpc::path(signal).to_owned(),
            Protocol::HttpProtobuf => otlp_http::path(&config.endpoint, signal),
        };
        let uri = format!("{}{path}", config.endpoint.origin()).parse()?;
        let headers = request_headers(&config)?;
        let files = TlsFiles::read(&config.tls)?;
        let channel = Channel::new(&config, &files)?;
        Ok(Self {
            uri,
            headers,
            compressor: Compressor::new(config.compression),
            config,
            connection: Mutex::new(Connection {
                channel,
                files,
                generation: 0,
            }),
        })
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.config.protocol
    }

    /// The endpoint, and the proxy if there is one, for log messages.
    pub fn endpoint(&self) -> String {
        let proxy = self.config.proxy.as_ref();
        let through = proxy.and_then(|proxy| proxy.uri().authority());
        let through =
            through.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"));
        self.config.endpoint.url() + &through
    }

    /// Compresses a request and makes it ready to be sent.
    ///
    /// # Errors
    /// If the compressor fails, or the result does not fit into a frame.
    pub fn message(&self, request: Bytes) -> std::io::Result<Message> {
        let payload = self.compressor.compress(request)?;
        match self.config.protocol {
            Protocol::Grpc => {
                let is_compressed = self.config.compression != Compression::None;
                Message::framed(payload, is_compressed)
            }
            Protocol::HttpProtobuf => Ok(Message::plain(payload)),
        }
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
        let mut request = Request::new(message.body());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            let response = channel.request(request).await;
            let response = response.map_err(|error| unreachable(&error))?;
            match self.config.protocol {
                Protocol::Grpc => grpc::answer(response).await,
                Protocol::HttpProtobuf => otlp_http::answer(response).await,
            }
        };
        let answer = tokio::time::timeout(self.config.timeout.0, exchange)
            .await
            .unwrap_or(Err(Failure::TimedOut));
        if answer == Err(Failure::TimedOut) {
            self.reconnect(generation);
        }
        answer
    }

    /// Sends a request of the agent's own telemetry, once.
    pub(crate) async fn send_own(&self, request: Vec<u8>) -> Result<PartialSuccess, Failure> {
        let message = self.message(request.into());
        let message = message.map_err(|error| Failure::Unreachable(error.to_string()))?;
        self.send(&message).await
    }

    /// Replaces a connection on which a request got no answer, because the peer
    /// may have vanished. Requests that still use it keep it until they end.
    fn reconnect(&self, generation: u64) {
        let mut connection = self.lock();
        if connection.generation == generation
            && let Ok(channel) = Channel::new(&self.config, &connection.files)
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
        let channel = Channel::new(&self.config, &files)?;
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
    let agent = match headers.get(header::USER_AGENT) {
        Some(product) => {
            let product = product.to_str().unwrap_or_default();
            format!("{product} {USER_AGENT}").parse()?
        }
        None => HeaderValue::from_static(USER_AGENT),
    };
    headers.insert(header::USER_AGENT, agent);
    match config.protocol {
        Protocol::Grpc => grpc::set_headers(&mut headers, config)?,
        Protocol::HttpProtobuf => otlp_http::set_headers(&mut headers, config),
    }
    Ok(headers)
}
