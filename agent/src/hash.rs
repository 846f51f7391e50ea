//! A hash for keys that come from the kernel, or that are checked again after
//! the look-up in a bounded map. It is fast, but does not resist chosen keys.

use std::hash::Hasher;

/// Odd numbers with well mixed bits: the fractional parts of the square roots
/// of 2 and 3.
const MIX: [u64; 2] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b];

/// Folds a product of 128 bits.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = MIX[1] ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        hash = fold(hash ^ u64::from_ne_bytes(word), MIX[0]);
    }
    hash
}

/// Hashes keys made of whole words.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word ^ MIX[1], MIX[0]);
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(hash_bytes(bytes));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_keys_spread_over_high_and_low_bits() {
        let mut low = std::collections::HashSet::new();
        let mut high = std::collections::HashSet::new();
        for word in 0..1_000 {
            let mut hasher = KeyHasher::default();
            hasher.write_u64(word);
            hasher.write_u64(4_026_531_839 << 32);
            low.insert(hasher.finish() & 0xffff);
            high.insert(hasher.finish() >> 48);
        }
        assert!(low.len() > 900, "{}", low.len());
        assert!(high.len() > 900, "{}", high.len());
    }

    #[test]
    fn names_differ_in_any_byte_and_in_length() {
        let names: [&[u8]; 5] = [b"", b"\0", b"/orders-1", b"/orders-2", b"/orders-2\0"];
        let hashes: std::collections::HashSet<_> = names.into_iter().map(hash_bytes).collect();
        assert_eq!(hashes.len(), names.len());
    }
}
