//! Colours of `mqspan trace`.

use crate::cli::ColorChoice;
use crate::span::Span;
use crate::terminal::takes_colours;

/// Whether to use colours. The text says everything that the colours say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colours(pub(super) bool);

impl Colours {
    pub(super) fn new(choice: ColorChoice) -> Self {
        Self(match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => takes_colours(&std::io::stdout()),
        })
    }

    fn sequence(self, sequence: &'static str) -> &'static str {
        if self.0 { sequence } else { "" }
    }

    pub(super) fn plain(self) -> &'static str {
        self.sequence("\x1b[0m")
    }

    pub(super) fn dim(self) -> &'static str {
        self.sequence("\x1b[2m")
    }

    pub(super) fn of_journey(self) -> &'static str {
        self.sequence("\x1b[36m")
    }

    /// Red if the span is an error, yellow for an expected failure (a timeout),
    /// else green.
    pub(super) fn of_outcome(self, span: &Span<'_>) -> &'static str {
        self.sequence(if span.is_error {
            "\x1b[31m"
        } else if span.call.ret < 0 {
            "\x1b[33m"
        } else {
            "\x1b[32m"
        })
    }
}
