//! The `tracestate` of spans that were kept by their trace's share.
//!
//! Source: "TraceState: Probability Sampling" of the OpenTelemetry
//! specification. `ot=th:` and the rejection threshold: 56 bits in hexadecimal,
//! without the zeros at its end.

use std::fmt::Write as _;

use crate::stack_text::StackText;

/// Bits of a trace id that are guaranteed to be random (W3C Trace Context Level
/// 2, the random trace id flag).
pub const RANDOM_BITS: u32 = 56;

/// `ot=th:` and at most 14 digits.
#[derive(Debug, Clone, Copy)]
pub struct TraceState(StackText<20>);

impl TraceState {
    /// Of traces whose random bits are `threshold` or more. `None` if the
    /// threshold has more than [`RANDOM_BITS`] bits, which no trace passes.
    pub fn of_threshold(threshold: u64) -> Option<Self> {
        if threshold >> RANDOM_BITS != 0 {
            return None;
        }
        let mut digits = StackText::<14>::default();
        write!(digits, "{threshold:014x}").ok()?;
        let digits = digits.as_str().trim_end_matches('0');
        let mut text = StackText::default();
        text.push("ot=th:");
        text.push(if digits.is_empty() { "0" } else { digits });
        Some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_written_as_the_specification_does() {
        // The first three are examples of the specification.
        for (threshold, text) in [
            (0, Some("ot=th:0")),
            (0x80_0000_0000_0000, Some("ot=th:8")),
            (0xc0_0000_0000_0000, Some("ot=th:c")),
            (0x00_1000_0000_0000, Some("ot=th:001")),
            (0xe6_6666_6666_6668, Some("ot=th:e6666666666668")),
            ((1 << 56) - 1, Some("ot=th:ffffffffffffff")),
            (1 << 56, None),
        ] {
            let state = TraceState::of_threshold(threshold);
            assert_eq!(state.as_ref().map(TraceState::as_str), text);
        }
    }
}
