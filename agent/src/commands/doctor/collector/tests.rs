use std::net::{SocketAddr, TcpListener};

use mqspan_testkit::certificates::SelfSigned;
use mqspan_testkit::collector::{self, Answer, Collector, Options};
use mqspan_testkit::free_address;
use tonic::Status;

use super::*;
use crate::config::{Env, Overrides, load};

fn refusing(status: Status) -> Collector {
    let collector = Collector::start().unwrap();
    collector.answer(move |_| Answer::Refuse(status.clone()));
    collector
}

/// Starts a server that sends `answer` on every connection.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = [0; 1024];
            if stream.read(&mut question).is_ok() {
                stream.write_all(answer).unwrap_or_default();
            }
        }
    });
    address
}

fn over_http() -> Collector {
    Collector::start_with(Options {
        protocol: collector::Protocol::Http,
        ..Options::default()
    })
    .unwrap()
}

fn check(scheme: &str, address: SocketAddr, ca_file: &str) -> Finding {
    let url = format!("{scheme}://localhost:{}", address.port());
    check_url(Protocol::Grpc, &url, ca_file)
}

fn check_url(protocol: Protocol, url: &str, ca_file: &str) -> Finding {
    let overrides = Overrides::new()
        .set("--protocol", "exporters.otlp.protocol", protocol.as_str())
        .set("--endpoint", "exporters.otlp.endpoint", url)
        .set("--ca", "exporters.otlp.tls.ca_file", ca_file);
    let none: [(String, String); 0] = [];
    let config = load(None, &overrides, &Env::from_iter(none))
        .unwrap()
        .config;
    of_collector(&config.exporters.otlp).unwrap()
}

#[test]
fn each_trouble_is_named_with_its_mend() {
    const HTTP_1: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let right = SelfSigned::Server.issue("localhost").unwrap();
    let wrong = SelfSigned::Server.issue("elsewhere").unwrap();
    let right_file = write("right.pem", &right.certificate);
    let wrong_file = write("wrong.pem", &wrong.certificate);
    let no_pem = write("empty.pem", "");
    let of_right = Collector::start_tls(right.server()).unwrap();
    let of_wrong = Collector::start_tls(wrong.server()).unwrap();
    let of_all = Collector::start().unwrap();
    let (secure, elsewhere, plain) = (of_right.address, of_wrong.address, of_all.address);
    // What a server without a trace service answers.
    let other = refusing(Status::unimplemented(""));
    let tenants = refusing(Status::unauthenticated("no token"));
    let away = free_address().unwrap();
    for (scheme, address, ca_file, grade, found, mend) in [
        ("http", plain, "", Grade::Ok, "takes spans", ""),
        ("https", secure, &right_file, Grade::Ok, "takes spans", ""),
        (
            "http",
            away,
            "",
            Grade::Warning,
            "refused",
            "start a collector",
        ),
        (
            "http",
            answering(HTTP_1),
            "",
            Grade::Warning,
            "HTTP/1",
            "OTLP/gRPC port",
        ),
        (
            "https",
            answering(HTTP_1),
            "",
            Grade::Warning,
            "not speak TLS",
            "write http://",
        ),
        (
            "https",
            plain,
            "",
            Grade::Warning,
            "not speak TLS",
            "write http://",
        ),
        (
            "http",
            secure,
            "",
            Grade::Warning,
            "speaks TLS",
            "write https://",
        ),
        (
            "https",
            elsewhere,
            &wrong_file,
            Grade::Warning,
            "name",
            "server_name_override",
        ),
        (
            "https",
            elsewhere,
            &right_file,
            Grade::Warning,
            "invalid peer certificate",
            "tls.ca_file",
        ),
        (
            "http",
            other.address,
            "",
            Grade::Warning,
            "unimplemented",
            "no OTLP trace service",
        ),
        (
            "http",
            tenants.address,
            "",
            Grade::Warning,
            "unauthenticated: no token",
            "exporters.otlp.headers",
        ),
        (
            "https",
            secure,
            "/does/not/exist",
            Grade::Error,
            "/does/not/exist",
            "exporters.otlp",
        ),
        (
            "https",
            secure,
            &no_pem,
            Grade::Error,
            "no certificate",
            "exporters.otlp",
        ),
    ]
        as [(&str, SocketAddr, &str, Grade, &str, &str); 13]
    {
        let finding = check(scheme, address, ca_file);
        assert_eq!(finding.grade, grade, "{finding:?}");
        assert!(finding.found.contains(found), "{finding:?}");
        let got = finding.mend.clone().unwrap_or_default();
        assert!(got.contains(mend), "{finding:?}");
    }
}

#[test]
fn the_configured_protocol_is_checked() {
    let (grpc, http) = (Collector::start().unwrap(), over_http());
    let proxied = over_http();
    let answer = http::Response::builder().status(502).body(Vec::new());
    let answer = Answer::Http(answer.unwrap());
    proxied.answer(move |_| answer.clone());
    let moved = over_http();
    let answer = http::Response::builder()
        .status(308)
        .header("location", "https://elsewhere/v1/traces")
        .body(Vec::new());
    let answer = Answer::Http(answer.unwrap());
    moved.answer(move |_| answer.clone());
    let tls = SelfSigned::Server.issue("localhost").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, &tls.certificate).unwrap();
    let ca_file = ca_file.to_str().unwrap();
    let secure = Collector::start_tls(tls.server()).unwrap();
    let url = |collector: &Collector, path: &str| {
        format!("http://localhost:{}{path}", collector.address.port())
    };
    let no_http = answering(b"hello\r\n");
    use Protocol::{Grpc, HttpProtobuf};
    for (protocol, url, grade, found, mend) in [
        (HttpProtobuf, url(&http, ""), Grade::Ok, "takes spans", ""),
        (
            HttpProtobuf,
            url(&http, "/otlp"),
            Grade::Warning,
            "HTTP 404",
            "no OTLP trace service at /otlp/v1/traces",
        ),
        (
            HttpProtobuf,
            url(&grpc, ""),
            Grade::Warning,
            "HTTP/2 and no HTTP/1.1",
            "set exporters.otlp.protocol to grpc, or exporters.otlp.endpoint to the collector's OTLP/HTTP port, usually 4318",
        ),
        (
            Grpc,
            url(&http, ""),
            Grade::Warning,
            "HTTP status 404",
            "set exporters.otlp.protocol to http/protobuf",
        ),
        (
            HttpProtobuf,
            url(&proxied, ""),
            Grade::Warning,
            "HTTP 502",
            "proxy or load balancer",
        ),
        (
            HttpProtobuf,
            url(&moved, ""),
            Grade::Warning,
            "to https://elsewhere/v1/traces",
            "to the target",
        ),
        // A server of gRPC by TLS, which takes HTTP/2.
        (
            HttpProtobuf,
            format!("https://localhost:{}", secure.address.port()),
            Grade::Warning,
            "the server answers in gRPC",
            "set exporters.otlp.protocol to grpc",
        ),
        (
            HttpProtobuf,
            format!("http://{no_http}"),
            Grade::Warning,
            "",
            "look at the collector's log",
        ),
    ] {
        let finding = check_url(protocol, &url, ca_file);
        assert_eq!(finding.grade, grade, "{finding:?}");
        assert!(finding.found.contains(found), "{finding:?}");
        let got = finding.mend.clone().unwrap_or_default();
        assert!(got.contains(mend), "{finding:?}");
    }
}

#[test]
fn a_socket_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let nobody = at("none.sock");
    let http_1 = at("http.sock");
    let listener = std::os::unix::net::UnixListener::bind(&http_1).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = [0; 1024];
            if stream.read(&mut question).is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).unwrap_or_default();
                // What is left unread would reset the connection, and the answer with it.
                stream.read_to_end(&mut Vec::new()).unwrap_or_default();
            }
        }
    });
    for (protocol, socket, grade, found, mend) in [
        (
            Protocol::HttpProtobuf,
            &http_1,
            Grade::Ok,
            "http.sock takes spans",
            "",
        ),
        (
            Protocol::Grpc,
            &http_1,
            Grade::Warning,
            "",
            "set exporters.otlp.protocol to http/protobuf",
        ),
        (
            Protocol::Grpc,
            &nobody,
            Grade::Warning,
            "No such file",
            "start a collector there",
        ),
    ] {
        let finding = check_url(protocol, &format!("unix://{}", socket.display()), "");
        assert_eq!(finding.grade, grade, "{finding:?}");
        assert!(finding.found.contains(found), "{finding:?}");
        let got = finding.mend.clone().unwrap_or_default();
        assert!(got.contains(mend), "{finding:?}");
    }
}
