//! Glob patterns as a table that the kernel walks along a name, byte by byte.
//!
//! globset turns the patterns into regular expressions, and these become one
//! deterministic automaton, so that a pattern means the same to kernel and
//! agent. Each byte of a name selects a column, which leads from the current
//! row to the next. At the end of the name the column `end` holds the verdict.
//! A name costs two loads per byte, whatever the number of patterns.

use std::collections::HashMap;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::{primitives::StateID, start, syntax};
use regex_automata::{Anchored, MatchKind};

use crate::config::Globs;
use crate::skel::types::{self, name_table};

/// Cells of a table, `NAME_CELLS` of `bpf/maps.bpf.h`.
const CELLS: usize = 32_768;

/// Bytes that the automaton may take while it is built. One that takes more has
/// too many states for the table anyway.
const SIZE_LIMIT: usize = 1 << 22;

#[derive(Clone, PartialEq, Eq)]
pub struct NameTable {
    /// The column of each byte.
    columns: [u8; 256],
    /// The column that holds the verdict.
    end: u16,
    /// Row by row, the index of the next state's first cell. A name begins in
    /// the first row.
    cells: Vec<u16>,
}

impl std::fmt::Debug for NameTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NameTable of {} cells", self.cells.len())
    }
}

impl NameTable {
    /// Wants names that match a pattern of `include`, or all if it is empty,
    /// and none of `exclude`. `None` if the table would be too large.
    pub fn new(include: &Globs, exclude: &Globs) -> Option<Self> {
        Self::build(&include.regexes(), &exclude.regexes())
    }

    /// Like [`Self::new`], for names that begin with a slash, which a pattern
    /// may leave out.
    pub fn of_queues(include: &Globs, exclude: &Globs) -> Option<Self> {
        let optional_slash = |globs: &Globs| -> Option<Vec<String>> {
            let mut both = globs.regexes();
            for regex in globs.regexes() {
                let bare = regex.strip_prefix("(?-u)^")?;
                both.push(format!("(?-u)^/{bare}"));
            }
            Some(both)
        };
        Self::build(&optional_slash(include)?, &optional_slash(exclude)?)
    }

    fn build(include: &[String], exclude: &[String]) -> Option<Self> {
        let regexes: Vec<&String> = include.iter().chain(exclude).collect();
        let automaton = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .match_kind(MatchKind::All)
                    .start_kind(StartKind::Anchored)
                    .dfa_size_limit(Some(SIZE_LIMIT))
                    .determinize_size_limit(Some(SIZE_LIMIT)),
            )
            // The same options as in globset.
            .syntax(syntax::Config::new().utf8(false).dot_matches_new_line(true))
            .thompson(thompson::Config::new().utf8(false))
            .build_many(&regexes)
            .ok()?;
        let wanted = |state: StateID| {
            let end = automaton.next_eoi_state(state);
            let patterns = if automaton.is_match_state(end) {
                automaton.match_len(end)
            } else {
                0
            };
            let mut included = include.is_empty();
            for at in 0..patterns {
                if automaton.match_pattern(end, at).as_usize() < include.len() {
                    included = true;
                } else {
                    return false;
                }
            }
            included
        };
        let begin = automaton
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .ok()?;
        let classes = automaton.byte_classes();
        let width = classes.alphabet_len();
        // One byte of each class, in the order of the classes.
        let bytes: Vec<u8> = classes
            .representatives(..)
            .filter_map(regex_automata::util::alphabet::Unit::as_u8)
            .collect();

        let mut states = vec![begin];
        let mut numbers = HashMap::from([(begin, 0_usize)]);
        let mut cells = Vec::new();
        let mut at = 0;
        while let Some(&state) = states.get(at) {
            for &byte in &bytes {
                let next = automaton.next_state(state, byte);
                let number = *numbers.entry(next).or_insert_with(|| {
                    states.push(next);
                    states.len() - 1
                });
                cells.push(u16::try_from(number * width).ok()?);
            }
            let verdict = if wanted(state) {
                types::verdict::WANTED
            } else {
                types::verdict::UNWANTED
            };
            cells.push(u16::try_from(verdict.0).ok()?);
            if cells.len() > CELLS {
                return None;
            }
            at += 1;
        }
        let mut columns = [0; 256];
        for (byte, column) in (0..=u8::MAX).zip(&mut columns) {
            *column = classes.get(byte);
        }
        Some(Self {
            columns,
            end: u16::try_from(bytes.len()).ok()?,
            cells,
        })
    }

    /// Writes the table to where the kernel reads it.
    pub(super) fn store(&self, to: &mut name_table) {
        to.column = self.columns;
        to.end = self.end;
        for (to, cell) in to.cells.iter_mut().zip(&self.cells) {
            *to = *cell;
        }
    }

    /// The kernel's verdict on a name.
    #[cfg(test)]
    fn wants(&self, name: &[u8]) -> bool {
        let mut at = 0;
        for byte in name {
            at = usize::from(self.cells[at + usize::from(self.columns[usize::from(*byte)])]);
        }
        u32::from(self.cells[at + usize::from(self.end)]) == types::verdict::WANTED.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(patterns).unwrap()
    }

    #[test]
    fn includes_and_excludes() {
        let table = NameTable::new(&globs(&["a*", "b"]), &globs(&["ab*"])).unwrap();
        for (name, wanted) in [
            ("a", true),
            ("ax", true),
            ("ab", false),
            ("abc", false),
            ("b", true),
            ("bb", false),
            ("", false),
        ] {
            assert_eq!(table.wants(name.as_bytes()), wanted, "{name}");
        }
        let none = NameTable::new(&globs(&[]), &globs(&["*x*"])).unwrap();
        assert!(none.wants(b"") && none.wants(b"a\nb\xff") && !none.wants(b"\xffx\n"));
    }

    #[test]
    fn a_slash_may_be_left_out() {
        let include = globs(&["orders*", "/log", "?sh"]);
        let table = NameTable::of_queues(&include, &globs(&["/orders.test"])).unwrap();
        for (name, wanted) in [
            ("/orders", true),
            ("/orders.eu", true),
            ("/orders.test", false),
            ("/log", true),
            ("/logs", false),
            ("/ash", true),
            ("/sh", true),
        ] {
            assert_eq!(table.wants(name.as_bytes()), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_too_large_is_left_to_the_agent() {
        // One state for each subset of the last 16 bytes that are an a.
        assert_eq!(
            NameTable::new(&globs(&["*a???????????????"]), &globs(&[])),
            None
        );
        let many: Vec<String> = (0..200).map(|n| format!("queue-{n}-*")).collect();
        let many = Globs::new(&many).unwrap();
        assert!(NameTable::of_queues(&many, &globs(&[])).is_some());
    }

    proptest! {
        /// Kernel and agent mean the same by a pattern.
        #[test]
        fn as_globset_has_it(
            include in prop::collection::vec(r"[ab/?*.\[\]{},!^-]{0,6}", 0..3),
            exclude in prop::collection::vec(r"[ab/?*]{1,4}", 0..3),
            names in prop::collection::vec(r"/?[ab./\n-]{0,6}", 1..20),
        ) {
            let (Ok(include), Ok(exclude)) = (Globs::new(&include), Globs::new(&exclude)) else {
                return Ok(());
            };
            let comms = NameTable::new(&include, &exclude);
            let queues = NameTable::of_queues(&include, &exclude);
            for name in names {
                let wanted = (include.is_empty() || include.matches(&name)) && !exclude.matches(&name);
                if let Some(table) = &comms {
                    prop_assert_eq!(table.wants(name.as_bytes()), wanted, "{}", name);
                }
                let queue = format!("/{name}");
                let wanted = (include.is_empty() || include.matches_queue(&queue))
                    && !exclude.matches_queue(&queue);
                if let Some(table) = &queues {
                    prop_assert_eq!(table.wants(queue.as_bytes()), wanted, "{}", queue);
                }
            }
        }
    }
}
