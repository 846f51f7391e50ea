//! Where spans go: the interface between making and delivering them.

use std::time::Instant;

use crate::event::MessageKey;
use crate::process::Process;
use crate::span::Span;

/// Takes spans on the capture thread, so it must never wait.
pub trait SpanSink {
    fn span(&mut self, process: &Process, span: &Span<'_>);

    /// Messages whose send found no room since the last call, so that its span
    /// will not exist.
    fn take_untold(&mut self) -> Vec<MessageKey> {
        Vec::new()
    }

    /// Called a few dozen times a second, for work that is due by time.
    fn tick(&mut self, now: Instant);

    /// Called after the last span.
    fn finish(&mut self);
}
