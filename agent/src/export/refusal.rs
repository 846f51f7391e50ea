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

    /// Names of gRPC status codes, indexed by number: ours, and the specification's.
    pub const NAMES: [(&str, &str); 17] = [
        ("ok", "OK"),
        ("cancelled", "CANCELLED"),
        ("unknown", "UNKNOWN"),
        ("invalid_argument", "INVALID_ARGUMENT"),
        ("deadline_exceeded", "DEADLINE_EXCEEDED"),
        ("not_found", "NOT_FOUND"),
        ("already_exists", "ALREADY_EXISTS"),
        ("permission_denied", "PERMISSION_DENIED"),
        ("resource_exhausted", "RESOURCE_EXHAUSTED"),
        ("failed_precondition", "FAILED_PRECONDITION"),
        ("aborted", "ABORTED"),
        ("out_of_range", "OUT_OF_RANGE"),
        ("unimplemented", "UNIMPLEMENTED"),
        ("internal", "INTERNAL"),
        ("unavailable", "UNAVAILABLE"),
        ("data_loss", "DATA_LOSS"),
        ("unauthenticated", "UNAUTHENTICATED"),
    ];

    fn names(code: u8) -> (&'static str, &'static str) {
        let known = NAMES.get(usize::from(code)).copied();
        known.unwrap_or(("unknown", "UNKNOWN"))
    }

    pub fn name(code: u8) -> &'static str {
        names(code).0
    }

    /// `rpc.response.status_code`.
    pub fn symbol(code: u8) -> &'static str {
        names(code).1
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
