//! The protobuf wire format: a writer into a buffer that may be too short, and
//! a reader.
//!
//! Source: the encoding page of the Protocol Buffers documentation. A varint
//! may be longer than necessary. [`padded_varint`] uses that for lengths that
//! are known only after the bytes that they count.

/// Wire types, the low three bits of a tag.
pub mod wire_type {
    pub const VARINT: u8 = 0;
    /// Eight bytes, little endian.
    pub const FIXED64: u8 = 1;
    /// A varint length and as many bytes.
    pub const LEN: u8 = 2;
    /// Four bytes, little endian.
    pub const FIXED32: u8 = 5;
}

/// Length of the varint of `value`: 1 to 10 bytes.
#[inline(always)]
pub const fn varint_len(value: u64) -> usize {
    // Bits divided by 7, rounded up; 9/64 is close enough to 1/7 up to 64 bits.
    let bits = 64 - (value | 1).leading_zeros() as usize;
    (bits * 9 + 64) >> 6
}

/// Encodes a varint in registers: bytes 0 to 7, bytes 8 and 9, and how many are
/// used.
#[inline(always)]
pub const fn varint(value: u64) -> ([u8; 8], [u8; 2], usize) {
    // Spreads seven bits to each byte without a loop: halves, quarters,
    // eighths.
    let mut spread = (value & 0x0fff_ffff) | ((value & 0x00ff_ffff_f000_0000) << 4);
    spread = (spread & 0x0000_3fff_0000_3fff) | ((spread & 0x0fff_c000_0fff_c000) << 2);
    spread = (spread & 0x007f_007f_007f_007f) | ((spread & 0x3f80_3f80_3f80_3f80) << 1);
    let len = varint_len(value);
    if value < 1 << 56 {
        let more = 0x0080_8080_8080_8080 >> (64 - 8 * len);
        return ((spread | more).to_le_bytes(), [0; 2], len);
    }
    let top = (value >> 56) as u8;
    let low = (spread | 0x8080_8080_8080_8080).to_le_bytes();
    let more = if len == 10 { 0x80 } else { 0 };
    (low, [(top & 0x7f) | more, top >> 7], len)
}

/// Copies a string of any length, a short one without a call. Does nothing if
/// the slices differ in length.
#[inline(always)]
pub fn copy_text(to: &mut [u8], from: &[u8]) {
    /// Copies the first and the last `N` bytes, which may overlap.
    #[inline(always)]
    fn ends<const N: usize>(to: &mut [u8], from: &[u8]) {
        if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
            let (first, last) = (*first, *last);
            if let Some(room) = to.first_chunk_mut() {
                *room = first;
            }
            if let Some(room) = to.last_chunk_mut() {
                *room = last;
            }
        }
    }
    if to.len() != from.len() {
        return;
    }
    match from.len() {
        16..=32 => ends::<16>(to, from),
        8..16 => ends::<8>(to, from),
        4..8 => ends::<4>(to, from),
        2..4 => ends::<2>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Encodes `value`, which must be below 2^(7 N), as a varint of exactly `N`
/// bytes, 2 to 9.
#[inline(always)]
pub fn padded_varint<const N: usize>(value: usize) -> [u8; N] {
    let mut bytes = [0; N];
    let mut rest = value;
    for byte in &mut bytes {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    if let Some(last) = bytes.last_mut() {
        *last &= 0x7f;
    }
    bytes
}

pub fn push_varint(out: &mut Vec<u8>, value: u64) {
    let (low, high, len) = varint(value);
    out.extend(low.into_iter().chain(high).take(len));
}

/// Appends a field of wire type `LEN`.
pub fn push_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    push_varint(out, u64::from(field) << 3 | u64::from(self::wire_type::LEN));
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes into a slice that may be too short. Everything after the first write
/// that does not fit is dropped, and [`WireWriter::finish`] says so. Never
/// panics or allocates.
#[derive(Debug, Default)]
pub struct WireWriter<'a> {
    room: &'a mut [u8],
    /// Greater than the length of `room` once something did not fit.
    at: usize,
}

impl<'a> WireWriter<'a> {
    #[inline(always)]
    pub fn new(room: &'a mut [u8]) -> Self {
        Self { room, at: 0 }
    }

    /// Bytes written, or `None` if the room was too short.
    #[inline(always)]
    pub fn finish(self) -> Option<usize> {
        (self.at <= self.room.len()).then_some(self.at)
    }

    #[inline(always)]
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next `N` bytes, or `None` if there is no room for them.
    #[inline(always)]
    pub fn window<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let window = self
            .room
            .get_mut(self.at..)
            .and_then(<[u8]>::first_chunk_mut);
        if window.is_none() {
            self.at = usize::MAX;
        }
        window
    }

    /// Marks `used` bytes of the last window as written.
    #[inline(always)]
    pub fn advance(&mut self, used: usize) {
        self.at = self.at.saturating_add(used);
    }

    #[inline(always)]
    pub fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        match self.room.get_mut(self.at..end) {
            Some(room) => {
                copy_text(room, bytes);
                self.at = end;
            }
            None => self.at = usize::MAX,
        }
    }

    #[inline(always)]
    pub fn varint(&mut self, value: u64) {
        if let Some(room) = self.window::<10>() {
            let (low, high, used) = varint(value);
            room[..8].copy_from_slice(&low);
            room[8..].copy_from_slice(&high);
            self.advance(used);
        }
    }

    /// Appends a field of wire type `LEN` whose tag is one byte.
    #[inline(always)]
    pub fn field(&mut self, tag: u8, bytes: &[u8]) {
        self.bytes(&[tag]);
        self.varint(bytes.len() as u64);
        self.bytes(bytes);
    }

    /// Overwrites bytes that were written before.
    #[inline(always)]
    pub fn patch<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if let Some(room) = self.room.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *room = bytes;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValue<'a> {
    Varint(u64),
    Fixed64(u64),
    /// A message, a string or bytes.
    Len(&'a [u8]),
    Fixed32(u32),
}

impl<'a> FieldValue<'a> {
    /// The bytes of a `LEN` field; empty for any other.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Len(bytes) => bytes,
            _ => &[],
        }
    }

    /// The number of a field; 0 for a `LEN` field.
    pub fn number(self) -> u64 {
        match self {
            Self::Varint(value) | Self::Fixed64(value) => value,
            Self::Fixed32(value) => value.into(),
            Self::Len(_) => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u32,
    pub value: FieldValue<'a>,
    /// The whole field, with tag and length.
    pub raw: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub struct Malformed;

/// Iterates over the fields of a message. Ends after the first [`Malformed`].
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<Field<'a>, Malformed> {
        let start = self.rest;
        let tag = self.varint()?;
        let value = match tag as u8 & 7 {
            wire_type::VARINT => FieldValue::Varint(self.varint()?),
            wire_type::FIXED64 => FieldValue::Fixed64(u64::from_le_bytes(self.array()?)),
            wire_type::FIXED32 => FieldValue::Fixed32(u32::from_le_bytes(self.array()?)),
            wire_type::LEN => {
                let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
                self.rest = rest;
                FieldValue::Len(bytes)
            }
            _ => return Err(Malformed),
        };
        let used = start.len() - self.rest.len();
        Ok(Field {
            number: u32::try_from(tag >> 3).map_err(|_| Malformed)?,
            value,
            raw: start.get(..used).unwrap_or_default(),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*array)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varint_is_what_prost_writes(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            let mut expected = Vec::new();
            prost::encoding::encode_varint(value, &mut expected);
            let mut ours = Vec::new();
            push_varint(&mut ours, value);
            prop_assert_eq!(&ours, &expected);
            prop_assert_eq!(varint_len(value), expected.len());
        }

        #[test]
        fn text_is_copied(text in "[a-z]{0,70}", more in 0_usize..2) {
            let mut room = vec![0; text.len() + more];
            copy_text(&mut room, text.as_bytes());
            let copied = room == text.as_bytes();
            prop_assert_eq!(copied, more == 0);
        }

        #[test]
        fn a_padded_varint_reads_back(value in 0_usize..1 << 28) {
            let mut bytes = padded_varint::<4>(value).to_vec();
            bytes.push(0xff);
            let read = prost::encoding::decode_varint(&mut bytes.as_slice());
            prop_assert_eq!(read.unwrap(), value as u64);
        }

        #[test]
        fn reading_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read: usize = Fields::new(&bytes)
                .filter_map(Result::ok)
                .map(|field| field.raw.len())
                .sum();
            prop_assert!(read <= bytes.len());
        }
    }

    #[test]
    fn a_writer_without_room_says_so() {
        let mut room = [0; 12];
        let mut writer = WireWriter::new(&mut room);
        writer.varint(1);
        assert_eq!(writer.position(), 1);
        writer.bytes(&[0; 12]);
        writer.bytes(&[]);
        writer.varint(7);
        assert_eq!(writer.finish(), None);
    }
}
