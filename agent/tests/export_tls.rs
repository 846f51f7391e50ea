//! TLS, mutual TLS, and certificates that change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod exporting;
mod reference;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exporting::{Agent, Log, over_each_protocol, secure_collector, settings, until};
use mqspan::internals::config::{HumanDuration, Otlp, Tls};
use mqspan::internals::export::client::Client;
use mqspan::internals::export::signal::Signal;
use mqspan_testkit::certificates::{Authority, SelfSigned};
use mqspan_testkit::collector::{Collector, Protocol};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::transport::Certificate;

over_each_protocol!(
    a_trusted_collector_gets_the_spans,
    a_self_signed_certificate_is_its_own_authority,
    an_untrusted_collector_gets_none,
    the_collector_may_ask_for_a_certificate,
    changed_files_are_taken_up,
    files_that_cannot_be_used_are_errors_at_the_start,
);

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn trusting(ca_file: &Path) -> Tls {
    Tls {
        ca_file: ca_file.to_owned(),
        ..Tls::default()
    }
}

/// Starts an agent with three spans for the collector, which it addresses as `localhost`.
fn agent_with_three(protocol: Protocol, collector: &Collector, tls: Tls) -> Agent {
    let mut agent = Agent::start(Otlp {
        endpoint: format!("https://localhost:{}", collector.address.port())
            .parse()
            .unwrap(),
        tls,
        ..settings(protocol, collector.address)
    });
    agent.push(3);
    agent
}

/// Checks that the agent keeps its three spans because it rejects the collector's certificate.
async fn ensure_untrusted(agent: Agent, log: &Log, case: impl Debug) {
    let (counters, left) = agent.finish(Duration::from_millis(300)).await;
    assert_eq!(
        (counters.exports.exported, left.otlp_spans),
        (0, 3),
        "{case:?}"
    );
    let text = log.text();
    assert!(text.contains("certificate"), "{text}");
}

async fn a_trusted_collector_gets_the_spans(protocol: Protocol) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let ca_file = write(directory.path(), "ca.pem", &authority.pem());
    for (name, server_name_override) in [
        ("localhost", ""),
        ("collector.example", "collector.example"),
    ] {
        let issued = authority.issue(name).unwrap();
        let collector = secure_collector(protocol, issued.server());
        let tls = Tls {
            server_name_override: server_name_override.to_owned(),
            ..trusting(&ca_file)
        };
        let agent = agent_with_three(protocol, &collector, tls);
        assert_eq!(agent.drain().await.exports.exported, 3, "{name}");
    }
}

async fn a_self_signed_certificate_is_its_own_authority(protocol: Protocol) {
    let directory = tempfile::tempdir().unwrap();
    let other = SelfSigned::Authority.issue("localhost").unwrap();
    for (name, kind, trusted, works) in [
        ("localhost", SelfSigned::Authority, None, true),
        ("localhost", SelfSigned::Server, None, true),
        ("localhost", SelfSigned::ExpiredAuthority, None, false),
        ("elsewhere", SelfSigned::Authority, None, false),
        ("localhost", SelfSigned::Authority, Some(&other), false),
    ] {
        let log = Log::begin();
        let issued = kind.issue(name).unwrap();
        let trusted_pem = &trusted.unwrap_or(&issued).certificate;
        let ca_file = write(directory.path(), "ca.pem", trusted_pem);
        let collector = secure_collector(protocol, issued.server());
        let agent = agent_with_three(protocol, &collector, trusting(&ca_file));
        let case = (name, kind, trusted.is_some());
        if works {
            assert_eq!(agent.drain().await.exports.exported, 3, "{case:?}");
        } else {
            ensure_untrusted(agent, &log, case).await;
        }
    }
}

async fn an_untrusted_collector_gets_none(protocol: Protocol) {
    let directory = tempfile::tempdir().unwrap();
    let other = Authority::new().unwrap().pem();
    let other = write(directory.path(), "ca.pem", &other);
    for ca_file in [other, PathBuf::new()] {
        let log = Log::begin();
        let issued = Authority::new().unwrap().issue("localhost").unwrap();
        let collector = secure_collector(protocol, issued.server());
        let agent = agent_with_three(protocol, &collector, trusting(&ca_file));
        ensure_untrusted(agent, &log, ca_file).await;
        assert_eq!(collector.count(), 0);
    }
}

async fn the_collector_may_ask_for_a_certificate(protocol: Protocol) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let issued = authority.issue("agent").unwrap();
    let ca_file = write(directory.path(), "ca.pem", &authority.pem());
    let cert_file = write(directory.path(), "cert.pem", &issued.certificate);
    let key_file = write(directory.path(), "key.pem", &issued.key);
    let server = authority.issue("localhost").unwrap().server();
    let server = server.client_ca_root(Certificate::from_pem(authority.pem()));
    let collector = secure_collector(protocol, server);

    let tls = Tls {
        cert_file,
        key_file,
        ..trusting(&ca_file)
    };
    let agent = agent_with_three(protocol, &collector, tls);
    assert_eq!(agent.drain().await.exports.exported, 3);

    let agent = agent_with_three(protocol, &collector, trusting(&ca_file));
    let (_, left) = agent.finish(Duration::from_millis(300)).await;
    assert_eq!(left.otlp_spans, 3);
}

/// Many servers, and proxies in front of them, know no ALPN.
#[tokio::test]
async fn a_server_without_alpn_is_spoken_to_in_http_1() {
    let directory = tempfile::tempdir().unwrap();
    let issued = SelfSigned::Server.issue("localhost").unwrap();
    let ca_file = write(directory.path(), "ca.pem", &issued.certificate);
    let chain = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut stream = BufReader::new(acceptor.accept(stream).await.unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).await.unwrap(), 0);
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream.flush().await.unwrap();
        // Until the agent hangs up.
        stream
            .read_to_end(&mut Vec::new())
            .await
            .unwrap_or_default();
        head
    });
    let mut agent = Agent::start(Otlp {
        endpoint: format!("https://localhost:{}", address.port())
            .parse()
            .unwrap(),
        tls: trusting(&ca_file),
        ..settings(Protocol::Http, address)
    });
    agent.push(3);
    assert_eq!(agent.drain().await.exports.exported, 3);
    let head = server.await.unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
}

async fn changed_files_are_taken_up(protocol: Protocol) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    let other = Authority::new().unwrap().pem();
    let ca_file = write(directory.path(), "ca.pem", &other);
    let issued = authority.issue("localhost").unwrap();
    let collector = secure_collector(protocol, issued.server());
    let tls = Tls {
        reload_interval: HumanDuration::millis(10),
        ..trusting(&ca_file)
    };
    let agent = agent_with_three(protocol, &collector, tls);
    std::fs::write(&ca_file, "half a cert").unwrap();
    std::fs::write(&ca_file, authority.pem()).unwrap();
    until(&collector, |seen| seen.spans.len() == 3).await;
    assert_eq!(agent.drain().await.exports.exported, 3);
}

async fn files_that_cannot_be_used_are_errors_at_the_start(protocol: Protocol) {
    let directory = tempfile::tempdir().unwrap();
    let empty = write(directory.path(), "empty.pem", "");
    let missing = directory.path().join("missing.pem");
    for (file, expected) in [(missing, "cannot read"), (empty, "cannot be used")] {
        let tls = Tls {
            cert_file: file.clone(),
            key_file: file,
            ..Tls::default()
        };
        let settings = Otlp {
            endpoint: "https://localhost:1".parse().unwrap(),
            tls,
            ..settings(protocol, ([127, 0, 0, 1], 1).into())
        };
        let error = Client::new(settings, Signal::Traces).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}
