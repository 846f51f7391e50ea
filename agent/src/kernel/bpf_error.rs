//! Errors of libbpf.

use std::io;

/// With all that libbpf says of it.
pub(super) fn into_io(error: libbpf_rs::Error) -> io::Error {
    io::Error::other(format!("{error:#}"))
}
