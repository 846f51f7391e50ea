//! Why a request failed, in the terms of either protocol.

use std::fmt;
use std::time::Duration;

/// Numbers of the gRPC status codes that the code refers to.
pub mod code {
    pub const CANCELLED: u8 = 1;
    pub const UNKNOWN: u8 = 2;
    pub const INVALID_ARGUMENT: u8 = 3;
    pub const DEADLINE_EXCEEDED: u8 = 4;
    pub const PERMISSION_DENIED: u8 = 7;
    pub const RESOURCE_EXHAUSTED: u8 = 8;
    pub const ABORTED: u8 = 10;
    pub const OUT_OF_RANGE: u8 = 11;
    pub const UNIMPLEMENTED: u8 = 12;
    pub const INTERNAL: u8 = 13;
    pub const UNAVAILABLE: u8 = 14;
    pub const DATA_LOSS: u8 = 15;
    pub const UNAUTHENTICATED: u8 = 16;

    /// Names of gRPC status codes, indexed by number.
    pub const NAMES: [&str; 17] = [
        "ok",
        "cancelled",
        "unknown",
        "invalid_argument",
        "deadline_exceeded",
        "not_found",
        "already_exists",
        "permission_denied",
        "resource_exhausted",
        "failed_precondition",
        "aborted",
        "out_of_range",
        "unimplemented",
        "internal",
        "unavailable",
        "data_loss",
        "unauthenticated",
    ];

    pub fn name(code: u8) -> &'static str {
        NAMES.get(usize::from(code)).copied().unwrap_or("unknown")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The collector answered with an error.
    Refused(Refusal),
    /// There was no connection, or it broke; holds the causes.
    Unreachable(String),
    TimedOut,
}

/// What to tell of a server that seems to speak the other protocol of OTLP.
pub const OTHER_PROTOCOL: &str = "the server may speak the other of grpc and http/protobuf: set exporters.otlp.protocol, or the port in exporters.otlp.endpoint";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => {
                write!(f, "{}: {}", code::name(refusal.code), refusal.message)?;
                match refusal.speaks_other {
                    true => write!(f, "; {OTHER_PROTOCOL}"),
                    false => Ok(()),
                }
            }
            Self::Unreachable(cause) => f.write_str(cause),
            Self::TimedOut => f.write_str("no answer within the timeout"),
        }
    }
}

/// An answer that is not OK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// gRPC status code, 0 to 16, or what is nearest to the HTTP status.
    pub code: u8,
    pub message: String,
    /// How long the collector wants the next try to wait.
    pub retry_after: Option<Duration>,
    /// The HTTP status, if it is not 200.
    pub http_status: Option<u16>,
    /// Whether it tells of the way to the collector, and not of this request.
    pub is_of_proxy: bool,
    /// Whether the server seems to speak the other protocol of OTLP.
    pub speaks_other: bool,
}
