//! Detects refusals that mean that a request is too large.
//!
//! HTTP has status 413, gRPC no code of its own. Libraries answer with a code that also means overload, and
//! say the rest in words. A request that is too large will still be so at the next try, so these
//! answers must not be taken for overload.

use super::refusal::{Refusal, code};

/// Codes that gRPC libraries use for a message beyond their limit. `INVALID_ARGUMENT`, `INTERNAL`
/// and `UNIMPLEMENTED` come from old versions.
const OF_LIBRARIES: &[u8] = &[
    code::UNKNOWN,
    code::INVALID_ARGUMENT,
    code::RESOURCE_EXHAUSTED,
    code::OUT_OF_RANGE,
    code::UNIMPLEMENTED,
    code::INTERNAL,
];
/// Any code: a proxy's words mean the same with each.
const ANY: &[u8] = &[];

/// Words that must all be in the message, in lower case, and the codes with which they mean that
/// the request is too large.
const ANSWERS: &[(&[&str], &[u8])] = &[
    // grpc-go, rpc_util.go: "grpc: received message larger than max (5 vs. 4)",
    // "grpc: received message after decompression larger than max 4", and
    // "trying to send message larger than max (5 vs. 4)", passed on by a collector from the next.
    // grpc-core, message_size_filter.cc, and so C++, Python, Ruby and PHP:
    // "Received message larger than max (5 vs. 4)",
    // "SERVER: Sent message larger than max (5 vs. 4)".
    // grpc-js: "Received message larger than max (5 vs 4)",
    // "Received message that decompresses to a size larger than 4".
    (&["message", "larger than max"], OF_LIBRARIES),
    (
        &["message that decompresses to a size larger than"],
        OF_LIBRARIES,
    ),
    // grpc-java, MessageDeframer.java: "gRPC message exceeds maximum size 4: 5",
    // "Decompressed gRPC message exceeds maximum size 4". Armeria, too.
    (&["message exceeds maximum size"], OF_LIBRARIES),
    // grpc-dotnet, PipeExtensions.cs: "Received message exceeds the maximum configured message size."
    (
        &["exceeds the maximum configured message size"],
        OF_LIBRARIES,
    ),
    // tonic, codec/decode.rs:
    // "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
    // "Error decompressing: size limit, of 4 bytes, exceeded while decompressing message".
    (&["message length too large"], OF_LIBRARIES),
    (
        &["size limit", "exceeded while decompressing message"],
        OF_LIBRARIES,
    ),
    // connect-go, envelope.go: "message size 5 is larger than configured max 4".
    // connect-es: "... larger than configured readMaxBytes 4".
    (&["message", "larger than configured"], OF_LIBRARIES),
    // grpc-swift, GRPCMessageDecoder: "... exceeded the configured maximum payload length ...".
    (&["message", "maximum payload length"], OF_LIBRARIES),
    (&["message too large"], OF_LIBRARIES),
    // HTTP status 413 by its names in RFC 9110, RFC 7231 and RFC 2616, which Envoy and nginx use as
    // the text of a gRPC status.
    // MaxBytesReader of net/http: "http: request body too large".
    (&["content too large"], ANY),
    (&["payload too large"], ANY),
    (&["request entity too large"], ANY),
    (&["request body too large"], ANY),
    (&["body exceeds", "limit"], OF_LIBRARIES),
    // The Collector's otlphttp exporter, passed on by its receiver:
    // "... responded with HTTP Status Code 413".
    // Clients of grpc-go behind a proxy: "unexpected HTTP status code received from server: 413".
    (&["status code", " 413"], ANY),
    (&["http 413"], ANY),
];

/// Whether another try can only succeed with a smaller request.
pub(super) fn is_too_large(refusal: &Refusal) -> bool {
    let text = refusal.message.to_ascii_lowercase();
    refusal.http_status == Some(413)
        || ANSWERS.iter().any(|(words, codes)| {
            (codes.is_empty() || codes.contains(&refusal.code))
                && words.iter().all(|words| text.contains(words))
        })
}

#[cfg(test)]
mod tests {
    use super::super::retry::Verdict;
    use super::*;

    fn verdict(code: u8, message: &str) -> Verdict {
        let message = message.to_owned();
        Refusal {
            code,
            message,
            ..Refusal::default()
        }
        .verdict()
    }

    #[test]
    fn a_request_too_large_is_split_in_everyone_s_words() {
        for (code, message) in [
            (
                8,
                "grpc: received message larger than max (5000000 vs. 4194304)",
            ),
            (
                8,
                "grpc: received message after decompression larger than max 4194304",
            ),
            (8, "trying to send message larger than max (5 vs. 4)"),
            (8, "SERVER: Received message larger than max (5 vs. 4)"),
            (8, "Received message larger than max (17777780 vs 4194304)"),
            (8, "gRPC message exceeds maximum size 4194304: 5000000"),
            (8, "Decompressed gRPC message exceeds maximum size 4194304"),
            (
                8,
                "Received message exceeds the maximum configured message size.",
            ),
            (8, "message size 5 is larger than configured max 4"),
            (
                8,
                "message is larger than configured readMaxBytes 4 after decompression",
            ),
            (
                8,
                "Error decompressing: size limit, of 4 bytes, exceeded while decompressing message",
            ),
            (
                11,
                "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
            ),
            (8, "Payload Too Large"),
            (14, "413 Request Entity Too Large"),
            (2, "Content Too Large"),
            (13, "http: request body too large"),
            (
                2,
                "error exporting items, request to http://x responded with HTTP Status Code 413",
            ),
            (
                8,
                "unexpected HTTP status code received from server: 413 (Request Entity Too Large)",
            ),
        ] {
            assert_eq!(verdict(code, message), Verdict::Split, "{message}");
        }
        let proxy = Refusal {
            code: 2,
            http_status: Some(413),
            ..Refusal::default()
        };
        assert_eq!(proxy.verdict(), Verdict::Split);
    }

    #[test]
    fn overload_is_no_matter_of_size() {
        for message in [
            "data refused due to high memory usage",
            "sending queue is full",
            "rate limit exceeded: 413 spans over the limit of 1000",
            "quota exceeded for tenant 413",
            "RATE_LIMITED: ingestion rate limit (15000000 bytes) exceeded while adding 2 bytes",
            "TRACE_TOO_LARGE: max size of trace (5000000) exceeded while adding 9 bytes",
            "too many requests",
            "",
        ] {
            assert_eq!(verdict(8, message), Verdict::Retry(None), "{message}");
        }
    }
}
