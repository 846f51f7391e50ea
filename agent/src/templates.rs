//! Queues that share one name in span names and metrics:
//! `traces.destination_templates`.

use std::sync::Arc;

use crate::config::Globs;

/// The templates, in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Templates {
    globs: Globs,
    /// The patterns, each with a leading slash.
    names: Vec<Arc<str>>,
}

impl Templates {
    pub fn new(globs: &Globs) -> Self {
        let with_slash = |pattern: &String| {
            let slash = if pattern.starts_with('/') { "" } else { "/" };
            Arc::from(format!("{slash}{pattern}"))
        };
        Self {
            globs: globs.clone(),
            names: globs.patterns().iter().map(with_slash).collect(),
        }
    }

    /// The first template that matches a queue's name.
    #[inline]
    pub fn of_queue(&self, name: &str) -> Option<Arc<str>> {
        if self.names.is_empty() {
            return None;
        }
        let at = self.globs.first_of_queue(name)?;
        self.names.get(at).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_matches_counts_and_has_a_slash() {
        let globs = Globs::new(&["reply-[0-9]*", "/reply-*", "*-tmp"]).unwrap();
        let templates = Templates::new(&globs);
        for (name, template) in [
            ("/reply-17", Some("/reply-[0-9]*")),
            ("/reply-x", Some("/reply-*")),
            ("/a-tmp", Some("/*-tmp")),
            ("/orders", None),
            ("/", None),
        ] {
            assert_eq!(templates.of_queue(name).as_deref(), template, "{name}");
        }
        assert_eq!(Templates::default().of_queue("/reply-1"), None);
    }
}
