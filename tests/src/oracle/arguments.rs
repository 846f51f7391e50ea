//! Parses the arguments of a call as strace prints them.

/// Splits `text` at commas outside of strings, brackets and braces.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut in_string, mut escaped, mut from) = (0_u32, false, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '{' | '[' | '(' | '<' => depth += 1,
            '}' | ']' | ')' | '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text.get(from..at).unwrap_or_default().trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(from..).unwrap_or_default().trim());
    parts
}

/// Decodes the C escapes that strace writes between quotation marks or angle brackets.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else {
            break;
        };
        let digits = rest
            .iter()
            .take(3)
            .take_while(|digit| (b'0'..=b'7').contains(digit))
            .count();
        if digits > 0 {
            let (octal, after) = rest.split_at(digits);
            let value = octal.iter().fold(0, |v, d| v * 8 + u32::from(d - b'0'));
            bytes.push(u8::try_from(value).unwrap_or(b'?'));
            rest = after;
            continue;
        }
        bytes.push(match escape {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'f' => 0x0c,
            b'v' => 0x0b,
            other => other,
        });
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A whole string. `None` for an address, which stands for memory that could not be read.
pub(super) fn string(text: &str) -> Option<String> {
    text.strip_prefix('"')?.strip_suffix('"').map(unescape)
}

/// A descriptor and, if it is open, its path: `3</name>`, or `3</name>(deleted)`.
pub(super) fn descriptor(text: &str) -> Option<(i64, Option<String>)> {
    let Some((number, path)) = text.split_once('<') else {
        return Some((text.parse().ok()?, None));
    };
    let path = path.strip_suffix("(deleted)").unwrap_or(path);
    Some((
        number.parse().ok()?,
        Some(unescape(path.strip_suffix('>')?)),
    ))
}

/// The value of field `name` in `{a=1, b=2}`.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    split(text.strip_prefix('{')?.strip_suffix('}')?)
        .into_iter()
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_part_only_the_outermost() {
        assert_eq!(
            split(r#""a,\"b", O_RDWR|O_CREAT, {x=1, y=[2, 3]}, 3</q,>, NULL"#),
            [
                r#""a,\"b""#,
                "O_RDWR|O_CREAT",
                "{x=1, y=[2, 3]}",
                "3</q,>",
                "NULL"
            ]
        );
        assert_eq!(split("4</q>, "), ["4</q>", ""]);
    }

    #[test]
    fn strings_are_read_back() {
        let table = [
            (r#""plain""#, Some("plain")),
            (r#""\303\244\n\"\\""#, Some("ä\n\"\\")),
            (r#""\1z\0011""#, Some("\u{1}z\u{1}1")),
            ("0x7ffef8aadd20", None),
            ("NULL", None),
        ];
        for (text, want) in table {
            assert_eq!(string(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn descriptors_carry_their_paths() {
        let table = [
            ("3</mq-1-0>", Some((3, Some("/mq-1-0".to_owned())))),
            ("3</a\\76b>(deleted)", Some((3, Some("/a>b".to_owned())))),
            ("-1", Some((-1, None))),
            ("NULL", None),
        ];
        for (text, want) in table {
            assert_eq!(descriptor(text), want, "{text}");
        }
    }

    #[test]
    fn fields_are_found_by_name() {
        let text = "{tv_sec=-5, tv_nsec=1000000000}";
        assert_eq!(field(text, "tv_sec"), Some("-5"));
        assert_eq!(field(text, "tv_nsec"), Some("1000000000"));
        assert_eq!(field(text, "tv"), None);
        assert_eq!(field("0x1234", "tv_sec"), None);
    }
}
