//! Lists of glob patterns, compiled.

use std::fmt;

use globset::{Error, Glob, GlobBuilder, GlobMatcher};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list of glob patterns in the syntax of the globset crate: `*`, `?`,
/// `[a-z]`, `[!a-z]`, `{a,b}` and `\` to escape.
///
/// `*` and `?` match slashes too. Two lists are equal if their patterns are.
///
/// The patterns are no `GlobSet`, which takes names for paths: `*.` does not
/// match `..` there, and does in the kernel, which has [`Self::regexes`].
#[derive(Clone, Default)]
pub struct Globs {
    patterns: Vec<String>,
    matchers: Vec<GlobMatcher>,
}

impl Globs {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The first pattern that is malformed, with the reason.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, Error> {
        let compiled = |pattern: &S| Ok(compile(pattern.as_ref())?.compile_matcher());
        Ok(Self {
            patterns: patterns.iter().map(|p| p.as_ref().to_owned()).collect(),
            matchers: patterns
                .iter()
                .map(compiled)
                .collect::<Result<_, Error>>()?,
        })
    }

    /// Whether there are no patterns. An empty list matches nothing, and a
    /// filter ignores it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns as regular expressions over bytes, each between `(?-u)^` and `$`.
    #[must_use]
    pub fn regexes(&self) -> Vec<String> {
        let globs = self.matchers.iter().map(GlobMatcher::glob);
        globs.map(|glob| glob.regex().to_owned()).collect()
    }

    /// The patterns without wildcards, with their index.
    pub(super) fn literals(&self) -> impl Iterator<Item = (usize, &str)> {
        let patterns = self.patterns.iter().map(String::as_str).enumerate();
        patterns.filter(|(_, pattern)| !pattern.contains(['*', '?', '[', '{', '\\']))
    }

    /// Whether any pattern matches the whole text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matchers.iter().any(|matcher| matcher.is_match(text))
    }

    /// The patterns as they were given.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// The index of the first pattern that matches the name of a queue, with or
    /// without its leading slash.
    #[must_use]
    pub fn first_of_queue(&self, name: &str) -> Option<usize> {
        let bare = name.strip_prefix('/');
        self.matchers.iter().position(|matcher| {
            matcher.is_match(name) || bare.is_some_and(|bare| matcher.is_match(bare))
        })
    }

    /// Whether any pattern matches the name of a queue, with or without its
    /// leading slash. So `orders*` and `/orders*` mean the same.
    #[must_use]
    pub fn matches_queue(&self, name: &str) -> bool {
        self.first_of_queue(name).is_some()
    }
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl fmt::Debug for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.patterns.fmt(f)
    }
}

impl Serialize for Globs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.patterns.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Globs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let patterns: Vec<Pattern> = Vec::deserialize(deserializer)?;
        Self::new(&patterns).map_err(D::Error::custom)
    }
}

/// A pattern that is known to compile.
struct Pattern(String);

impl AsRef<str> for Pattern {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer)?;
        if pattern.is_empty() {
            return Err(D::Error::custom(
                "found an empty pattern, which matches nothing, expected a glob such as `a*`",
            ));
        }
        match compile(&pattern) {
            Ok(_) => Ok(Self(pattern)),
            Err(error) => Err(D::Error::custom(format_args!(
                "found the malformed glob `{pattern}` ({}), expected a glob such as `a*`; write `\\[` or `\\{{` for the characters \
                 themselves",
                error.kind()
            ))),
        }
    }
}

fn compile(pattern: &str) -> Result<Glob, Error> {
    GlobBuilder::new(pattern)
        .literal_separator(false)
        .backslash_escape(true)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_match_with_and_without_the_slash() {
        for (pattern, name, expected) in [
            ("/orders", "/orders", true),
            ("orders", "/orders", true),
            ("/orders*", "/orders-eu", true),
            ("orders*", "/orders-eu", true),
            ("*", "/orders", true),
            ("/*", "/orders", true),
            ("{/a,b}", "/a", true),
            ("{/a,b}", "/b", true),
            ("[op]rders", "/orders", true),
            ("order?", "/orders", true),
            (r"\*", "/*", true),
            (r"\*", "/a", false),
            ("orders", "/orders2", false),
            ("/", "/orders", false),
            ("ORDERS", "/orders", false),
            ("*.", "/..", true),
            ("*.", "/.", true),
            ("*", "/", true),
        ] {
            let globs = Globs::new(&[pattern]).unwrap();
            assert_eq!(globs.matches_queue(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn lists() {
        let globs = Globs::new(&["a*", "b?"]).unwrap();
        assert!(globs.matches("abc") && globs.matches("b1") && !globs.matches("b"));
        assert_eq!(globs, Globs::new(&["a*", "b?"]).unwrap());
        assert_ne!(globs, Globs::default());
        assert!(!Globs::default().matches("") && Globs::default().is_empty());
        assert_eq!(format!("{globs:?}"), r#"["a*", "b?"]"#);
        assert!(Globs::new(&["a", "[z"]).is_err());
    }
}
