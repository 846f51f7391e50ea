//! Correlate: the ids of traces and spans.
//!
//! A call is identified by its thread and the time of its entry. Ids are a
//! keyed hash of the two. The send of a message and its receive, which the
//! kernel reports separately, therefore get the same trace without shared
//! state, and a span that is sent twice has the same id both times.

use crate::event::CallKey;

/// 16 bytes, never all zero (W3C Trace Context).
pub type TraceId = [u8; 16];
/// 8 bytes, never all zero (W3C Trace Context).
pub type SpanId = [u8; 8];

/// Generates ids. The seed must differ between hosts, and between boots of a
/// host.
#[derive(Debug, Clone, Copy)]
pub struct Ids {
    seed: [u64; 2],
}

impl Ids {
    /// `seed` is 16 random bytes that last as long as the boot, such as
    /// `/proc/sys/kernel/random/boot_id`.
    pub fn new(seed: u128) -> Self {
        Self {
            seed: [(seed >> 64) as u64, seed as u64],
        }
    }

    /// The id of the trace that starts with this call.
    pub fn trace_id(&self, root: CallKey) -> TraceId {
        let high = self.hash(0, root);
        let low = self.hash(1, root).max(1);
        ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
    }

    /// The id of the span of this call.
    pub fn span_id(&self, call: CallKey) -> SpanId {
        self.hash(2, call).max(1).to_be_bytes()
    }

    /// The id of the span of what follows a receive: the processing of its message.
    pub fn process_id(&self, receive: CallKey) -> SpanId {
        self.hash(3, receive).max(1).to_be_bytes()
    }

    /// Two rounds of the finalizer of SplitMix64 (Steele, Lea, Flood 2014),
    /// keyed by the seed.
    fn hash(&self, stream: u64, call: CallKey) -> u64 {
        let CallKey { tid, start_ns } = call;
        let [key0, key1] = self.seed;
        let first = mix(start_ns ^ key0.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        mix(first ^ u64::from(tid) ^ key1.rotate_left(stream as u32))
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_calls_nearby_differ() {
        let ids = Ids::new(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let mut traces = HashSet::new();
        let mut spans = HashSet::new();
        for tid in 0..300 {
            for start_ns in 1_000_000..1_000_300 {
                assert!(traces.insert(ids.trace_id(CallKey { tid, start_ns })));
                assert!(spans.insert(ids.span_id(CallKey { tid, start_ns })));
                assert!(spans.insert(ids.process_id(CallKey { tid, start_ns })));
            }
        }
    }

    const CALL: CallKey = CallKey {
        tid: 7,
        start_ns: 8,
    };

    #[test]
    fn ids_depend_on_the_seed() {
        assert_ne!(Ids::new(1).trace_id(CALL), Ids::new(2).trace_id(CALL));
        assert_ne!(Ids::new(1).span_id(CALL), Ids::new(1 << 64).span_id(CALL));
        assert_eq!(Ids::new(1).span_id(CALL), Ids::new(1).span_id(CALL));
    }
}
