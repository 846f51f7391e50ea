//! Text for a terminal.

use std::fmt::{self, Display, Write as _};

/// Escapes characters that could control the terminal: names come from any program.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_steering(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Whether a character is a control character or changes the direction of text.
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A duration with three or four significant digits.
pub(super) struct Nanoseconds(pub(super) u64);

impl Display for Nanoseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} ns", self.0),
            1_000..1_000_000 => write!(f, "{:.1} µs", ns / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} ms", ns / 1e6),
            _ => write!(f, "{:.2} s", ns / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(
            Escaped("/a\x1b[31m\u{202e}b").to_string(),
            "/a\\u{1b}[31m\\u{202e}b"
        );
        assert_eq!(Escaped("/Aufträge").to_string(), "/Aufträge");
    }

    #[test]
    fn durations_read_well() {
        for (ns, text) in [
            (999, "999 ns"),
            (1_500, "1.5 µs"),
            (50_100_000, "50.1 ms"),
            (61_000_000_000, "61.00 s"),
        ] {
            assert_eq!(Nanoseconds(ns).to_string(), text);
        }
    }
}
