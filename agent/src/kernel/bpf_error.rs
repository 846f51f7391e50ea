//! Errors of libbpf.

use std::io;

/// Keeps libbpf's whole chain of errors in the message.
pub(super) fn into_io(error: libbpf_rs::Error) -> io::Error {
    io::Error::other(format!("{error:#}"))
}
