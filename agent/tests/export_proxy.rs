//! Export through an HTTP proxy, with CONNECT.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod exporting;
mod reference;

use std::net::SocketAddr;
use std::time::Duration;

use exporting::{Agent, fast_retry};
use mqspan::internals::config::{Env, Otlp, Overrides, load};
use mqspan_testkit::certificates::SelfSigned;
use mqspan_testkit::collector::Collector;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A proxy that connects every host to `to` and passes on each request that it gets.
async fn proxy(
    to: SocketAddr,
    answer: &'static str,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move {
                let mut client = BufReader::new(client);
                let mut request = String::new();
                while !request.ends_with("\r\n\r\n") {
                    if client.read_line(&mut request).await.unwrap() == 0 {
                        return;
                    }
                }
                asked.send(request).unwrap();
                client.write_all(answer.as_bytes()).await.unwrap();
                if answer.contains(" 200 ") {
                    let mut server = TcpStream::connect(to).await.unwrap();
                    // Either end may close the connection.
                    copy_bidirectional(&mut client, &mut server)
                        .await
                        .unwrap_or_default();
                }
            });
        }
    });
    (address, requests)
}

const CARRIES: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const WANTS_A_PASSWORD: &str =
    "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";

/// Settings with an endpoint that no resolver knows, and a proxy from an environment variable.
fn through(endpoint: &str, variable: &str, value: &str) -> Otlp {
    let overrides = Overrides::new().set("--endpoint", "exporters.otlp.endpoint", endpoint);
    let env: Env = [(variable, value)].into_iter().collect();
    let loaded = load(None, &overrides, &env).unwrap();
    Otlp {
        retry_on_failure: fast_retry(),
        ..loaded.config.exporters.otlp
    }
}

#[tokio::test]
async fn spans_go_through_the_proxy_with_its_password() {
    let collector = Collector::start().unwrap();
    let (address, mut requests) = proxy(collector.address, CARRIES).await;
    let value = format!("http://user:secret@{address}");
    let settings = through("http://collector.invalid:4317", "HTTP_PROXY", &value);
    let mut agent = Agent::start(settings);
    agent.push(3);
    let counted = agent.drain().await;
    assert_eq!(counted.exported, 3);
    assert_eq!(collector.count(), 3);
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("CONNECT collector.invalid:4317 HTTP/1.1\r\n"));
    assert!(request.contains("Basic dXNlcjpzZWNyZXQ="), "{request}");
}

#[tokio::test]
async fn tls_is_with_the_collector_and_not_with_the_proxy() {
    let issued = SelfSigned::Server.issue("collector.invalid").unwrap();
    let collector = Collector::start_tls(issued.server()).unwrap();
    let (address, mut requests) = proxy(collector.address, CARRIES).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, issued.certificate).unwrap();
    let value = address.to_string();
    let mut settings = through("https://collector.invalid:4317", "https_proxy", &value);
    settings.tls.ca_file = ca_file;
    let mut agent = Agent::start(settings);
    agent.push(2);
    assert_eq!(agent.drain().await.exported, 2);
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("CONNECT collector.invalid:4317 "));
}

#[tokio::test]
async fn a_proxy_that_refuses_is_tried_again() {
    let collector = Collector::start().unwrap();
    let (address, mut requests) = proxy(collector.address, WANTS_A_PASSWORD).await;
    let value = address.to_string();
    let settings = through("http://collector.invalid:4317", "ALL_PROXY", &value);
    let mut agent = Agent::start(settings);
    agent.push(1);
    for _ in 0..2 {
        requests.recv().await.unwrap();
    }
    let (counted, _) = agent.finish(Duration::ZERO).await;
    assert_eq!((counted.exported, collector.count()), (0, 0));
}
