use std::net::{SocketAddr, TcpListener};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use rcgen::{CertificateParams, KeyPair};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::*;
use crate::config::{Env, Overrides, load};

/// A trace service that answers all alike.
struct Service(Option<Status>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match &self.0 {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(ExportTraceServiceResponse::default())),
        }
    }
}

/// A server that runs until the end of the tests. Without a trace service it has none at all.
fn serve(service: Option<Service>, tls: Option<(&str, &str)>) -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let context = runtime.enter();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    let mut server = Server::builder();
    if let Some((certificate, key)) = tls {
        let identity = Identity::from_pem(certificate, key);
        server = server
            .tls_config(ServerTlsConfig::new().identity(identity))
            .unwrap();
    }
    let mut routes = tonic::service::Routes::builder();
    if let Some(service) = service {
        routes.add_service(TraceServiceServer::new(service));
    }
    let router = server.add_routes(routes.routes());
    runtime.spawn(router.serve_with_incoming(incoming));
    drop(context);
    std::mem::forget(runtime);
    address
}

/// Answers every connection with this.
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

fn certificate(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
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
    let (right, right_key) = certificate("localhost");
    let (wrong, wrong_key) = certificate("elsewhere");
    let right_file = write("right.pem", &right);
    let wrong_file = write("wrong.pem", &wrong);
    let no_pem = write("empty.pem", "");
    let fine = || Some(Service(None));
    let refusing = |status| Some(Service(Some(status)));
    let secure = serve(fine(), Some((&right, &right_key)));
    let elsewhere = serve(fine(), Some((&wrong, &wrong_key)));
    let plain = serve(fine(), None);
    let away = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
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
            serve(None, None),
            "",
            Grade::Warning,
            "unimplemented",
            "no OTLP trace service",
        ),
        (
            "http",
            serve(refusing(Status::unauthenticated("no token")), None),
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
