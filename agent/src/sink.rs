//! Where spans go: the seam between making and delivering them.

use std::time::Instant;

use crate::event::MessageKey;
use crate::process::Process;
use crate::span::Span;

/// Takes spans on the capture thread, so it must never wait.
pub trait SpanSink {
    /// One span of a process.
    fn span(&mut self, process: &Process, span: &Span<'_>);

    /// Messages whose send has found no room since the last call: its span will
    /// not be there.
    fn take_untold(&mut self) -> Vec<MessageKey> {
        Vec::new()
    }

    /// Called a few dozen times a second, for what is due by time.
    fn tick(&mut self, now: Instant);

    /// The last spans have come.
    fn finish(&mut self);
}
