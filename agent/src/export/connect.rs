//! The way to the collector: TCP or a Unix socket, a proxy's tunnel, TLS, and
//! HTTP over it.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::TryFutureExt as _;
use http::{Request, Uri};
use hyper_rustls::{
    ConfigBuilderExt as _, DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector,
    ResolveServerName,
};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Builder, Client as HttpClient, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, UnixStream};
use tower::Service;

use super::message::MessageBody;
use super::refusal::{Failure, OTHER_PROTOCOL};
use super::trust::Trust;
use crate::config::{Address, Otlp, Protocol, Tls};

/// How often to probe the connection, so that a vanished peer is noticed while
/// a request waits for it.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// When to close a connection of OTLP over HTTP that is idle: before the server
/// does, which would cost the request that is just then on its way. The
/// Collector and most proxies wait 60 s or longer.
const IDLE: Duration = Duration::from_secs(30);

/// Sends requests over connections that are made when they are needed, and anew
/// when they break.
#[derive(Debug, Clone)]
pub(super) enum Channel {
    Tcp(Arc<HttpClient<HttpsConnector<Tcp>, MessageBody>>),
    Unix(Arc<HttpClient<Socket, MessageBody>>),
}

impl Channel {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// If the TLS files cannot be used.
    pub(super) fn new(config: &Otlp, files: &TlsFiles) -> anyhow::Result<Self> {
        let client = client(config);
        if let Address::Unix(path) = config.endpoint.address() {
            let socket = Socket(path.as_path().into());
            return Ok(Self::Unix(Arc::new(client.build(socket))));
        }
        let (tls, name) = if config.endpoint.is_tls() {
            let tls = tls(config.protocol, files).context("the TLS files cannot be used")?;
            (tls, server_name(&config.tls.server_name_override)?)
        } else {
            (never()?, server_name("")?)
        };
        let connector = HttpsConnector::new(Tcp::new(config), tls, false, name);
        Ok(Self::Tcp(Arc::new(client.build(connector))))
    }

    pub(super) fn request(&self, request: Request<MessageBody>) -> ResponseFuture {
        match self {
            Self::Tcp(client) => client.request(request),
            Self::Unix(client) => client.request(request),
        }
    }
}

fn client(config: &Otlp) -> Builder {
    let is_grpc = config.protocol == Protocol::Grpc;
    let mut builder = HttpClient::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout((!is_grpc).then_some(IDLE))
        .http2_only(is_grpc)
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_timeout(config.timeout.0)
        .http2_keep_alive_while_idle(false);
    builder
}

/// Contents of the TLS files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TlsFiles {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl TlsFiles {
    pub(super) fn read(tls: &Tls) -> anyhow::Result<Self> {
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

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(ring::default_provider()))
}

fn tls(protocol: Protocol, files: &TlsFiles) -> anyhow::Result<ClientConfig> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &files.ca {
        Some(pem) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trust::new(pem)?)),
        None => builder.with_native_roots()?,
    };
    let mut config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
            let chain = chain.context("tls.cert_file is no PEM file")?;
            let key = PrivateKeyDer::from_pem_slice(key).context("tls.key_file holds no key")?;
            builder.with_client_auth_cert(chain, key)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match protocol {
        Protocol::Grpc => vec![b"h2".to_vec()],
        Protocol::HttpProtobuf => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(config)
}

/// The name that the server's certificate must have: this one, or the host.
fn server_name(name: &str) -> anyhow::Result<Arc<dyn ResolveServerName + Send + Sync>> {
    if name.is_empty() {
        return Ok(Arc::new(DefaultServerNameResolver::default()));
    }
    let name = ServerName::try_from(name.to_owned())
        .context("exporters.otlp.tls.server_name_override is no name of a server")?;
    Ok(Arc::new(FixedServerNameResolver::new(name)))
}

/// For a connector that is asked for plain connections only.
fn never() -> anyhow::Result<ClientConfig> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<Stream, Error> =
    Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, Error>> + Send>>;

/// Connects to the host, or to it through a proxy.
#[derive(Debug, Clone)]
pub(super) enum Tcp {
    Straight(HttpConnector),
    Through(Tunnel<HttpConnector>),
}

impl Tcp {
    fn new(config: &Otlp) -> Self {
        let mut straight = HttpConnector::new();
        straight.enforce_http(false);
        straight.set_nodelay(true);
        straight.set_keepalive(Some(KEEPALIVE));
        straight.set_connect_timeout(Some(config.timeout.0));
        let Some(proxy) = &config.proxy else {
            return Self::Straight(straight);
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), straight);
        if let Some(authorization) = proxy.authorization() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        Self::Through(tunnel)
    }
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting<TcpStream, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Straight(connector) => connector.poll_ready(cx).map_err(BoxError::from),
            Self::Through(tunnel) => tunnel.poll_ready(cx).map_err(BoxError::from),
        }
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match self {
            Self::Straight(connector) => Box::pin(connector.call(to).err_into()),
            Self::Through(tunnel) => Box::pin(tunnel.call(to).err_into()),
        }
    }
}

/// Connects to a Unix socket, whatever the URI.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<Path>);

impl Service<Uri> for Socket {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Connecting<UnixStream, io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = PathBuf::from(&*self.0);
        Box::pin(async move {
            let stream = UnixStream::connect(&path).await;
            let stream = stream.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// Joins the causes of an error, without repetitions.
pub(super) fn unreachable(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut text = String::new();
    let mut next = Some(error);
    let mut is_no_http = false;
    while let Some(error) = next {
        let of_hyper = error.downcast_ref::<hyper::Error>();
        is_no_http |= of_hyper.is_some_and(is_of_no_http);
        let cause = error.to_string();
        next = error.source();
        // Only says that it was the client's.
        let is_empty = next.is_some() && cause.starts_with("client error");
        if !is_empty && !text.ends_with(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text.push_str(colon);
            text.push_str(&cause);
        }
    }
    // What h2 makes of an answer in HTTP/1.1.
    if is_no_http || text.contains("frame with invalid size") {
        text = format!("{text}; {OTHER_PROTOCOL}");
    }
    Failure::Unreachable(text)
}

/// Whether the server does not speak the HTTP that it was spoken to in. It is a
/// cancellation where a connection for HTTP/2 ends before its first request.
fn is_of_no_http(error: &hyper::Error) -> bool {
    error.is_parse() && !error.is_parse_too_large() || error.is_canceled()
}
