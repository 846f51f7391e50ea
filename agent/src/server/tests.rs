use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use axum::routing::get;
use tokio::runtime::Runtime;

use super::*;

/// More than the kernel buffers for a client that does not read.
static LARGE: [u8; 32 << 20] = [0; 32 << 20];

fn start() -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(bind(([127, 0, 0, 1], 0).into())).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/", get(async || "ok\n"))
        .route("/large", get(async || LARGE.as_slice()));
    runtime.spawn(serve(listener, router));
    (runtime, address)
}

#[test]
fn the_wildcard_of_ipv6_is_both_families() {
    let runtime = Runtime::new().unwrap();
    let any = (Ipv6Addr::UNSPECIFIED, 0).into();
    let listener = runtime.block_on(bind(any)).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(serve(
        listener,
        Router::new().route("/", get(async || "ok\n")),
    ));
    let request = "GET / HTTP/1.0\r\n\r\n";
    assert!(ask((Ipv4Addr::LOCALHOST, port).into(), request).ends_with("ok\n"));
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        assert!(ask((Ipv6Addr::LOCALHOST, port).into(), request).ends_with("ok\n"));
    }
    for (errno, is_without) in [
        (libc::EAFNOSUPPORT, true),
        (libc::EADDRNOTAVAIL, true),
        (libc::EADDRINUSE, false),
        (libc::EACCES, false),
    ] {
        let error = io::Error::from_raw_os_error(errno);
        assert_eq!(is_without_ipv6(&error), is_without, "{error}");
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

/// Reads until the server closes.
fn read(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8(answer).unwrap(),
    }
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    read(stream)
}

#[test]
fn a_connection_is_one_answer() {
    let (_runtime, address) = start();
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = ask(address, &request.repeat(5));
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(ask(address, "GET / HTTP/1.0\r\n\r\n").ends_with("ok\n"));
}

#[test]
fn heads_are_bounded() {
    let (_runtime, address) = start();
    for head in [
        format!("X: {}\r\n", "x".repeat(MAX_HEAD_BYTES)),
        "X: x\r\n".repeat(MAX_HEADERS + 1),
    ] {
        let answer = ask(address, &format!("GET / HTTP/1.1\r\nHost: x\r\n{head}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[test]
fn who_sends_nothing_or_byte_by_byte_is_cut_off() {
    let (_runtime, address) = start();
    let nothing = connect(address);
    let mut slow = connect(address);
    // Each byte is early enough for a timeout that restarts with every byte.
    let closed = "GET / HTTP/1.1\r\nHost: ".chars().cycle().find(|c| {
        slow.set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let written = slow.write_all(c.to_string().as_bytes());
        let read = slow.read(&mut [0]);
        written.is_err() || !matches!(&read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert!(closed.is_some());
    assert_eq!(read(nothing), "");
}

#[test]
fn idle_clients_do_not_keep_others_out() {
    let (_runtime, address) = start();
    let mut idle: Vec<_> = (0..200).map(|_| connect(address)).collect();
    let answer = ask(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.ends_with("ok\n"), "{answer}");
    // The first clients were closed long before their time. The last can still ask.
    let first = idle.remove(0);
    assert_eq!(read(first), "");
    let mut last = idle.pop().unwrap();
    last.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert!(read(last).ends_with("ok\n"));
}

#[test]
fn who_does_not_read_the_answer_does_not_keep_others_out() {
    let (_runtime, address) = start();
    let request = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
    let clients: Vec<_> = (0..MAX_CONNECTIONS)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(request).unwrap();
            // Wait until the answer has begun.
            stream.peek(&mut [0]).unwrap();
            stream
        })
        .collect();
    let answer = ask(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.ends_with("ok\n"), "{answer}");
    let sizes = clients.into_iter().map(|client| read(client).len());
    assert!(sizes.into_iter().any(|size| size < LARGE.len()));
}

#[test]
fn the_place_is_that_of_the_address_with_the_most() {
    let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
    let table = [
        (vec![], None),
        (vec![(a, false)], Some(0)),
        (vec![(a, true), (a, false), (a, false)], Some(1)),
        (vec![(a, true), (a, true)], Some(0)),
        // An old connection that waits keeps its place while another address has more.
        (vec![(a, false), (b, true), (b, false)], Some(2)),
        (vec![(a, false), (b, true), (b, true), (c, false)], Some(1)),
        (vec![(a, true), (b, false)], Some(1)),
    ];
    for (open, place) in table {
        assert_eq!(place_to_give(&open), place, "{open:?}");
    }
}
