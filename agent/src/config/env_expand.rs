//! Expands `${env:VAR}`, `${env:VAR:-default}`, `${VAR}` and `$$` in the values
//! of the file, as in the OpenTelemetry Collector.
//!
//! Sources: the Collector's `docs/rfcs/env-vars.md` and its `env` provider.
//! Expansion works on the scalars of the parsed YAML, not on its text and not
//! on keys. The rules:
//!
//! - A name is a letter or underscore followed by letters, digits and
//!   underscores, at most 200 in all. Any other name, and any scheme but `env`,
//!   is an error.
//! - A default applies only if the variable is unset, not if it is empty. An
//!   unset variable without a default expands to nothing, with a warning.
//! - References nest: names, defaults and the values of variables may contain
//!   references.
//! - `$$` is one dollar sign, also in the values of variables. A lone `$` and a
//!   `${` without its `}` stay as they are.
//! - A scalar that is a single reference takes the type of its key. A reference
//!   within other text makes a string. So do quotes around a reference if the
//!   key takes values of any type.

use super::env::Env;

/// References nested deeper than this are treated as a cycle.
const MAX_DEPTH: usize = 100;

/// Longest name of a variable, from the Collector's RFC.
const MAX_NAME: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Expanded {
    /// The text with references replaced and `$$` unescaped.
    pub(super) text: String,
    /// Whether the scalar was a single reference, so that its key decides its type.
    pub(super) whole: bool,
    /// Names of unset variables without a default.
    pub(super) unset: Vec<String>,
}

/// Expands one scalar. The error is a sentence about a malformed reference.
pub(super) fn expand(text: &str, env: &Env) -> Result<Expanded, String> {
    let mut unset = Vec::new();
    let (text, whole) = expand_nested(text, env, &mut unset, 0)?;
    Ok(Expanded { text, whole, unset })
}

/// Returns the expanded text, and whether `text` was a single reference.
fn expand_nested(
    text: &str,
    env: &Env,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<(String, bool), String> {
    if depth > MAX_DEPTH {
        return Err(format!(
            "found variables that refer to each other more than {MAX_DEPTH} deep, expected no circle"
        ));
    }
    let mut out = String::with_capacity(text.len());
    let mut whole = false;
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from_dollar) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from_dollar.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((reference, after)) = split_reference(from_dollar) {
            whole = before.is_empty() && after.is_empty() && rest.len() == text.len();
            out.push_str(&value_of(reference, env, unset, depth)?);
            rest = after;
        } else {
            out.push('$');
            rest = from_dollar.strip_prefix('$').unwrap_or_default();
        }
    }
    out.push_str(rest);
    Ok((out, whole))
}

/// Splits `${reference}rest` at the brace that closes the first reference,
/// skipping nested ones.
fn split_reference(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix("${")?;
    let mut depth = 1_usize;
    let mut previous = ' ';
    for (at, c) in inside.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let (reference, brace_on) = inside.split_at(at);
            return Some((reference, brace_on.strip_prefix('}')?));
        }
        previous = c;
    }
    None
}

/// Expands what is between the braces of a reference.
fn value_of(
    reference: &str,
    env: &Env,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let (name, _) = expand_nested(name, env, unset, depth + 1)?;
    let name = match name.split_once(':') {
        None => name.as_str(),
        Some(("env", name)) => name,
        Some((scheme, _)) => {
            return Err(format!(
                "found `${{{scheme}:...}}`, expected a reference of the form `${{env:NAME}}`; write `$$` for a dollar sign"
            ));
        }
    };
    if !is_name(name) {
        return Err(format!(
            "found the variable name `{name}` in `${{...}}`, expected letters, digits and underscores, not starting with a digit; \
             write `$$` for a dollar sign"
        ));
    }
    match (env.get(name), default) {
        (Some(value), _) => Ok(expand_nested(value, env, unset, depth + 1)?.0),
        (None, Some(default)) => Ok(expand_nested(default, env, unset, depth + 1)?.0),
        (None, None) => {
            unset.push(name.to_owned());
            Ok(String::new())
        }
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Env {
        [
            ("HOST", "collector"),
            ("PORT", "4317"),
            ("EMPTY", ""),
            ("NAME", "HOST"),
            ("NESTED", "${env:HOST}:${env:PORT}"),
            ("DOLLARS", "pa$$word$"),
            ("LOOP", "${env:POOL}"),
            ("POOL", "x${env:LOOP}"),
            ("_x1", "underscore"),
            ("COLONS", "a:-b"),
            ("OPEN", "${env:HOST"),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn references_are_replaced() {
        for (text, expected, whole) in [
            ("plain", "plain", false),
            ("", "", false),
            ("${env:HOST}", "collector", true),
            ("${HOST}", "collector", true),
            (
                "http://${env:HOST}:${env:PORT}/",
                "http://collector:4317/",
                false,
            ),
            ("${env:HOST}${env:PORT}", "collector4317", false),
            ("${env:PORT}0", "43170", false),
            ("${env:NONE:-fallback}", "fallback", true),
            ("${NONE:-fallback}", "fallback", true),
            ("${env:NONE:-}", "", true),
            ("${env:NONE:-a:-b}", "a:-b", true),
            ("${env:NONE:-http://h:1}", "http://h:1", true),
            ("${env:HOST:-fallback}", "collector", true),
            ("${env:EMPTY:-fallback}", "", true),
            ("${env:NONE:-${env:HOST}}", "collector", true),
            ("${env:NONE:-${env:NONE2:-x}-${env:PORT}}", "x-4317", true),
            ("${env:${env:NAME}}", "collector", true),
            ("${env:NESTED}", "collector:4317", true),
            ("${env:_x1}", "underscore", true),
            ("${env:COLONS}", "a:-b", true),
            ("$$", "$", false),
            ("$$$$", "$$", false),
            ("$${env:HOST}", "${env:HOST}", false),
            ("$$${env:HOST}", "$collector", false),
            ("$$$${env:HOST}", "$${env:HOST}", false),
            ("$${A} ${env:HOST}", "${A} collector", false),
            ("$HOST", "$HOST", false),
            ("a$", "a$", false),
            ("${env:HOST", "${env:HOST", false),
            ("$}{", "$}{", false),
            ("}${env:HOST}", "}collector", false),
            ("${env:HOST}}", "collector}", false),
            ("${env:NONE:-{a}}", "{a}", false),
            ("${env:DOLLARS}", "pa$word$", true),
            ("${env:OPEN}", "${env:HOST", true),
            ("ü${env:HOST}ü", "ücollectorü", false),
        ] {
            let expanded = expand(text, &env());
            let expected = Expanded {
                text: expected.into(),
                whole,
                unset: Vec::new(),
            };
            assert_eq!(expanded, Ok(expected), "{text}");
        }
    }

    #[test]
    fn unset_variables_are_empty_and_named() {
        let expanded = expand("a${env:NONE}b${NONE2}", &env()).unwrap();
        assert_eq!(expanded.text, "ab");
        assert_eq!(expanded.unset, ["NONE", "NONE2"]);
    }

    #[test]
    fn wrong_references_are_errors() {
        let name = |name: &str| {
            format!(
                "found the variable name `{name}` in `${{...}}`, expected letters, digits and underscores, not starting with a digit; \
                 write `$$` for a dollar sign"
            )
        };
        let long = "A".repeat(201);
        for (text, expected) in [
            ("${env:}", name("")),
            ("${}", name("")),
            ("${1}", name("1")),
            ("${env:a.b}", name("a.b")),
            ("${env:a b:-x}", name("a b")),
            ("${env:Ä}", name("Ä")),
            (&format!("${{env:{long}}}"), name(&long)),
            (
                "${file:/etc/passwd}",
                "found `${file:...}`, expected a reference of the form `${env:NAME}`; write `$$` for a dollar sign".into(),
            ),
            (
                "${env:LOOP}",
                "found variables that refer to each other more than 100 deep, expected no circle".into(),
            ),
        ] {
            assert_eq!(expand(text, &env()), Err(expected), "{text}");
        }
    }
}
