//! Export to a Unix socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod exporting;
mod reference;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use exporting::{Agent, Log, collector, over_each_protocol, settings, until};
use mqspan::internals::config::{Otlp, Tls};
use mqspan_testkit::collector::Protocol;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;

over_each_protocol!(
    spans_go_to_the_socket,
    a_socket_may_come_late,
    a_socket_that_is_none_is_named,
);

/// Passes on what comes to a socket.
fn listen(path: &Path, to: SocketAddr) -> JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                // Either end may close the connection.
                copy_bidirectional(&mut client, &mut server)
                    .await
                    .unwrap_or_default();
            });
        }
    })
}

fn over(protocol: Protocol, socket: &Path) -> Otlp {
    Otlp {
        endpoint: format!("unix://{}", socket.display()).parse().unwrap(),
        // Plain, whatever else is configured.
        tls: Tls {
            server_name_override: "elsewhere".to_owned(),
            ..Tls::default()
        },
        ..settings(protocol, ([127, 0, 0, 1], 1).into())
    }
}

async fn spans_go_to_the_socket(protocol: Protocol) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("otlp.sock");
    let collector = collector(protocol);
    listen(&socket, collector.address);
    let mut agent = Agent::start(over(protocol, &socket));
    agent.push(3);
    until(&collector, |seen| seen.spans.len() == 3).await;
    agent.push(2);
    assert_eq!(agent.drain().await.exports.exported, 5);
    assert_eq!(collector.count(), 5);
    if protocol == Protocol::Http {
        assert_eq!(collector.metadata("host").unwrap(), "localhost");
    }
}

async fn a_socket_may_come_late(protocol: Protocol) {
    let log = Log::begin();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("otlp.sock");
    let collector = collector(protocol);
    let mut agent = Agent::start(over(protocol, &socket));
    agent.push(3);
    while log.count("the collector takes no spans") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let text = log.text();
    let path = socket.display().to_string();
    assert!(text.contains(&format!("endpoint=unix://{path} ")), "{text}");
    assert!(text.contains(&format!("{path}: No such file")), "{text}");
    listen(&socket, collector.address);
    assert_eq!(agent.drain().await.exports.exported, 3);
}

async fn a_socket_that_is_none_is_named(protocol: Protocol) {
    let log = Log::begin();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut agent = Agent::start(over(protocol, &file));
    agent.push(1);
    let (counters, left) = agent.finish(Duration::from_millis(200)).await;
    assert_eq!((counters.exports.exported, left.otlp_spans), (0, 1));
    let refused = format!("{}: Connection refused", file.display());
    assert!(log.text().contains(&refused), "{}", log.text());
}
