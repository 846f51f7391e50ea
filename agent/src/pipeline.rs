//! Connects the stages: decode, correlate, enrich, and the sink for spans.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::balance::Decoded;
use crate::clock::{Anchors, Reading, Times};
use crate::config::Config;
use crate::event::{Call, CallKey, Event};
use crate::filter::NameFilter;
use crate::host::Host;
use crate::ids::Ids;
use crate::kernel::{CgroupVerdict, ContextChange, KernelFilter, PendingLosses};
use crate::metrics::QueueMetrics;
use crate::process::{Process, Processes};
use crate::processing::Processings;
use crate::sampling::whole::WholeTraces;
use crate::sampling::{Decision, Sampling};
use crate::sends::{CallRecord, Parent, Sends};
use crate::sink::SpanSink;
use crate::span::{Span, SpanSettings};

/// Call records taken from the ring buffer, by outcome.
#[derive(Debug, Default)]
pub struct PipelineCounts {
    pub spans: AtomicU64,
    /// Dropped by the part of the filter that the kernel leaves to the agent.
    pub filtered: AtomicU64,
    pub sampled_out: AtomicU64,
    /// Not sampled so far, but kept if the other end of the message is.
    pub undecided: AtomicU64,
    pub undecodable: AtomicU64,
    /// Rounds of the capture loop. Stands still when the pipeline does.
    pub rounds: AtomicU64,
}

impl PipelineCounts {
    pub fn decoded(&self) -> Decoded {
        Decoded {
            spans: self.spans.load(Ordering::Relaxed),
            filtered: self.filtered.load(Ordering::Relaxed),
            sampled_out: self.sampled_out.load(Ordering::Relaxed),
            undecided: self.undecided.load(Ordering::Relaxed),
            undecodable: self.undecodable.load(Ordering::Relaxed),
        }
    }

    /// Only the capture thread writes, so a load and a store suffice.
    fn add(counter: &AtomicU64, more: u64) {
        counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }
}

/// Settings that can change while the pipeline runs.
#[derive(Debug, Clone)]
pub struct PipelineSettings {
    pub span: SpanSettings,
    pub filter: NameFilter,
    pub sampling: Sampling,
    /// Every receive is seen, so that the kernel knows when a thread has waited for
    /// nothing else.
    pub sees_receives: bool,
}

impl PipelineSettings {
    pub fn new(config: &Config, host: &Host) -> Self {
        Self {
            span: SpanSettings::new(Ids::new(host.boot_seed()), config.traces.clone()),
            filter: NameFilter::new(&config.filter, &KernelFilter::new(&config.filter)),
            sampling: Sampling::of(config),
            sees_receives: config.capture.has_every_abi(),
        }
    }
}

/// Owns all state between ring buffer and sink.
pub struct Pipeline<'a, S> {
    settings: PipelineSettings,
    anchors: Anchors,
    processes: Processes,
    sink: S,
    counts: &'a PipelineCounts,
    metrics: Option<QueueMetrics>,
    losses: Arc<PendingLosses>,
    cgroup_verdicts: Vec<CgroupVerdict>,
    whole_traces: WholeTraces,
    sends: Sends,
    processings: Processings,
    /// Time at the end of the last round.
    now: Instant,
}

impl<'a, S: SpanSink> Pipeline<'a, S> {
    pub fn new(
        settings: PipelineSettings,
        processes: Processes,
        sink: S,
        counts: &'a PipelineCounts,
    ) -> Self {
        Self {
            settings,
            anchors: Anchors::new(Reading::now()),
            processes,
            sink,
            counts,
            metrics: None,
            losses: Arc::default(),
            cgroup_verdicts: Vec::new(),
            whole_traces: WholeTraces::default(),
            sends: Sends::default(),
            processings: Processings::default(),
            now: Instant::now(),
        }
    }

    /// Also counts in `metrics` every call that passes the filters, and the
    /// calls in `losses`, which did not get here.
    #[must_use]
    pub fn with_metrics(
        mut self,
        metrics: Option<QueueMetrics>,
        losses: Arc<PendingLosses>,
    ) -> Self {
        self.metrics = metrics;
        self.losses = losses;
        self.share_traces();
        self
    }

    /// Takes one record of the ring buffer.
    pub fn record(&mut self, bytes: &[u8]) {
        match Event::parse(bytes) {
            Ok(Event::Call(call)) => self.call(&call, bytes),
            Ok(Event::Process(process)) => {
                if let Some(process) = self.processes.seen(&process, &self.anchors) {
                    let verdict = cgroup_verdict(&self.settings.filter, &process);
                    self.cgroup_verdicts.extend(verdict);
                }
            }
            Ok(Event::Environment(environment)) => self.processes.environment(&environment),
            Ok(Event::Path(path)) => self.processes.path(&path),
            Err(error) => {
                tracing::trace!(%error, "undecodable record");
                PipelineCounts::add(&self.counts.undecodable, 1);
            }
        }
    }

    fn call(&mut self, call: &Call<'_>, record: &[u8]) {
        let process = self.processes.of_call(call, &self.anchors);
        if !self.settings.filter.wants(call, &process) {
            PipelineCounts::add(&self.counts.filtered, 1);
            self.is_untold(call);
            // It goes on with what has no span.
            if call.operation.is_receive() {
                self.processed_before(call);
            }
            return;
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.call(call);
        }
        let times = self.anchors.times(call.start_ns, call.end_ns);
        for lost in self.sink.take_untold() {
            self.lost_parent(lost);
        }
        self.processed_before(call);
        if call.takes_message() && self.follows_processing() {
            let oldest = self
                .processings
                .begin(self.now, call, record, &process, times);
            self.processed(oldest);
        }
        let parent = self.sends.parent(call);
        let (Parent::InDoubt, Some(cause)) = (parent, call.parent()) else {
            self.span(call, record, &process, times, parent);
            return;
        };
        let receive = CallRecord {
            key: call.key(),
            record: record.into(),
            process,
            times,
            has_parent: true,
            processed_ns: None,
        };
        let without_room = self.sends.hold(self.now, cause.call, receive);
        self.go_on(without_room, Parent::NotThere);
    }

    /// Notes that this call has no span.
    fn is_untold(&mut self, call: &Call<'_>) {
        if self.settings.span.can_have_children(call) {
            self.lost_parent(call.key());
        }
    }

    /// Notes that a call that others can be children of has no span, and releases
    /// the receive that waits for it.
    fn lost_parent(&mut self, call: CallKey) {
        self.sends.untold(call);
        let receive = self.sends.take_held(&call);
        self.go_on(receive, Parent::NotThere);
    }

    /// Makes the span of a receive that was held.
    fn go_on(&mut self, receive: Option<CallRecord>, parent: Parent) {
        if let Some(receive) = receive
            && let Ok(Event::Call(call)) = Event::parse(&receive.record)
        {
            let CallRecord {
                record,
                process,
                times,
                ..
            } = &receive;
            self.span(&call, record, process, *times, parent);
        }
    }

    fn span(
        &mut self,
        call: &Call<'_>,
        record: &[u8],
        process: &Arc<Process>,
        times: Times,
        parent: Parent,
    ) {
        let mut span = Span::new(call, &self.settings.span, times);
        if parent == Parent::NotThere {
            span.become_root();
        }
        let is_kept = self.is_kept(&mut span, record, process, times);
        if call.takes_message() {
            self.receive_becomes(&span, is_kept);
        }
        if is_kept {
            self.join_processing(&mut span, false);
            self.sink.span(process, &span);
            if let Some(metrics) = &mut self.metrics {
                metrics.exemplar(call, (span.trace_id, span.span_id));
            }
            PipelineCounts::add(&self.counts.spans, 1);
        } else {
            self.sampled_out(1, self.whole_traces.undecided());
        }
        if call.operation.is_send() && span.can_have_children {
            // If the send is sampled out, so is its trace, and the receive with
            // it.
            self.sends.told(call.key());
            let receive = self.sends.take_held(&call.key());
            self.go_on(receive, Parent::There);
        }
    }

    /// Counts `more` dropped spans. `undecided` of all dropped ones may still
    /// be kept. What counts as sampled out stays so, because the metric must
    /// only grow.
    fn sampled_out(&self, more: u64, undecided: usize) {
        let counts = self.counts;
        let undecided = undecided as u64;
        let before = counts.undecided.swap(undecided, Ordering::Relaxed);
        let decided = (before + more).saturating_sub(undecided);
        PipelineCounts::add(&counts.sampled_out, decided);
    }

    /// Whether the span is kept. With a slow or failed call, what was dropped of
    /// its trace before is sent after all.
    fn is_kept(
        &mut self,
        span: &mut Span<'_>,
        record: &[u8],
        process: &Arc<Process>,
        times: Times,
    ) -> bool {
        let sampling = &self.settings.sampling;
        let joins_sends = self.settings.span.traces.joins_sends();
        let call = span.call;
        if !self.settings.span.traces.empty_receives && call.is_empty_receive() {
            return false;
        }
        match sampling.decide(span) {
            Decision::Keep => {
                span.trace_state = sampling.trace_state(span);
                true
            }
            // Nothing else is in the trace, and nothing will be.
            Decision::KeepAlways if call.parent().is_none() && !span.can_have_children => true,
            Decision::Drop if !sampling.keeps_some(joins_sends) => false,
            Decision::Drop if !self.whole_traces.is_kept(call) => {
                if call.parent().is_some() || span.can_have_children {
                    let dropped = CallRecord {
                        key: call.key(),
                        record: record.into(),
                        process: Arc::clone(process),
                        times,
                        has_parent: span.parent_span_id.is_some(),
                        processed_ns: None,
                    };
                    self.whole_traces.drop_call(call.root(), dropped);
                }
                false
            }
            Decision::KeepAlways | Decision::Drop => {
                let kept = self.whole_traces.keep(call);
                self.send_all_after_all(&kept);
                let is_behind = call.sender.is_none_or(|sender| sender.is_behind());
                if is_behind && !kept.has_parent_of(call) {
                    span.become_root();
                }
                true
            }
        }
    }

    /// Call before the records of a round. What happens from now on is
    /// converted by the clock as it stands now.
    pub fn renew_clock(&mut self) {
        let reading = Reading::exact_now();
        if let Some(step_ns) = reading.and_then(|reading| self.anchors.renew(reading)) {
            let seconds = step_ns as f64 / 1e9;
            tracing::info!(seconds, "the clock was set");
        }
    }

    /// Call after the records of a round.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        while let Some(receive) = self.sends.take_due(Some(now)) {
            self.go_on(Some(receive), Parent::NotThere);
        }
        while let Some(due) = self.processings.take_due(now) {
            self.processed(Some(due));
        }
        self.sink.tick(now);
        self.processes.tick(now);
        if let Some(metrics) = &mut self.metrics {
            if let Some(queues) = self.losses.take_queues() {
                metrics.look_at(&queues);
            }
            metrics.add_lost(&self.losses.take());
            metrics.tick();
        }
        PipelineCounts::add(&self.counts.rounds, 1);
    }

    /// Call after the last record.
    pub fn finish(&mut self) {
        while let Some(receive) = self.sends.take_due(None) {
            self.go_on(Some(receive), Parent::NotThere);
        }
        self.end_processings();
        self.sampled_out(0, 0);
        self.sink.finish();
        if let Some(metrics) = &mut self.metrics {
            metrics.finish();
        }
    }

    /// Applies other settings from the next record on.
    pub fn set_settings(&mut self, settings: PipelineSettings) {
        self.end_processings();
        self.settings = settings;
        self.share_traces();
        let filter = &self.settings.filter;
        let known = self.processes.iter();
        self.cgroup_verdicts = known
            .filter_map(|known| cgroup_verdict(filter, known))
            .collect();
    }

    /// Metrics have the errors and templates of spans.
    fn share_traces(&mut self) {
        if let Some(metrics) = &mut self.metrics {
            metrics.set_traces(&self.settings.span.traces);
        }
    }

    /// Verdicts for the kernel's filter since the last call.
    pub fn take_cgroup_verdicts(&mut self) -> Vec<CgroupVerdict> {
        std::mem::take(&mut self.cgroup_verdicts)
    }

    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    pub fn processes_mut(&mut self) -> &mut Processes {
        &mut self.processes
    }

    /// What the kernel is to know of the contexts of processes.
    pub fn take_context_changes(&mut self) -> Vec<ContextChange> {
        self.processes.take_context_changes()
    }

    /// Processes that the kernel is to report again.
    pub fn take_forgotten(&mut self) -> Vec<u32> {
        self.processes.take_forgotten()
    }

    /// Returns the sink, for what its owner reads from it at the end.
    pub fn into_sink(self) -> S {
        self.sink
    }
}

fn cgroup_verdict(filter: &NameFilter, process: &Process) -> Option<CgroupVerdict> {
    Some(CgroupVerdict {
        cgroup_id: process.cgroup_id?,
        wanted: filter.wants_container(process)?,
    })
}

mod after_all;
mod process_spans;
#[cfg(test)]
mod tests;
