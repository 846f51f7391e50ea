//! Checks that the collector accepts spans, by an empty request sent the way
//! `run` sends its own.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::checks::{Finding, Grade};
use crate::config::{Endpoint, HumanDuration, Otlp};
use crate::export::counters::code_name;
use crate::export::grpc::{Client, Failure};
use crate::export::refusal::{Refusal, code};

const CHECK: &str = "collector";
/// Upper bound on `exporters.otlp.timeout`, so that the doctor answers soon.
const PATIENCE: Duration = Duration::from_secs(5);
const SET_ENDPOINT: &str = "set exporters.otlp.endpoint";

/// A collector that is down or refuses the request does not stop `run`, which
/// retries or counts the loss. Unusable settings do.
pub(super) fn of_collector(otlp: &Otlp) -> anyhow::Result<Finding> {
    let endpoint = &otlp.endpoint;
    let patient = Otlp {
        timeout: otlp.timeout.min(HumanDuration(PATIENCE)),
        ..otlp.clone()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let sent = runtime.block_on(async {
        let client = Client::new(patient)?;
        let message = client.message(Bytes::new())?;
        anyhow::Ok(client.send(&message).await)
    });
    runtime.shutdown_background();
    let (found, mend) = match sent {
        Ok(Ok(_)) => {
            let found = format!("{endpoint} takes spans");
            return Ok(Finding::new(CHECK, Grade::Ok, found));
        }
        Err(error) => {
            let mend = "mend exporters.otlp: run does not start with it";
            return Ok(Finding::new(CHECK, Grade::Error, format!("{error:#}")).mend(mend));
        }
        Ok(Err(Failure::Refused(refusal))) => of_refusal(&refusal),
        Ok(Err(Failure::TimedOut)) => of_silence(endpoint, "no answer in time"),
        Ok(Err(Failure::Unreachable(cause))) => of_silence(endpoint, &cause),
    };
    Ok(Finding::new(CHECK, Grade::Warning, format!("{endpoint}: {found}")).mend(mend))
}

fn of_refusal(refusal: &Refusal) -> (String, String) {
    let name = code_name(refusal.code);
    let found = format!("{name}: {}", refusal.message);
    let mend = match (refusal.code, refusal.http_status) {
        (code::UNAUTHENTICATED | code::PERMISSION_DENIED, _) => {
            "set exporters.otlp.headers, such as {authorization: \"Bearer ${env:TOKEN}\"}; run loses all spans until then"
                .to_owned()
        }
        (code::UNIMPLEMENTED, None) => format!(
            "the server has no OTLP trace service: give the collector a traces pipeline with an otlp receiver, or {SET_ENDPOINT}; run \
             loses all spans until then"
        ),
        (_, Some(status)) => format!(
            "the server speaks HTTP ({status}) and no gRPC: {SET_ENDPOINT} to the collector's OTLP/gRPC port, usually 4317"
        ),
        _ => "look at the collector's log".to_owned(),
    };
    (found, mend)
}

/// What a peer that did not answer the request seems to speak.
#[derive(Debug, PartialEq, Eq)]
enum Peer {
    Away(String),
    Tls,
    Http1,
    Other,
}

fn of_silence(endpoint: &Endpoint, cause: &str) -> (String, String) {
    let peer = Peer::of(endpoint);
    let (found, mend) = match (endpoint.is_tls(), peer) {
        (_, Peer::Away(error)) => (
            error,
            format!("start a collector there, or {SET_ENDPOINT}; run retries until then"),
        ),
        (false, Peer::Tls) => (
            format!("the server speaks TLS ({cause})"),
            "write https:// in exporters.otlp.endpoint".to_owned(),
        ),
        (false, Peer::Http1) => (
            format!("the server speaks HTTP/1 and no gRPC ({cause})"),
            format!("{SET_ENDPOINT} to the collector's OTLP/gRPC port, usually 4317"),
        ),
        (true, Peer::Http1 | Peer::Other) => (
            format!("the server does not speak TLS ({cause})"),
            "write http:// in exporters.otlp.endpoint, or give the collector a certificate"
                .to_owned(),
        ),
        (true, Peer::Tls) => (cause.to_owned(), of_tls(cause).to_owned()),
        (false, Peer::Other) => (
            cause.to_owned(),
            format!("look at the collector's log, or {SET_ENDPOINT}"),
        ),
    };
    (found, mend)
}

/// How to fix the error that rustls reports.
fn of_tls(cause: &str) -> &'static str {
    let cause = cause.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| cause.contains(words));
    if has(&["not valid for name", "notvalidforname"]) {
        "set exporters.otlp.tls.server_name_override to a name in the server's certificate, or use such a name in exporters.otlp.endpoint"
    } else if has(&["unknownissuer", "badsignature"]) {
        "set exporters.otlp.tls.ca_file to the certificate of the authority that signed the server's"
    } else if has(&["expired", "notvalidyet", "not valid yet"]) {
        "renew the server's certificate, or set this machine's clock"
    } else if has(&["noapplicationprotocol", "frame", "preface"]) {
        "the server speaks TLS and no HTTP/2: set exporters.otlp.endpoint to the collector's OTLP/gRPC port, usually 4317"
    } else if has(&["certificate"]) && has(&["alert"]) || has(&["handshakefailure", "unknownca"]) {
        "set exporters.otlp.tls.cert_file and key_file: the server asks for a certificate, or does not trust this one"
    } else {
        "look at the collector's log, and at exporters.otlp.tls"
    }
}

impl Peer {
    fn of(endpoint: &Endpoint) -> Self {
        let host = endpoint.host().trim_matches(['[', ']']);
        let ask = |question: &[u8]| first_bytes(host, endpoint.port(), question);
        match client_hello().map(|hello| ask(&hello)) {
            Some(Err(error)) => return Self::Away(error.to_string()),
            // A handshake or an alert, of any version of TLS.
            Some(Ok(answer)) if matches!(answer.as_slice(), [0x15 | 0x16, 3, ..]) => {
                return Self::Tls;
            }
            _ => {}
        }
        match ask(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") {
            Ok(answer) if answer.starts_with(b"HTTP/1") => Self::Http1,
            _ => Self::Other,
        }
    }
}

fn client_hello() -> Option<Vec<u8>> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").ok()?;
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name)
        .ok()?
        .write_tls(&mut hello)
        .ok()?;
    Some(hello)
}

/// Sends `question` and returns the first bytes of the answer, empty if there is none.
///
/// # Errors
/// When no address accepts a connection.
fn first_bytes(host: &str, port: u16, question: &[u8]) -> std::io::Result<Vec<u8>> {
    const WAIT: Duration = Duration::from_secs(2);
    let mut last = std::io::Error::other("no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WAIT) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(WAIT))?;
                stream.set_write_timeout(Some(WAIT))?;
                let mut answer = [0; 8];
                let read = stream
                    .write_all(question)
                    .and_then(|()| stream.read(&mut answer))
                    .unwrap_or(0);
                return Ok(answer.get(..read).unwrap_or_default().to_vec());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests;
