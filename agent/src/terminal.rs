//! What a terminal supports.

use std::io::IsTerminal;

/// Whether output may have colours: on a terminal, unless `NO_COLOR` is set
/// (no-color.org) or `TERM` says that it has none.
pub(crate) fn takes_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}
