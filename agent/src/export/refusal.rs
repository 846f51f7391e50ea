//! The answer of a collector that refuses a request.

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
}

/// An answer that is not OK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// gRPC status code, 0 to 16.
    pub code: u8,
    pub message: String,
    /// `grpc-status-details-bin`, a `google.rpc.Status`.
    pub details: Vec<u8>,
    /// The HTTP status, if it is not 200.
    pub http_status: Option<u16>,
}
