//! Percent-encoding, as used in baggage headers and URLs.

/// Undoes percent-encoding. `None` if a `%` is not followed by two hexadecimal
/// digits, or if the bytes are not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let is_whole = |part: &str| {
        let digits = part.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_whole) {
        return None;
    }
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_malformed_is_nothing() {
        for (text, decoded) in [
            ("a%20b%2C", Some("a b,")),
            ("%C3%BC", Some("ü")),
            ("", Some("")),
            ("%", None),
            ("%2", None),
            ("%zz", None),
            ("%+5", None),
            ("%ff", None),
        ] {
            assert_eq!(percent_decode(text).as_deref(), decoded, "{text}");
        }
    }
}
