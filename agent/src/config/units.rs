//! Durations and sizes as written in the configuration.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// The form of a duration, for error messages.
const DURATION_FORM: &str = "a duration with a unit, such as \"5s\", \"200ms\" or \"1m30s\"";

/// The form of a size, for error messages.
const SIZE_FORM: &str = "a size such as \"64MiB\", \"4KiB\", \"512B\" or a whole number of bytes";

/// Units of a duration with their length in nanoseconds, longest first.
const DURATION_UNITS: &[(&str, u64)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of a size with their length in bytes, largest first.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A duration in the form of Go's `time.ParseDuration`, as in the OpenTelemetry
/// Collector: one or more decimal numbers, each with a unit of `h`, `m`, `s`,
/// `ms`, `us`, `µs` or `ns`. A plain `0` needs no unit.
///
/// Whole nanoseconds up to 2^64 - 1, about 584 years; never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    pub const ZERO: Self = Self(Duration::ZERO);

    #[must_use]
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    #[must_use]
    pub const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// `None` if zero, for keys that zero switches off.
    #[must_use]
    pub fn unless_zero(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

/// A number of bytes, written as a whole number with a unit of `B`, `KiB`,
/// `MiB`, `GiB` or `TiB`, or without a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

impl Size {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// `None` if zero, for keys that zero switches off.
    #[must_use]
    pub fn unless_zero(self) -> Option<u64> {
        (self.0 > 0).then_some(self.0)
    }
}

/// Why a text is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{found}`, expected {expected}")]
pub struct UnitError {
    found: String,
    expected: &'static str,
}

impl FromStr for HumanDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let nanos = duration_nanos(text).ok_or_else(|| UnitError {
            found: text.to_owned(),
            expected: DURATION_FORM,
        })?;
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

/// Parses a whole duration text, in ns. `None` if it is malformed, finer than a
/// nanosecond or too long.
fn duration_nanos(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let unit = if unit == "µs" || unit == "μs" {
            "us"
        } else {
            unit
        };
        let unit_nanos = DURATION_UNITS.iter().find(|row| row.0 == unit)?.1;
        total = total.checked_add(decimal_times(number, unit_nanos)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

/// The decimal number in `text` times `unit`; `None` if the product is not whole or does not fit.
fn decimal_times(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction = fraction.trim_end_matches('0');
    let part = if fraction.is_empty() {
        0
    } else {
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let product = fraction.parse::<u128>().ok()?.checked_mul(unit.into())?;
        if product % scale != 0 {
            return None;
        }
        u64::try_from(product / scale).ok()?
    };
    whole.checked_mul(unit)?.checked_add(part)
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, nanos) in DURATION_UNITS {
            let count = left / nanos;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
            left %= nanos;
        }
        Ok(())
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = if unit.is_empty() { "B" } else { unit };
        SIZE_UNITS
            .iter()
            .find(|row| row.0 == unit)
            .and_then(|row| number.parse::<u64>().ok()?.checked_mul(row.1))
            .map(Self)
            .ok_or_else(|| UnitError {
                found: text.to_owned(),
                expected: SIZE_FORM,
            })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZE_UNITS
            .iter()
            .find(|row| self.0 > 0 && self.0.is_multiple_of(row.1));
        let (unit, bytes) = exact.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = HumanDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DURATION_FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<HumanDuration, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<HumanDuration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<HumanDuration, E> {
        self.visit_str(&number.to_string())
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SIZE_FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Size, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Size, E> {
        Ok(Size(number))
    }
}

#[cfg(test)]
mod tests;
