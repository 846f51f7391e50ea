//! Spans and durations of what threads do with the messages they take.
//!
//! A send names the span of the processing that it is part of as its parent, and
//! that span comes later. So it is promised at the first such send: then it has
//! room at the sink, and is exported whatever happens to its trace. A send to
//! which it cannot be promised is the child of the receive.

use super::Pipeline;
use crate::event::{Call, Event};
use crate::processing::{Processing, ReceiveSpan};
use crate::sampling::whole::Kept;
use crate::sends::CallRecord;
use crate::sink::SpanSink;
use crate::span::Span;

impl<S: SpanSink> Pipeline<'_, S> {
    pub(super) fn follows_processing(&self) -> bool {
        let is_wanted = self.metrics.is_some() || self.settings.span.traces.process_spans;
        is_wanted && self.settings.sees_receives
    }

    /// Tells what this call of the same thread puts an end to.
    pub(super) fn processed_before(&mut self, call: &Call<'_>) {
        let ended = self.processings.next_call(self.now, call);
        self.processed(ended);
    }

    /// Follows no thread any longer.
    pub(super) fn end_processings(&mut self) {
        for processing in self.processings.take_all() {
            self.processed(Some(processing));
        }
    }

    pub(super) fn processed(&mut self, processing: Option<Processing>) {
        let Some(processing) = processing else {
            return;
        };
        if let Ok(Event::Call(receive)) = Event::parse(&processing.record) {
            if let Some(metrics) = &mut self.metrics {
                metrics.processed(&receive, processing.end_ns);
            }
            if self.settings.span.traces.process_spans {
                self.process_span(&receive, &processing);
            }
        }
        self.processings.give_back(processing.record);
    }

    fn process_span(&mut self, receive: &Call<'_>, processing: &Processing) {
        let settings = &self.settings;
        let (times, end_ns) = (processing.times, processing.end_ns);
        let mut span = Span::of_processing(receive, &settings.span, times, end_ns);
        let (has_sender, has_receive) = match processing.receive_span {
            ReceiveSpan::Exported { is_child } => (is_child, true),
            ReceiveSpan::Held | ReceiveSpan::Dropped { .. } => (false, false),
        };
        if settings.sampling.keeps(&span) {
            span.trace_state = settings.sampling.trace_state(&span);
        } else if !processing.is_promised && !has_receive && !self.whole_traces.is_kept(receive) {
            let joins_sends = settings.span.traces.joins_sends();
            let has_others = receive.parent().is_some() || settings.span.can_have_children(receive);
            if has_others && settings.sampling.keeps_some(joins_sends) {
                let dropped = CallRecord {
                    key: receive.key(),
                    record: processing.record.as_slice().into(),
                    process: processing.process.clone(),
                    times,
                    has_parent: processing.receive_span == ReceiveSpan::Dropped { is_child: true },
                    processed_ns: Some(end_ns),
                };
                self.whole_traces.drop_call(receive.root(), dropped);
            }
            return;
        }
        self.set_parent(&mut span, has_sender, has_receive);
        span.has_room = processing.is_promised;
        self.sink.span(&processing.process, &span);
        self.process_exemplar(receive, end_ns, &span);
    }

    pub(super) fn process_span_after_all(
        &mut self,
        dropped: &CallRecord,
        receive: &Call<'_>,
        kept: &Kept,
        end_ns: u64,
    ) {
        let mut span = Span::of_processing(receive, &self.settings.span, dropped.times, end_ns);
        let has_sender = dropped.has_parent && kept.has_parent_of(receive);
        self.set_parent(&mut span, has_sender, kept.has(receive.key()));
        span.has_room = true;
        self.sink.span(&dropped.process, &span);
        self.process_exemplar(receive, end_ns, &span);
    }

    fn process_exemplar(&mut self, receive: &Call<'_>, end_ns: u64, span: &Span<'_>) {
        if let Some(metrics) = &mut self.metrics {
            metrics.process_exemplar(receive, end_ns, (span.trace_id, span.span_id));
        }
    }

    /// The parent is the send of the message or, without its span, the receive.
    fn set_parent(&self, span: &mut Span<'_>, has_sender: bool, has_receive: bool) {
        let ids = &self.settings.span.ids;
        let receive = span.call.key();
        let send = span.call.parent().map(|cause| cause.call);
        let send = send.filter(|send| has_sender && !self.sends.is_untold(*send));
        let of_receive = has_receive && !self.sends.is_untold(receive);
        span.parent_is_remote = send.is_some();
        let parent = send.or(of_receive.then_some(receive));
        span.parent_span_id = parent.map(|call| ids.span_id(call));
    }

    /// Notes what became of the span of a receive that took a message.
    pub(super) fn receive_becomes(&mut self, span: &Span<'_>, is_exported: bool) {
        let is_child = span.parent_span_id.is_some();
        let became = if is_exported {
            ReceiveSpan::Exported { is_child }
        } else {
            ReceiveSpan::Dropped { is_child }
        };
        self.processings.set_receive_span(span.call.key(), became);
    }

    /// Makes the span of a send, which is to be exported, the child of that of the
    /// processing that it is part of, if that is exported, too. `is_there`: this is
    /// known.
    pub(super) fn join_processing(&mut self, span: &mut Span<'_>, is_there: bool) {
        if !self.settings.span.traces.process_spans {
            return;
        }
        let Some(cause) = span.call.proven_cause() else {
            return;
        };
        let (processings, sink) = (&mut self.processings, &mut self.sink);
        if is_there || processings.promise(cause.call, |process| sink.reserve(process)) {
            span.parent_span_id = Some(self.settings.span.ids.process_id(cause.call));
        }
    }
}

#[cfg(test)]
mod tests;
