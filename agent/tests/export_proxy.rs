//! Export through an HTTP proxy, with CONNECT.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod exporting;
mod reference;

use std::net::SocketAddr;
use std::time::Duration;

use exporting::{Agent, collector, over_each_protocol, secure_collector, settings};
use mqspan::internals::config::{Env, Otlp, Overrides, load};
use mqspan_testkit::certificates::SelfSigned;
use mqspan_testkit::collector::Protocol;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

over_each_protocol!(
    spans_go_through_the_proxy_with_its_password,
    tls_is_with_the_collector_and_not_with_the_proxy,
    a_proxy_that_refuses_is_tried_again,
);

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
fn through(protocol: Protocol, endpoint: &str, variable: &str, value: &str) -> Otlp {
    let overrides = Overrides::new().set("--endpoint", "exporters.otlp.endpoint", endpoint);
    let env: Env = [(variable, value)].into_iter().collect();
    let loaded = load(None, &overrides, &env).unwrap();
    let Otlp {
        endpoint, proxy, ..
    } = loaded.config.exporters.otlp;
    Otlp {
        endpoint,
        proxy,
        ..settings(protocol, ([127, 0, 0, 1], 1).into())
    }
}

async fn spans_go_through_the_proxy_with_its_password(protocol: Protocol) {
    let collector = collector(protocol);
    let (address, mut requests) = proxy(collector.address, CARRIES).await;
    let value = format!("http://user:secret@{address}");
    let otlp = through(
        protocol,
        "http://collector.invalid:4317",
        "HTTP_PROXY",
        &value,
    );
    let mut agent = Agent::start(otlp);
    agent.push(3);
    let counted = agent.drain().await;
    assert_eq!(counted.exports.exported, 3);
    assert_eq!(collector.count(), 3);
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("CONNECT collector.invalid:4317 HTTP/1.1\r\n"));
    assert!(request.contains("Basic dXNlcjpzZWNyZXQ="), "{request}");
}

async fn tls_is_with_the_collector_and_not_with_the_proxy(protocol: Protocol) {
    let issued = SelfSigned::Server.issue("collector.invalid").unwrap();
    let collector = secure_collector(protocol, issued.server());
    let (address, mut requests) = proxy(collector.address, CARRIES).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, issued.certificate).unwrap();
    let value = address.to_string();
    let mut otlp = through(
        protocol,
        "https://collector.invalid:4317",
        "https_proxy",
        &value,
    );
    otlp.tls.ca_file = ca_file;
    let mut agent = Agent::start(otlp);
    agent.push(2);
    assert_eq!(agent.drain().await.exports.exported, 2);
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("CONNECT collector.invalid:4317 "));
}

async fn a_proxy_that_refuses_is_tried_again(protocol: Protocol) {
    let collector = collector(protocol);
    let (address, mut requests) = proxy(collector.address, WANTS_A_PASSWORD).await;
    let value = address.to_string();
    let otlp = through(
        protocol,
        "http://collector.invalid:4317",
        "ALL_PROXY",
        &value,
    );
    let mut agent = Agent::start(otlp);
    agent.push(1);
    for _ in 0..2 {
        requests.recv().await.unwrap();
    }
    let (counted, _) = agent.finish(Duration::ZERO).await;
    assert_eq!((counted.exports.exported, collector.count()), (0, 0));
}
