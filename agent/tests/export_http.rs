//! What OTLP over HTTP has and gRPC has not: statuses, paths, headers and bodies of any kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod exporting;
mod reference;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use exporting::{Agent, LONG, Log, collector, scripted, settings, until};
use http::{Response, header};
use mqspan::internals::config::{Env, HumanDuration, Otlp, Overrides, load};
use mqspan::internals::loss::{Loss, Losses};
use mqspan_testkit::collector::{Answer, Collector, Protocol};
use mqspan_testkit::free_address;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const PROTOBUF: &str = "application/x-protobuf";

fn http(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Answer::Http(response.body(body.into()).unwrap())
}

fn answering(answer: Answer) -> Collector {
    scripted(Protocol::Http, [answer])
}

fn to(collector: &Collector) -> Otlp {
    settings(Protocol::Http, collector.address)
}

#[tokio::test]
async fn every_status_is_retried_or_rejected() {
    for (status, name, retried) in [
        (301, "unknown", false),
        (400, "invalid_argument", false),
        (401, "unauthenticated", false),
        (403, "permission_denied", false),
        (404, "unimplemented", false),
        (408, "unknown", false),
        (415, "unknown", false),
        (429, "resource_exhausted", true),
        (500, "unknown", false),
        (501, "unknown", false),
        (502, "unavailable", true),
        (503, "unavailable", true),
        (504, "unavailable", true),
        (599, "unknown", false),
    ] {
        let log = Log::begin();
        let collector = answering(http(status, &[], ""));
        let mut agent = Agent::start(to(&collector));
        agent.push(3);
        let counters = agent.drain().await;
        let cause = format!("cause={name}: HTTP {status}");
        let is_told = [502, 504].contains(&status) || log.text().contains(&cause);
        assert!(is_told, "{}", log.text());
        if retried {
            assert_eq!(
                (counters.exports.exported, counters.retries),
                (3, 1),
                "{status}"
            );
        } else {
            assert_eq!(counters.rejected, [(name, 3)], "{status}");
            assert_eq!((counters.requests, counters.retries), (1, 0), "{status}");
        }
        let exhausted = u64::from(status == 429);
        assert_eq!(counters.exhausted_retries, exhausted);
    }
}

#[tokio::test]
async fn any_success_is_one_whatever_its_body() {
    let partial: &[u8] = b"\x0a\x02\x08\x02";
    for (status, kind, body, exported) in [
        (200, PROTOBUF, partial, 3),
        (200, "application/x-protobuf; charset=utf-8", partial, 3),
        (
            200,
            "application/json",
            br#"{"partialSuccess": {"rejectedSpans": "2"}}"#,
            5,
        ),
        (200, "text/html", b"<html>", 5),
        (200, PROTOBUF, b"\xff\xff\xff", 5),
        (200, PROTOBUF, b"", 5),
        (202, "text/plain", b"later", 5),
        (204, "text/plain", b"", 5),
    ] {
        let collector = answering(http(status, &[("content-type", kind)], body));
        let mut agent = Agent::start(to(&collector));
        agent.push(5);
        let counters = agent.drain().await;
        assert_eq!(
            (counters.exports.exported, counters.requests),
            (exported, 1),
            "{status} {kind}"
        );
    }
}

#[tokio::test]
async fn the_collector_says_how_long_to_wait() {
    // A date has whole seconds.
    let date = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    for (status, is_date) in [(429, false), (503, false), (503, true)] {
        let after = if is_date { date() } else { "1".to_owned() };
        let collector = answering(http(status, &[("retry-after", &after)], ""));
        let mut agent = Agent::start(to(&collector));
        agent.push(1);
        // A shutdown cuts the pause short, so wait for its end first.
        until(&collector, |seen| seen.came.len() == 2).await;
        let counters = agent.drain().await;
        assert_eq!(
            (counters.exports.exported, counters.exhausted_retries),
            (1, 0)
        );
        let came = &collector.seen().came;
        let pause = came[1] - came[0];
        assert!(pause >= Duration::from_millis(900), "{after}: {pause:?}");
    }
}

#[tokio::test]
async fn a_413_splits_the_request() {
    let collector = collector(Protocol::Http);
    collector.answer(|request| {
        let spans = &request.resource_spans[0].scope_spans[0].spans;
        if spans.len() > 2 {
            http(413, &[], "")
        } else {
            Answer::Accept
        }
    });
    let mut agent = Agent::start(to(&collector));
    agent.push(8);
    let counters = agent.drain().await;
    assert_eq!((counters.exports.exported, counters.splits), (8, 3));

    let collector = answering(http(413, &[], ""));
    let mut agent = Agent::start(to(&collector));
    agent.push(1);
    let counters = agent.drain().await;
    assert_eq!(counters.lost, Losses::from_iter([(Loss::TooLarge, 1)]));
}

#[tokio::test]
async fn what_the_collector_says_is_told_and_bounded() {
    let long = "x".repeat(3_000_000);
    let status = |message: &str| {
        let mut status = b"\x08\x03\x12".to_vec();
        prost::encode_length_delimiter(message.len(), &mut status).unwrap();
        status.extend_from_slice(message.as_bytes());
        status
    };
    for (kind, body, told) in [
        (
            PROTOBUF,
            status("bad spans"),
            "HTTP 400 Bad Request: bad spans\n",
        ),
        (
            PROTOBUF,
            status(&"x".repeat(100_000)),
            &*format!(": {}\n", "x".repeat(1024)),
        ),
        (PROTOBUF, status(&long), "HTTP 400 Bad Request\n"),
        (PROTOBUF, b"\xff\xff".to_vec(), "HTTP 400 Bad Request\n"),
        (
            "text/plain",
            b" no such tenant\n".to_vec(),
            "HTTP 400 Bad Request: no such tenant\n",
        ),
        (
            "text/plain",
            long.clone().into(),
            &*format!(": {}\n", "x".repeat(1024)),
        ),
        (
            "application/json",
            b"{\"error\": 7}".to_vec(),
            ": {\"error\": 7}\n",
        ),
        ("text/html", b"<html>".to_vec(), "HTTP 400 Bad Request\n"),
    ] as [(&str, Vec<u8>, &str); 8]
    {
        let log = Log::begin();
        let collector = answering(http(400, &[("content-type", kind)], body));
        let mut agent = Agent::start(to(&collector));
        agent.push(1);
        assert_eq!(agent.drain().await.rejected, [("invalid_argument", 1)]);
        let text = log.text();
        let cause = text.split_once("cause=").unwrap().1.replace(" spans=1", "");
        assert!(
            cause.contains(told) && cause.len() < 2_000,
            "{kind}: {cause}"
        );
    }
}

#[tokio::test]
async fn a_redirection_is_refused_and_named() {
    let log = Log::begin();
    let elsewhere = collector(Protocol::Http);
    let target = format!("{}/v1/traces", elsewhere.endpoint());
    for status in [301, 302, 307, 308] {
        let collector = answering(http(status, &[("location", &target)], ""));
        let mut agent = Agent::start(to(&collector));
        agent.push(1);
        assert_eq!(agent.drain().await.rejected, [("unknown", 1)]);
    }
    assert_eq!(elsewhere.seen().came.len(), 0);
    let text = log.text();
    assert!(text.contains(&format!("to {target}; ")), "{text}");
    assert!(text.contains("exporters.otlp.endpoint"), "{text}");
}

/// A server of bytes: answers each request with `answer`, and passes the heads of requests on.
async fn bytes_server(answer: &'static [u8]) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, came) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, answer, heads.clone()));
        }
    });
    (address, came)
}

async fn answer_all(
    mut stream: TcpStream,
    answer: &'static [u8],
    heads: mpsc::UnboundedSender<String>,
) {
    let mut text = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => text.extend_from_slice(&buffer[..read]),
            _ => return,
        }
        let lossy = String::from_utf8_lossy(&text).into_owned();
        let Some((head, _)) = lossy.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.split_once("content-length: ").unwrap().1;
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        if text.len() < head.len() + 4 + length {
            continue;
        }
        text.clear();
        if heads.send(head.to_owned()).is_err() || stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

const ACCEPTS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn requests_share_a_connection_and_go_to_the_paths_of_the_specification() {
    const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OF_SPANS: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    for (variable, path, expected) in [
        (GENERAL, "", "/v1/traces"),
        (GENERAL, "/", "/v1/traces"),
        (GENERAL, "/otlp", "/otlp/v1/traces"),
        (GENERAL, "/otlp/", "/otlp/v1/traces"),
        (OF_SPANS, "", "/"),
        (OF_SPANS, "/", "/"),
        (OF_SPANS, "/v1/traces", "/v1/traces"),
        (OF_SPANS, "/ingest?key=7", "/ingest?key=7"),
    ] {
        let (address, mut heads) = bytes_server(ACCEPTS).await;
        let endpoint = format!("http://user:pass@{address}{path}");
        let env: Env = [
            (variable, endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ]
        .into_iter()
        .collect();
        let loaded = load(None, &Overrides::new(), &env).unwrap();
        let mut agent = Agent::start(loaded.config.exporters.otlp);
        for _ in 0..3 {
            agent.push(1);
            let head = heads.recv().await.unwrap();
            let line = format!("POST {expected} HTTP/1.1\r\n");
            assert!(head.starts_with(&line), "{endpoint}: {head}");
            assert!(head.contains(&format!("\r\nhost: {address}")), "{head}");
            assert!(head.contains("\r\nauthorization: Basic dXNlcjpwYXNz"));
        }
        assert_eq!(agent.drain().await.exports.exported, 3);
    }
}

#[tokio::test]
async fn connections_are_kept() {
    let collector = collector(Protocol::Http);
    let mut agent = Agent::start(to(&collector));
    for spans in 1..=20 {
        agent.push(1);
        until(&collector, |seen| seen.spans.len() == spans).await;
    }
    assert_eq!(agent.drain().await.exports.exported, 20);
    let connections = collector.seen().peers.len();
    assert!(connections <= 2, "{connections} connections");
}

#[tokio::test]
async fn a_body_that_never_ends_does_no_harm() {
    // More than the head says, less, and for ever.
    let stalled: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx";
    let (address, mut heads) = bytes_server(stalled).await;
    let mut agent = Agent::start(Otlp {
        timeout: HumanDuration::millis(50),
        ..settings(Protocol::Http, address)
    });
    agent.push(1);
    for _ in 0..3 {
        heads.recv().await.unwrap();
    }
    let (counters, left) = agent.finish(Duration::ZERO).await;
    assert_eq!((counters.exports.exported, left.otlp_spans), (0, 1));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endless = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
        let mut sent = 0;
        // The agent hangs up once it has read enough.
        while stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        sent
    });
    let mut agent = Agent::start(settings(Protocol::Http, address));
    agent.push(1);
    assert_eq!(agent.drain().await.exports.exported, 1);
    let sent = tokio::time::timeout(LONG, endless).await.unwrap().unwrap();
    assert!(sent >= 256 << 10, "{sent}");
}

#[tokio::test]
async fn answers_that_are_no_http_are_tried_again() {
    for answer in [
        &b"\0\0\0\0"[..],
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let log = Log::begin();
        let (address, mut heads) = bytes_server(answer).await;
        let mut agent = Agent::start(settings(Protocol::Http, address));
        agent.push(1);
        for _ in 0..3 {
            heads.recv().await.unwrap();
        }
        let (counters, left) = agent.finish(Duration::ZERO).await;
        assert_eq!((counters.exports.exported, left.otlp_spans), (0, 1));
        assert_eq!(
            log.count("the collector takes no spans"),
            1,
            "{}",
            log.text()
        );
    }
}

/// Checks that the message about the wrong protocol names the key.
async fn names_the_key(sends: Protocol, listens: Protocol) {
    let log = Log::begin();
    let collector = collector(listens);
    let mut agent = Agent::start(settings(sends, collector.address));
    agent.push(1);
    let (counters, _) = agent.finish(Duration::from_millis(500)).await;
    assert_eq!((counters.exports.exported, collector.count()), (0, 0));
    assert!(
        log.text().contains("exporters.otlp.protocol"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn the_wrong_protocol_is_told() {
    names_the_key(Protocol::Grpc, Protocol::Http).await;
    names_the_key(Protocol::Http, Protocol::Grpc).await;

    // A server of HTTP/1.1 alone.
    let log = Log::begin();
    let address = free_address().unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    let mut agent = Agent::start(settings(Protocol::Grpc, address));
    agent.push(1);
    agent.finish(Duration::from_millis(500)).await;
    assert!(
        log.text().contains("exporters.otlp.protocol"),
        "{}",
        log.text()
    );

    // gRPC over HTTP/2 that answers what it does not know with a status of gRPC.
    let log = Log::begin();
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/grpc"),
        ("grpc-status", "12"),
    ];
    let collector = answering(http(200, &headers, ""));
    let mut agent = Agent::start(to(&collector));
    agent.push(1);
    assert_eq!(agent.drain().await.rejected, [("unimplemented", 1)]);
    assert!(
        log.text().contains("exporters.otlp.protocol"),
        "{}",
        log.text()
    );
}
