//! What a process says about itself in its environment, by the OpenTelemetry
//! specification ("Environment Variable Specification", "Resource SDK").

use std::collections::BTreeMap;

use opentelemetry_semantic_conventions::attribute as semconv;

use crate::percent::percent_decode;
use crate::resource::may_claim;

/// Maximum length of a value in bytes. Longer ones are cut at a character boundary.
pub(super) const VALUE_MAX_BYTES: usize = 256;

/// Of a character in UTF-8.
const CHARACTER_MAX_BYTES: usize = 4;

/// Maximum length of a key in bytes. What has a longer one is left out.
pub(super) const KEY_MAX_BYTES: usize = 128;

/// Maximum number of attributes beside those in [`SERVICE`], and of bytes of
/// their keys and values together. Further ones are left out.
pub(super) const MAX_ATTRIBUTES: usize = 64;
pub(super) const MAX_BYTES: usize = 4 << 10;

/// These have room whatever else there is.
pub(super) const SERVICE: [&str; 4] = [
    semconv::SERVICE_NAME,
    semconv::SERVICE_NAMESPACE,
    semconv::SERVICE_VERSION,
    semconv::SERVICE_INSTANCE_ID,
];

/// The attributes that a process claims to have: those that it may, bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Parses the bytes of `/proc/<pid>/environ`: `NAME=value`, each terminated
    /// by a zero byte. `OTEL_SERVICE_NAME` takes precedence over
    /// `OTEL_RESOURCE_ATTRIBUTES`. Also returns whether that is all that the
    /// process says: of bytes that are only the beginning the last variable is
    /// cut, and others may follow.
    pub(super) fn parse(environ: &[u8], is_whole: bool) -> (Self, bool) {
        let value_of = |name: &str| {
            let mut variables = environ.split(|&byte| byte == 0).peekable();
            while let Some(variable) = variables.next() {
                let value = variable.strip_prefix(name.as_bytes());
                if let Some(value) = value.and_then(|value| value.strip_prefix(b"=")) {
                    let is_cut = !is_whole && variables.peek().is_none();
                    return Some((String::from_utf8_lossy(value), is_cut));
                }
            }
            None
        };
        let attributes = value_of("OTEL_RESOURCE_ATTRIBUTES");
        let name = value_of("OTEL_SERVICE_NAME");
        let is_told = |of: &Option<(_, bool)>| of.as_ref().is_some_and(|(_, is_cut)| !is_cut);
        let is_all = is_whole || (is_told(&attributes) && is_told(&name));
        let mut found = attributes
            .and_then(|(text, is_cut)| parse_attributes(&text, is_cut))
            .unwrap_or_default();
        if let Some((name, is_cut)) = name
            && !name.is_empty()
            && (!is_cut || is_beyond_the_bound(&name))
        {
            found.insert(semconv::SERVICE_NAME.to_owned(), bounded(&name).to_owned());
        }
        (Self(found), is_all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Keys and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Approximate memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.iter()
            .map(|(key, value)| 2 * size_of::<String>() + key.len() + value.len())
            .sum()
    }
}

/// Parses `key=value,key=value`, both percent-encoded. If anything is malformed
/// there is nothing, as the specification says. The last of equal keys wins, and
/// an empty value says nothing. If the text is cut, so is its last pair, which
/// is left out unless more is there than would be kept.
fn parse_attributes(text: &str, is_cut: bool) -> Option<BTreeMap<String, String>> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut others = 0;
    let mut pairs = text.split(',').peekable();
    while let Some(pair) = pairs.next() {
        let is_cut = is_cut && pairs.peek().is_none();
        if pair.trim().is_empty() || (is_cut && !pair.contains('=')) {
            continue;
        }
        let (key, value) = pair.split_once('=')?;
        let key = percent_decode(key.trim())?;
        let value = if is_cut {
            decode_cut(value.trim())?
        } else {
            percent_decode(value.trim())?
        };
        if is_cut && !is_beyond_the_bound(&value) {
            continue;
        }
        if key.is_empty() {
            return None;
        }
        let value = bounded(&value);
        if let Some(earlier) = found.get_mut(&key) {
            value.clone_into(earlier);
            continue;
        }
        if !SERVICE.contains(&&*key) {
            if others == MAX_ATTRIBUTES || key.len() > KEY_MAX_BYTES || !may_claim(&key) {
                continue;
            }
            others += 1;
        }
        found.insert(key, value.to_owned());
    }
    let mut bytes = 0;
    found.retain(|key, value| {
        if value.is_empty() || SERVICE.contains(&&**key) {
            return !value.is_empty();
        }
        let with_it = bytes + key.len() + value.len();
        let fits = with_it <= MAX_BYTES;
        if fits {
            bytes = with_it;
        }
        fits
    });
    Some(found)
}

/// Decodes a value whose end is missing, and with it maybe the end of its last
/// character.
fn decode_cut(value: &str) -> Option<String> {
    let mut value = value;
    for _ in 0..=CHARACTER_MAX_BYTES {
        if let Some(decoded) = percent_decode(value) {
            return Some(decoded);
        }
        let at = value.rfind('%').filter(|at| at + 3 >= value.len())?;
        value = value.get(..at)?;
    }
    None
}

/// Whether a text that is cut anywhere is long enough for [`bounded`] to leave
/// out its last character.
fn is_beyond_the_bound(text: &str) -> bool {
    text.len() >= VALUE_MAX_BYTES + CHARACTER_MAX_BYTES
}

/// The text, cut at a character boundary if it is too long.
pub(super) fn bounded(text: &str) -> &str {
    (0..=text.len().min(VALUE_MAX_BYTES))
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
