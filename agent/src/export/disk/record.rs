//! Records of a segment file.
//!
//! A record is a header of 20 bytes and a request. The header is five
//! little-endian numbers of four bytes: a mark, the length of the request, its
//! spans, its CRC-32C, and the CRC-32C of the header up to there. If the header
//! is intact, a damaged request is skipped and its spans are known. If not, the
//! mark helps to find the next record.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crc32c::crc32c;

pub(crate) const HEADER_LEN: u64 = 20;
const MARK: u32 = u32::from_le_bytes(*b"mqr1");
/// Bytes searched at a time for the next mark.
const WINDOW: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Length of the request in bytes.
    pub(crate) len: u32,
    pub(crate) spans: u32,
    /// CRC-32C of the request.
    pub(crate) crc: u32,
}

impl Header {
    /// The header of a request; `None` if its length does not fit four bytes.
    pub(crate) fn of(request: &[u8], spans: u32) -> Option<Self> {
        Some(Self {
            len: u32::try_from(request.len()).ok()?,
            spans,
            crc: crc32c(request),
        })
    }

    /// Length of header and request in bytes.
    pub(crate) fn record_len(self) -> u64 {
        HEADER_LEN + u64::from(self.len)
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN as usize] {
        let mut bytes = [0; HEADER_LEN as usize];
        let (fields, crc) = bytes.split_at_mut(16);
        for (room, value) in fields
            .chunks_mut(4)
            .zip([MARK, self.len, self.spans, self.crc])
        {
            room.copy_from_slice(&value.to_le_bytes());
        }
        crc.copy_from_slice(&crc32c(fields).to_le_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8; HEADER_LEN as usize]) -> Option<Self> {
        let (fields, crc) = bytes.split_last_chunk::<4>()?;
        let mut words = fields.as_chunks::<4>().0.iter().copied();
        let mut word = || words.next().map(u32::from_le_bytes);
        let (mark, len, spans, body_crc) = (word()?, word()?, word()?, word()?);
        (mark == MARK && u32::from_le_bytes(*crc) == crc32c(fields)).then_some(Self {
            len,
            spans,
            crc: body_crc,
        })
    }
}

/// What is at an offset of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundRecord {
    /// A header, followed by as many bytes as it says.
    Record(Header),
    /// A header, followed by fewer bytes than it says.
    Torn(Header),
    /// No valid header.
    Damage {
        /// Offset in the segment of the next header, or of the end.
        resume: u64,
    },
}

/// Looks at offset `at` of a segment that ends at `end`. `at` must be before
/// `end`.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn find(file: &File, at: u64, end: u64) -> io::Result<FoundRecord> {
    match header_at(file, at, end)? {
        Some(header) if header.record_len() <= end - at => Ok(FoundRecord::Record(header)),
        Some(header) => Ok(FoundRecord::Torn(header)),
        None => Ok(FoundRecord::Damage {
            resume: next_header(file, at + 1, end)?,
        }),
    }
}

/// The request of a header at `at`; `None` if it is damaged.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn read(file: &File, at: u64, header: Header) -> io::Result<Option<Vec<u8>>> {
    let mut request = vec![0; header.len as usize];
    file.read_exact_at(&mut request, at + HEADER_LEN)?;
    Ok((crc32c(&request) == header.crc).then_some(request))
}

fn header_at(file: &File, at: u64, end: u64) -> io::Result<Option<Header>> {
    if end.saturating_sub(at) < HEADER_LEN {
        return Ok(None);
    }
    let mut bytes = [0; HEADER_LEN as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(Header::parse(&bytes))
}

/// The offset of the first intact header from `at` on, or `end`.
fn next_header(file: &File, mut at: u64, end: u64) -> io::Result<u64> {
    let mark = MARK.to_le_bytes();
    let mut window = vec![0; WINDOW];
    while end.saturating_sub(at) >= HEADER_LEN {
        let len = usize::try_from(end - at).unwrap_or(WINDOW).min(WINDOW);
        let window = window.get_mut(..len).unwrap_or_default();
        file.read_exact_at(window, at)?;
        let marks = window.windows(mark.len()).enumerate();
        for (offset, _) in marks.filter(|(_, bytes)| *bytes == mark) {
            let found = at + offset as u64;
            if header_at(file, found, end)?.is_some() {
                return Ok(found);
            }
        }
        // A mark may span two windows.
        at += (len - (mark.len() - 1)) as u64;
    }
    Ok(end)
}
