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
use crate::config::{Address, HumanDuration, Otlp, Protocol};
use crate::export::client::Client;
use crate::export::refusal::{Failure, OTHER_PROTOCOL, Refusal, code};
use crate::export::signal::Signal;

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
        let client = Client::new(patient, Signal::Traces)?;
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
        Ok(Err(failure)) => {
            let cause = failure.to_string();
            match failure {
                Failure::Refused(refusal) => (cause, of_refusal(otlp, &refusal)),
                Failure::Unreachable(_) | Failure::TimedOut => of_silence(otlp, &cause),
            }
        }
    };
    Ok(Finding::new(CHECK, Grade::Warning, format!("{endpoint}: {found}")).mend(mend))
}

fn of_refusal(otlp: &Otlp, refusal: &Refusal) -> String {
    match (refusal.code, refusal.http_status) {
        (code::UNAUTHENTICATED | code::PERMISSION_DENIED, _) => {
            "set exporters.otlp.headers, such as {authorization: \"Bearer ${env:TOKEN}\"}; run loses all spans until then"
                .to_owned()
        }
        _ if refusal.speaks_other => of_other_protocol(otlp.protocol),
        (_, Some(300..=399)) => {
            format!("{SET_ENDPOINT} to the target; run loses all spans until then")
        }
        (code::UNIMPLEMENTED, _) => {
            let path = match otlp.protocol {
                Protocol::Grpc => String::new(),
                Protocol::HttpProtobuf => format!(" at {}", otlp.endpoint.http_path("traces")),
            };
            format!(
                "the server has no OTLP trace service{path}: give the collector a traces pipeline with an otlp receiver, or \
                 {SET_ENDPOINT}; run loses all spans until then"
            )
        }
        _ if refusal.is_of_proxy => {
            "look at the proxy or load balancer that answers: it does not reach the collector"
                .to_owned()
        }
        _ => "look at the collector's log".to_owned(),
    }
}

/// The server seems to speak the protocol that is not configured.
fn of_other_protocol(configured: Protocol) -> String {
    let (other, name, port) = match configured {
        Protocol::Grpc => (Protocol::HttpProtobuf, "OTLP/gRPC", 4317),
        Protocol::HttpProtobuf => (Protocol::Grpc, "OTLP/HTTP", 4318),
    };
    format!(
        "set exporters.otlp.protocol to {other}, or exporters.otlp.endpoint to the collector's {name} port, usually {port}"
    )
}

/// What a peer that did not answer the request seems to speak.
#[derive(Debug, PartialEq, Eq)]
enum Peer {
    Away(String),
    Tls,
    Http1,
    Http2,
    Other,
}

fn of_silence(otlp: &Otlp, cause: &str) -> (String, String) {
    let (host, port) = match otlp.endpoint.address() {
        Address::Tcp { host, port } => (host.trim_matches(['[', ']']), *port),
        Address::Unix(_) => return (cause.to_owned(), of_socket(otlp.protocol, cause)),
    };
    let (found, mend) = match (otlp.endpoint.is_tls(), Peer::at(host, port), otlp.protocol) {
        (_, Peer::Away(error), _) => (
            error,
            format!("start a collector there, or {SET_ENDPOINT}; run retries until then"),
        ),
        (false, Peer::Tls, _) => (
            format!("the server speaks TLS ({cause})"),
            "write https:// in exporters.otlp.endpoint".to_owned(),
        ),
        (false, Peer::Http1, Protocol::Grpc) => (
            format!("the server speaks HTTP/1 and no gRPC ({cause})"),
            of_other_protocol(otlp.protocol),
        ),
        (false, Peer::Http2, Protocol::HttpProtobuf) => (
            format!("the server speaks HTTP/2 and no HTTP/1.1 ({cause})"),
            of_other_protocol(otlp.protocol),
        ),
        (true, Peer::Http1 | Peer::Http2 | Peer::Other, _) => (
            format!("the server does not speak TLS ({cause})"),
            "write http:// in exporters.otlp.endpoint, or give the collector a certificate"
                .to_owned(),
        ),
        (true, Peer::Tls, protocol) => (cause.to_owned(), of_tls(protocol, cause)),
        (false, Peer::Http1 | Peer::Http2 | Peer::Other, _) => (
            cause.to_owned(),
            format!("look at the collector's log, or {SET_ENDPOINT}"),
        ),
    };
    (found, mend)
}

fn of_socket(protocol: Protocol, cause: &str) -> String {
    if cause.contains("ermission denied") {
        "give the agent's user the right to write to the socket; run retries until then".to_owned()
    } else if cause.contains(OTHER_PROTOCOL) {
        of_other_protocol(protocol)
    } else {
        format!("start a collector there, or {SET_ENDPOINT}; run retries until then")
    }
}

/// How to fix the error that rustls reports.
fn of_tls(protocol: Protocol, cause: &str) -> String {
    let cause = cause.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| cause.contains(words));
    if has(&["noapplicationprotocol", "frame", "preface"]) {
        return format!(
            "the server speaks no HTTP/2: {}",
            of_other_protocol(protocol)
        );
    }
    let mend = if has(&["not valid for name", "notvalidforname"]) {
        "set exporters.otlp.tls.server_name_override to a name in the server's certificate, or use such a name in exporters.otlp.endpoint"
    } else if has(&["unknownissuer", "badsignature"]) {
        "set exporters.otlp.tls.ca_file to the certificate of the authority that signed the server's"
    } else if has(&["expired", "notvalidyet", "not valid yet"]) {
        "renew the server's certificate, or set this machine's clock"
    } else if has(&["certificate"]) && has(&["alert"]) || has(&["handshakefailure", "unknownca"]) {
        "set exporters.otlp.tls.cert_file and key_file: the server asks for a certificate, or does not trust this one"
    } else {
        "look at the collector's log, and at exporters.otlp.tls"
    };
    mend.to_owned()
}

impl Peer {
    fn at(host: &str, port: u16) -> Self {
        let ask = |question: &[u8]| first_bytes(host, port, question);
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
            // SETTINGS, with which a server of HTTP/2 begins (RFC 9113, section 3.4).
            Ok(answer) if matches!(answer.as_slice(), [0, 0, _, 4, ..]) => Self::Http2,
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
