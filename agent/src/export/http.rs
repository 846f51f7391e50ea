//! OTLP over HTTP: one POST of protobuf per request.
//!
//! Source: "OTLP/HTTP" in the OTLP specification. A server may answer in
//! anything; only protobuf is looked into, and plain text or JSON shown.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::answer::{MAX_ANSWER, PartialSuccess, RpcStatus, short_text};
use super::connect::unreachable;
use super::refusal::{Failure, Refusal, code};
use super::signal::Signal;
use crate::config::{Compression, Endpoint, Otlp};

const PROTOBUF: &str = "application/x-protobuf";

pub(super) fn path(endpoint: &Endpoint, signal: Signal) -> String {
    endpoint.http_path(match signal {
        Signal::Traces => "traces",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
    })
}

pub(super) fn set_headers(headers: &mut HeaderMap, config: &Otlp) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    if config.compression != Compression::None {
        let encoding = HeaderValue::from_static(config.compression.as_str());
        headers.insert(header::CONTENT_ENCODING, encoding);
    }
}

/// Reads an answer, of which the beginning is enough.
pub(super) async fn answer(response: Response<Incoming>) -> Result<PartialSuccess, Failure> {
    let (head, mut body) = response.into_parts();
    let kind = media_type(&head.headers);
    if kind.starts_with("application/grpc") || head.headers.contains_key("grpc-status") {
        return Err(Failure::Refused(Refusal {
            code: code::UNIMPLEMENTED,
            message: "the server answers in gRPC".to_owned(),
            http_status: Some(head.status.as_u16()),
            speaks_other: true,
            ..Refusal::default()
        }));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreachable(&error))?;
        if let Ok(data) = frame.into_data() {
            let room = MAX_ANSWER - bytes.len();
            bytes.extend_from_slice(data.get(..room).unwrap_or(&data));
            if bytes.len() == MAX_ANSWER {
                break;
            }
        }
    }
    let is_protobuf = kind == PROTOBUF;
    if head.status.is_success() {
        let answer = is_protobuf.then(|| PartialSuccess::parse(&bytes));
        return Ok(answer.unwrap_or_default());
    }
    let status = match kind.as_str() {
        PROTOBUF => RpcStatus::parse(&bytes),
        "text/plain" | "application/json" => RpcStatus {
            message: short_text(bytes.trim_ascii()),
            retry_delay: None,
        },
        _ => RpcStatus::default(),
    };
    Err(Failure::Refused(refusal(
        head.status,
        &head.headers,
        status,
    )))
}

/// The media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let text = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = text.and_then(|text| text.split(';').next());
    kind.unwrap_or_default().trim().to_ascii_lowercase()
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: RpcStatus) -> Refusal {
    let mut message = format!("HTTP {status}");
    if status.is_redirection() {
        message.push_str(&redirection(headers));
    } else if !body.message.is_empty() {
        message = format!("{message}: {}", body.message);
    }
    let after = headers.get(header::RETRY_AFTER);
    let after = after.and_then(|value| retry_after(value, SystemTime::now()));
    Refusal {
        code: code_of(status.as_u16()),
        message,
        retry_after: after.or(body.retry_delay),
        http_status: Some(status.as_u16()),
        is_of_proxy: matches!(status.as_u16(), 502 | 504),
        speaks_other: status == StatusCode::UNSUPPORTED_MEDIA_TYPE,
    }
}

/// The gRPC code that the Collector's otlphttp exporter takes for a status
/// (`statusutil.NewStatusFromMsgAndHTTPCode()`). Of these only that of 429 and
/// of 502, 503 and 504 is one to try again.
fn code_of(status: u16) -> u8 {
    match status {
        400 | 413 => code::INVALID_ARGUMENT,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 | 405 => code::UNIMPLEMENTED,
        429 => code::RESOURCE_EXHAUSTED,
        502..=504 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    }
}

/// Where the server points to. Nobody follows: headers with secrets would go
/// wherever it says.
fn redirection(headers: &HeaderMap) -> String {
    let target = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok()?.parse::<Uri>().ok());
    let mut text = target.map_or_else(String::new, |target| {
        let origin = match (target.scheme_str(), target.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => String::new(),
        };
        format!(" to {origin}{}", target.path())
    });
    super::answer::cut(&mut text);
    format!(
        "{text}; redirections are not followed, so exporters.otlp.endpoint has to name the target"
    )
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::retry::Verdict;
    use super::*;

    #[test]
    fn statuses_are_decided_by_the_specification() {
        for status in 300..600 {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = refusal(status, &HeaderMap::new(), RpcStatus::default());
            let expected = match status.as_u16() {
                429 | 502 | 503 | 504 => Verdict::Retry(None),
                413 => Verdict::Split,
                _ => Verdict::Reject,
            };
            assert_eq!(refusal.verdict(), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("1.5", None),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            let read = retry_after(&value, now);
            assert_eq!(read.map(|wait| wait.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn a_redirection_names_its_target_without_secrets() {
        for (location, told) in [
            (
                "https://c.example/otlp/v1/traces?key=secret",
                " to https://c.example/otlp/v1/traces;",
            ),
            ("/elsewhere", " to /elsewhere;"),
            ("\u{1}", "307 Temporary Redirect;"),
        ] {
            let mut headers = HeaderMap::new();
            if let Ok(value) = location.parse() {
                headers.insert(header::LOCATION, value);
            }
            let status = StatusCode::TEMPORARY_REDIRECT;
            let message = refusal(status, &headers, RpcStatus::default()).message;
            assert!(message.contains(told), "{message}");
            assert!(message.contains("exporters.otlp.endpoint"), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn the_media_type_is_read_without_parameters() {
        for (text, expected) in [
            ("application/x-protobuf", PROTOBUF),
            ("Application/X-Protobuf; charset=utf-8", PROTOBUF),
            ("text/html", "text/html"),
            ("", ""),
        ] {
            let headers = [(header::CONTENT_TYPE, text.parse().unwrap())];
            assert_eq!(media_type(&HeaderMap::from_iter(headers)), expected);
        }
        assert_eq!(media_type(&HeaderMap::new()), "");
    }
}
