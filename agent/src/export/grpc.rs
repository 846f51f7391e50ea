//! OTLP over gRPC: one unary call per request.
//!
//! The call is a plain HTTP/2 request, rather than one of
//! `tonic::client::Grpc`. Bytes are then sent without being copied into its
//! buffer, and the gzip level can be chosen. A malformed
//! `grpc-status-details-bin`, on which tonic 0.14 panics, is ignored.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::answer::{MAX_ANSWER, PartialSuccess, RpcStatus, cut};
use super::connect::unreachable;
use super::refusal::{Failure, Refusal, code};
use super::signal::Signal;
use crate::config::{Compression, Otlp};

pub(super) fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

pub(super) fn set_headers(headers: &mut HeaderMap, config: &Otlp) -> anyhow::Result<()> {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if config.compression != Compression::None {
        let encoding = HeaderValue::from_static(config.compression.as_str());
        headers.insert("grpc-encoding", encoding);
    }
    let millis = config.timeout.0.as_millis().clamp(1, 99_999_999);
    headers.insert("grpc-timeout", format!("{millis}m").parse()?);
    Ok(())
}

/// Reads an answer to its end.
pub(super) async fn answer(response: Response<Incoming>) -> Result<PartialSuccess, Failure> {
    let (head, mut body) = response.into_parts();
    if head.headers.contains_key("grpc-status") {
        return status(&head.headers, &[]);
    }
    if head.status != StatusCode::OK {
        return Err(Failure::Refused(http_refusal(head.status)));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreachable(&error))?;
        match frame.into_data() {
            Ok(data) if bytes.len() + data.len() <= MAX_ANSWER => {
                bytes.extend_from_slice(&data);
            }
            Ok(_) => {}
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return status(&trailers, &bytes);
                }
            }
        }
    }
    let cause = "the answer ended without a gRPC status";
    Err(Failure::Unreachable(cause.to_owned()))
}

/// Reads the gRPC status from headers or trailers.
fn status(headers: &HeaderMap, body: &[u8]) -> Result<PartialSuccess, Failure> {
    let get = |name: &str| headers.get(name).map_or(&[][..], HeaderValue::as_bytes);
    let code = std::str::from_utf8(get("grpc-status"))
        .ok()
        .and_then(|text| text.parse::<u8>().ok())
        .filter(|code| *code <= code::UNAUTHENTICATED)
        .unwrap_or(code::UNKNOWN);
    if code == 0 {
        return Ok(PartialSuccess::parse(unframed(body)));
    }
    let mut message = percent_decode(get("grpc-message"));
    cut(&mut message);
    let details = base64_decode(get("grpc-status-details-bin")).unwrap_or_default();
    Err(Failure::Refused(Refusal {
        code,
        message,
        retry_after: RpcStatus::parse(&details).retry_delay,
        ..Refusal::default()
    }))
}

/// The message in a frame. A compressed answer was not asked for.
fn unframed(body: &[u8]) -> &[u8] {
    match body.split_first() {
        Some((&0, rest)) => rest.get(4..).unwrap_or_default(),
        _ => &[],
    }
}

/// Follows "HTTP to gRPC Status Code Mapping" of the gRPC documentation.
fn http_refusal(status: StatusCode) -> Refusal {
    Refusal {
        code: match status.as_u16() {
            400 => code::INTERNAL,
            401 => code::UNAUTHENTICATED,
            403 => code::PERMISSION_DENIED,
            404 => code::UNIMPLEMENTED,
            429 | 502..=504 => code::UNAVAILABLE,
            _ => code::UNKNOWN,
        },
        message: format!("HTTP status {status}"),
        retry_after: None,
        http_status: Some(status.as_u16()),
        is_of_proxy: true,
        speaks_other: matches!(status.as_u16(), 400 | 404 | 405 | 415 | 426 | 505),
    }
}

/// Decodes the text of a `grpc-message` header.
fn percent_decode(text: &[u8]) -> String {
    percent_encoding::percent_decode(text)
        .decode_utf8_lossy()
        .into_owned()
}

/// Decodes a `-bin` header: standard base64, padded or not. `None` for anything
/// else.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    const PADDED_OR_NOT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    PADDED_OR_NOT.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        for (text, expected) in [
            ("plain", "plain"),
            ("50%25 of%20it", "50% of it"),
            ("%C3%BC", "ü"),
            ("%zz%4", "%zz%4"),
            ("", ""),
        ] {
            assert_eq!(percent_decode(text.as_bytes()), expected);
        }
    }

    #[test]
    fn base64_is_undone() {
        for (text, expected) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zg", Some("f")),
            ("Zm8", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYmFy", Some("foobar")),
            ("Zm9v!", None),
            ("Z", None),
        ] {
            let decoded = base64_decode(text.as_bytes());
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn a_frame_is_taken_off_unless_it_is_compressed_or_cut() {
        for (body, expected) in [
            (&b"\0\0\0\0\x02ab"[..], &b"ab"[..]),
            (b"\0\0\0\0\0", b""),
            (b"\x01\0\0\0\x01x", b""),
            (b"\0\0", b""),
            (b"", b""),
        ] {
            assert_eq!(unframed(body), expected);
        }
    }
}
