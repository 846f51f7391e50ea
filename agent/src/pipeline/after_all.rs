//! Spans that were dropped, and are sent because another one of their trace is
//! kept.

use std::sync::atomic::Ordering;

use super::{Pipeline, PipelineCounts};
use crate::event::{Call, Event};
use crate::sampling::whole::Kept;
use crate::sends::CallRecord;
use crate::sink::SpanSink;
use crate::span::Span;

impl<S: SpanSink> Pipeline<'_, S> {
    pub(super) fn send_all_after_all(&mut self, kept: &Kept) {
        let traces = &self.settings.span.traces;
        // Those of processing come after the spans that name them as their parents.
        let has_room = traces.process_spans
            && kept
                .after_all
                .iter()
                .filter(|dropped| dropped.processed_ns.is_some())
                .all(|dropped| self.sink.reserve(&dropped.process));
        for dropped in &kept.after_all {
            let Ok(Event::Call(call)) = Event::parse(&dropped.record) else {
                continue;
            };
            match dropped.processed_ns {
                None => self.send_after_all(dropped, &call, kept, has_room),
                Some(_) if !has_room => {}
                Some(end_ns) => self.process_span_after_all(dropped, &call, kept, end_ns),
            }
        }
    }

    fn send_after_all(
        &mut self,
        dropped: &CallRecord,
        call: &Call<'_>,
        kept: &Kept,
        has_room: bool,
    ) {
        let mut span = Span::new(call, &self.settings.span, dropped.times);
        if !dropped.has_parent || !kept.has_parent_of(call) {
            span.become_root();
        }
        if call.takes_message() {
            self.receive_becomes(&span, true);
        }
        let is_there = |cause| has_room && kept.has_processing_of(cause);
        let joins = call
            .proven_cause()
            .is_some_and(|cause| is_there(cause.call));
        self.join_processing(&mut span, joins);
        self.sink.span(&dropped.process, &span);
        if let Some(metrics) = &mut self.metrics {
            metrics.exemplar(call, (span.trace_id, span.span_id));
        }
        let undecided = self.whole_traces.undecided() as u64;
        self.counts.undecided.store(undecided, Ordering::Relaxed);
        PipelineCounts::add(&self.counts.spans, 1);
    }
}
