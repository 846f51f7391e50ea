//! The HTTP paths of a collector. They answer as the Collector's otlpreceiver does.

use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};

use crate::seen::{Refused, State};

const PROTOBUF: &str = "application/x-protobuf";

/// What is wrong with a request.
type Wrong = (StatusCode, String);

const TOO_LARGE: StatusCode = StatusCode::PAYLOAD_TOO_LARGE;

fn bad(error: impl ToString) -> Wrong {
    (StatusCode::BAD_REQUEST, error.to_string())
}

#[derive(Clone)]
struct Paths {
    state: Arc<State>,
    max_request_bytes: usize,
}

/// Paths that refuse requests beyond `max_request_bytes`.
pub(crate) fn routes(state: &Arc<State>, max_request_bytes: usize) -> Routes {
    let paths = Paths {
        state: Arc::clone(state),
        max_request_bytes,
    };
    Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
        .route("/v1/logs", post(logs))
        .with_state(paths)
        .into()
}

async fn traces(Shared(paths): Shared<Paths>, request: Request) -> Response {
    let peer = request.extensions().get::<TcpConnectInfo>();
    let peer = peer.and_then(TcpConnectInfo::remote_addr);
    let (headers, request) = match paths.decode(request).await {
        Ok(decoded) => decoded,
        Err(wrong) => return wrong.into_response(),
    };
    match paths.state.export(request, headers, peer).await {
        Ok(response) => accepted(&response),
        Err(Refused::Status(status)) => refused(&status),
        Err(Refused::Http(response)) => response.map(Body::from),
    }
}

async fn metrics(Shared(paths): Shared<Paths>, request: Request) -> Response {
    match paths.decode(request).await {
        Ok((headers, request)) => {
            paths.state.export_metrics(request, headers);
            accepted(&ExportMetricsServiceResponse::default())
        }
        Err(wrong) => wrong.into_response(),
    }
}

async fn logs(Shared(paths): Shared<Paths>, request: Request) -> Response {
    match paths.decode(request).await {
        Ok((headers, request)) => {
            paths.state.export_logs(request, headers);
            accepted(&ExportLogsServiceResponse::default())
        }
        Err(wrong) => wrong.into_response(),
    }
}

impl Paths {
    async fn decode<T: Message + Default>(
        &self,
        request: Request,
    ) -> Result<(HeaderMap, T), Wrong> {
        let (head, body) = request.into_parts();
        let header = |name| head.headers.get(name).map(|value| value.as_bytes());
        if header(header::CONTENT_TYPE) != Some(PROTOBUF.as_bytes()) {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, String::new()));
        }
        let bytes = axum::body::to_bytes(body, self.max_request_bytes).await;
        let bytes = bytes.map_err(|error| (TOO_LARGE, error.to_string()))?;
        let bytes = match header(header::CONTENT_ENCODING) {
            None => bytes.to_vec(),
            Some(b"gzip") => self.inflate(flate2::read::GzDecoder::new(&*bytes))?,
            Some(b"zstd") => self.inflate(zstd::Decoder::new(&*bytes).map_err(bad)?)?,
            Some(_) => return Err(bad("an unknown encoding")),
        };
        let message = T::decode(&*bytes).map_err(bad)?;
        Ok((head.headers, message))
    }

    fn inflate(&self, decoder: impl Read) -> Result<Vec<u8>, Wrong> {
        let mut bytes = Vec::new();
        let bound = self.max_request_bytes as u64 + 1;
        decoder.take(bound).read_to_end(&mut bytes).map_err(bad)?;
        if bytes.len() > self.max_request_bytes {
            return Err((TOO_LARGE, String::new()));
        }
        Ok(bytes)
    }
}

fn accepted(response: &impl Message) -> Response {
    let kind = [(header::CONTENT_TYPE, PROTOBUF)];
    (kind, response.encode_to_vec()).into_response()
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Source of the statuses: `GetHTTPStatusCodeFromStatus()` in the Collector's
/// `receiver/otlpreceiver/internal/errors/errors.go`.
fn refused(status: &Status) -> Response {
    let code = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => StatusCode::SERVICE_UNAVAILABLE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unimplemented => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    // The details are a whole `google.rpc.Status`, if there are any.
    let body = if status.details().is_empty() {
        let status = RpcStatus {
            code: status.code().into(),
            message: status.message().to_owned(),
        };
        status.encode_to_vec()
    } else {
        status.details().to_vec()
    };
    (code, [(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
}
