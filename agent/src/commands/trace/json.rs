//! One span per line, in OTLP's JSON encoding.

use std::io::Write;
use std::time::Instant;

use super::LineOutput;
use crate::encode::json::span_line;
use crate::process::Process;
use crate::sink::SpanSink;
use crate::span::Span;

pub(super) struct Lines<W> {
    out: LineOutput<W>,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out: LineOutput::new(out),
            line: Vec::new(),
        }
    }
}

impl<W: Write> SpanSink for Lines<W> {
    fn span(&mut self, process: &Process, span: &Span<'_>) {
        self.line.clear();
        match span_line(&mut self.line, &process.encoded, span) {
            Ok(()) => self.out.line(&self.line),
            Err(error) => tracing::error!(%error, "a span could not be written as JSON"),
        }
    }

    fn tick(&mut self, _now: Instant) {
        self.out.flush();
    }

    fn finish(&mut self) {
        self.out.flush();
    }
}
