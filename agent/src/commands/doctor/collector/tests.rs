use std::net::{SocketAddr, TcpListener};

use mqspan_testkit::certificates::SelfSigned;
use mqspan_testkit::collector::{Answer, Collector};
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

fn check(scheme: &str, address: SocketAddr, ca_file: &str) -> Finding {
    let url = format!("{scheme}://localhost:{}", address.port());
    let overrides = Overrides::new()
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
