//! What can be wrong with a configuration, in words that name the place and the mend.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or cannot be read.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not one YAML document with a mapping at its root.
    #[error("{}:{line}:{column}: invalid YAML: {message}", path.display())]
    Syntax {
        /// The file as it was named.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column in characters, counted from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// Keys or values are wrong; all that were found, at least one.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// One wrong key or value. Displays as `place: key: message`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it was set: `FILE:LINE:COLUMN`, the name of a variable or a flag; `None` for a default.
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

/// A key path such as `filter.include.pids[0]`, of segments from the root.
///
/// A segment that is no plain name stands in brackets and quotes, so that the dots of an attribute name are not taken for levels.
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

/// `one of ...` the names, and the closest one if `found` looks like a slip of it.
pub(super) fn expected_one_of<S: AsRef<str>>(found: &str, names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    let mut out = format!("expected one of {}", quoted.join(", "));
    if let Some(name) = closest(found, names) {
        out.push_str(&format!("; did you mean `{name}`?"));
    }
    out
}

/// The name nearest to `found`, if it is near enough to be a slip: at most a third of its letters differ.
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
