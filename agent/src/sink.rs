//! Where spans go: the interface between making and delivering them.

use std::time::Instant;

use crate::event::CallKey;
use crate::process::Process;
use crate::span::Span;

/// Takes spans on the capture thread, so it must never wait.
pub trait SpanSink {
    fn span(&mut self, process: &Process, span: &Span<'_>);

    /// Sets room aside for a span that others are about to name as their parent. It
    /// comes later, with [`Span::has_room`].
    fn reserve(&mut self, _process: &Process) -> bool {
        true
    }

    /// Calls that others may come of and that found no room since the last call,
    /// so that their spans will not exist.
    fn take_untold(&mut self) -> Vec<CallKey> {
        Vec::new()
    }

    /// Called a few dozen times a second, for work that is due by time.
    fn tick(&mut self, now: Instant);

    /// Called after the last span.
    fn finish(&mut self);
}
