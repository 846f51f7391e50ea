//! Compression of requests.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::{Compress, FlushCompress, Status};

use crate::config::Compression;

/// Compresses requests.
///
/// The compressor's working memory, hundreds of kilobytes, is kept from one
/// request to the next. Requests that are compressed at the same time have
/// their own.
///
/// Uses the fastest level: spans are so repetitive that the others save few
/// bytes for much time.
#[derive(Debug)]
pub struct Compressor {
    compression: Compression,
    spare: Mutex<Option<Coder>>,
}

enum Coder {
    Gzip(Box<Compress>),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            spare: Mutex::new(None),
        }
    }

    /// # Errors
    /// If the compressor fails.
    pub fn compress(&self, request: Bytes) -> io::Result<Bytes> {
        if self.compression == Compression::None {
            return Ok(request);
        }
        let spare = self.lock().take();
        let mut coder = match spare {
            Some(coder) => coder,
            None => Coder::new(self.compression)?,
        };
        let compressed = coder.compress(&request)?;
        let old = self.lock().replace(coder);
        drop(old);
        Ok(compressed.into())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Coder>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Coder {
    fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zstd => Self::Zstd(zstd::bulk::Compressor::new(1)?),
            Compression::None | Compression::Gzip => {
                let level = flate2::Compression::fast();
                Self::Gzip(Box::new(Compress::new_gzip(level, WINDOW_BITS)))
            }
        })
    }

    fn compress(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(coder) => gzip(coder, bytes),
            Self::Zstd(coder) => coder.compress(bytes),
        }
    }
}

/// The largest window of gzip, 32 KiB (RFC 1951).
const WINDOW_BITS: u8 = 15;

fn gzip(coder: &mut Compress, bytes: &[u8]) -> io::Result<Vec<u8>> {
    coder.reset();
    let mut compressed = Vec::with_capacity(bytes.len() / 8 + 64);
    loop {
        let read = usize::try_from(coder.total_in()).map_err(io::Error::other)?;
        let rest = bytes.get(read..).unwrap_or_default();
        let status = coder.compress_vec(rest, &mut compressed, FlushCompress::Finish)?;
        if status == Status::StreamEnd {
            return Ok(compressed);
        }
        compressed.reserve(compressed.len().max(64));
    }
}

impl std::fmt::Debug for Coder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gzip(_) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn undone(compression: Compression, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        match compression {
            Compression::None => bytes.extend_from_slice(payload),
            Compression::Gzip => {
                let mut decoder = flate2::read::GzDecoder::new(payload);
                decoder.read_to_end(&mut bytes).unwrap();
            }
            Compression::Zstd => bytes = zstd::decode_all(payload).unwrap(),
        }
        bytes
    }

    /// One after the other, so that each meets what the one before has left behind.
    #[test]
    fn each_request_is_compressed_by_itself() {
        // Numbers that no compressor makes smaller, so that its output outgrows the room given at first.
        let noise: Vec<u8> = (0..100_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (at / 7) as u8)
            .collect();
        let requests = [&b"a span"[..], &noise, b"", &[7; 50_000], b"a span"];
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let compressor = Compressor::new(compression);
            let mut first = None;
            for request in requests {
                let request_bytes = Bytes::copy_from_slice(request);
                let payload = compressor.compress(request_bytes).unwrap();
                assert_eq!(undone(compression, &payload), request, "{compression:?}");
                if request == b"a span" {
                    assert_eq!(first.get_or_insert(payload.clone()), &payload);
                }
            }
        }
    }
}
