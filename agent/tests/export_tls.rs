//! TLS, mutual TLS, and certificates that change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod collector;
mod oracle;

use std::path::{Path, PathBuf};
use std::time::Duration;

use collector::{Agent, Collector, Options, settings};
use mqspan::config::{HumanDuration, Otlp, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// A certificate authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn server(&self, name: &str) -> ServerTlsConfig {
        let (certificate, key) = self.issue(name);
        ServerTlsConfig::new().identity(Identity::from_pem(certificate, key))
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn listen(tls: ServerTlsConfig) -> Collector {
    Collector::start(Options {
        tls: Some(tls),
        ..Options::default()
    })
    .await
}

fn https(collector: &Collector, tls: Tls) -> Otlp {
    Otlp {
        endpoint: format!("https://localhost:{}", collector.address.port())
            .parse()
            .unwrap(),
        tls,
        ..settings(collector.address)
    }
}

#[tokio::test]
async fn a_trusted_collector_gets_the_spans() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca_file = write(directory.path(), "ca.pem", &authority.pem);
    for (name, server_name_override) in [
        ("localhost", ""),
        ("collector.example", "collector.example"),
    ] {
        let collector = listen(authority.server(name)).await;
        let mut agent = Agent::start(https(
            &collector,
            Tls {
                ca_file: ca_file.clone(),
                server_name_override: server_name_override.to_owned(),
                ..Tls::default()
            },
        ));
        agent.push(3);
        assert_eq!(agent.drain().await.exported, 3, "{name}");
    }
}

/// As `openssl req -x509` makes it.
fn self_signed(name: &str, is_ca: bool, is_expired: bool) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    if is_expired {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_self_signed_certificate_is_its_own_authority() {
    let directory = tempfile::tempdir().unwrap();
    let other = self_signed("localhost", true, false).0;
    for (name, is_ca, is_expired, trusted, works) in [
        ("localhost", true, false, None, true),
        ("localhost", false, false, None, true),
        ("localhost", true, true, None, false),
        ("elsewhere", true, false, None, false),
        ("localhost", true, false, Some(&other), false),
    ] {
        let (certificate, key) = self_signed(name, is_ca, is_expired);
        let pem = trusted.unwrap_or(&certificate);
        let ca_file = write(directory.path(), "ca.pem", pem);
        let identity = Identity::from_pem(&certificate, key);
        let collector = listen(ServerTlsConfig::new().identity(identity)).await;
        let mut agent = Agent::start(https(
            &collector,
            Tls {
                ca_file,
                ..Tls::default()
            },
        ));
        agent.push(3);
        let case = (name, is_ca, is_expired, trusted.is_some());
        if works {
            assert_eq!(agent.drain().await.exported, 3, "{case:?}");
        } else {
            let (counters, left) = agent.finish(Duration::from_millis(300)).await;
            assert_eq!((counters.exported, left.otlp_spans), (0, 3), "{case:?}");
            let error = counters.last_error.unwrap().text;
            assert!(error.contains("certificate"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_untrusted_collector_gets_none() {
    let directory = tempfile::tempdir().unwrap();
    let other = write(directory.path(), "ca.pem", &Authority::new().pem);
    for ca_file in [other, PathBuf::new()] {
        let collector = listen(Authority::new().server("localhost")).await;
        let mut agent = Agent::start(https(
            &collector,
            Tls {
                ca_file,
                ..Tls::default()
            },
        ));
        agent.push(3);
        let (counters, left) = agent.finish(Duration::from_millis(300)).await;
        assert_eq!((counters.exported, left.otlp_spans), (0, 3));
        let error = counters.last_error.unwrap().text;
        assert!(error.contains("certificate"), "{error}");
        assert_eq!(collector.accepted(), 0);
    }
}

#[tokio::test]
async fn the_collector_may_ask_for_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.issue("agent");
    let ca_file = write(directory.path(), "ca.pem", &authority.pem);
    let cert_file = write(directory.path(), "cert.pem", &certificate);
    let key_file = write(directory.path(), "key.pem", &key);
    let server = authority
        .server("localhost")
        .client_ca_root(Certificate::from_pem(&authority.pem));
    let collector = listen(server).await;

    let mut agent = Agent::start(https(
        &collector,
        Tls {
            ca_file: ca_file.clone(),
            cert_file,
            key_file,
            ..Tls::default()
        },
    ));
    agent.push(3);
    assert_eq!(agent.drain().await.exported, 3);

    let mut agent = Agent::start(https(
        &collector,
        Tls {
            ca_file,
            ..Tls::default()
        },
    ));
    agent.push(3);
    let (_, left) = agent.finish(Duration::from_millis(300)).await;
    assert_eq!(left.otlp_spans, 3);
}

#[tokio::test]
async fn changed_files_are_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca_file = write(directory.path(), "ca.pem", &Authority::new().pem);
    let mut collector = listen(authority.server("localhost")).await;
    let mut agent = Agent::start(https(
        &collector,
        Tls {
            ca_file: ca_file.clone(),
            reload_interval: HumanDuration::millis(10),
            ..Tls::default()
        },
    ));
    agent.push(3);
    std::fs::write(&ca_file, "half a cert").unwrap();
    std::fs::write(&ca_file, &authority.pem).unwrap();
    collector.until(|seen| seen.accepted.len() == 3).await;
    assert_eq!(agent.drain().await.exported, 3);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_errors_at_the_start() {
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
            ..Otlp::default()
        };
        let error = mqspan::export::grpc::Client::new(settings).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}
