//! Configuration errors. Each names the place and says how to fix it.

use std::fmt;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read {
        /// As the user named it.
        path: PathBuf,
        source: io::Error,
    },
    /// The file is not one YAML document with a mapping at its root.
    #[error("{}:{line}:{column}: invalid YAML: {message}", path.display())]
    Syntax {
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column in characters, counted from 1.
        column: usize,
        message: String,
    },
    /// All wrong keys and values that were found, at least one.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// One wrong key or value. Displays as `place: key: message`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where the key was set: `FILE:LINE:COLUMN`, the name of a variable or a
    /// flag; `None` for a default.
    pub place: Option<String>,
    /// The key path, for example `exporters.otlp.endpoint`.
    pub key: String,
    /// What was found and what was expected instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.key, self.message)
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Joins segments to a key path such as `filter.include.pids[0]`.
///
/// A segment that is not a plain name is put in brackets and quotes, so that
/// the dots of an attribute name do not look like levels.
pub(super) fn key_path<S: AsRef<str>>(segments: &[S]) -> String {
    let mut out = String::new();
    for segment in segments {
        let segment = segment.as_ref();
        let is_name = !segment.is_empty()
            && segment
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if segment.bytes().all(|b| b.is_ascii_digit()) && !segment.is_empty() {
            out.push_str(&format!("[{segment}]"));
        } else if !is_name {
            out.push_str(&format!("[{segment:?}]"));
        } else if out.is_empty() {
            out.push_str(segment);
        } else {
            out.push('.');
            out.push_str(segment);
        }
    }
    out
}

/// `one of ...` the names, with a suggestion if `found` looks like a typo.
pub(super) fn expected_one_of<S: AsRef<str>>(found: &str, names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    let mut out = format!("expected one of {}", quoted.join(", "));
    if let Some(name) = closest(found, names) {
        out.push_str(&format!("; did you mean `{name}`?"));
    }
    out
}

/// The name closest to `found` if it is close enough for a typo: at most a
/// third of its letters differ.
pub(super) fn closest<'a, S: AsRef<str>>(found: &str, names: &'a [S]) -> Option<&'a str> {
    let found = found.to_lowercase();
    names
        .iter()
        .map(|name| {
            let name = name.as_ref();
            let distance = strsim::damerau_levenshtein(&found, &name.to_lowercase());
            (distance, name)
        })
        .filter(|(distance, name)| *distance <= name.chars().count().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
