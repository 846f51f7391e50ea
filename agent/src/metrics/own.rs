//! What the agent counts of itself, as metrics.
//!
//! Names of `otel.sdk.*` and their attributes are those of "Semantic
//! conventions for OpenTelemetry SDK metrics" (`docs/otel/sdk-metrics.md`).

use std::fs;
use std::time::Duration;

use super::family::{Family, Kind, Label, Labels, Number};
use crate::balance::Balance;
use crate::export::Sink;
use crate::export::counters::{LossReason, Snapshot};
use crate::export::queue::Level;
use crate::kernel::ProbeStats;
use crate::owner::{LostByOwner, Owner, Tenant};
use crate::process::LookupLosses;

/// What can be lost before spans reach a sink, by the names in [`Balance`].
const EARLY_LOSSES: [&str; 6] = [
    "ring_full",
    "in_flight_full",
    "entry_missed",
    "return_missed",
    "undecodable",
    "shutdown",
];

/// One kind of destination of spans. A reload can exchange the exporter; what
/// the old ones counted is in the sums.
#[derive(Debug, Clone)]
pub struct SinkState {
    /// `otel.component.type` of the exporter.
    pub exporter: &'static str,
    /// What became of its spans.
    pub counters: Snapshot,
    /// What waits.
    pub queue: Level,
}

impl SinkState {
    /// Of sinks of one kind, of which the last is the one in use; `None`
    /// without any.
    pub fn read<'a>(
        exporter: &'static str,
        sinks: impl IntoIterator<Item = &'a Sink>,
    ) -> Option<Self> {
        let mut sum: Option<Self> = None;
        for sink in sinks {
            let queue = sink.queue();
            let sum = sum.get_or_insert_with(|| Self {
                exporter,
                counters: Snapshot::default(),
                queue: Level::default(),
            });
            sum.counters.add(&sink.counters());
            sum.queue = Level {
                bytes: sum.queue.bytes + queue.bytes,
                spans: sum.queue.spans + queue.spans,
                capacity_bytes: queue.capacity_bytes,
            };
        }
        sum
    }
}

/// What the operating system says of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessState {
    /// User and system time of all threads.
    pub cpu_time: Duration,
    /// Resident memory.
    pub memory_bytes: u64,
}

impl ProcessState {
    /// From the clock of the process and `/proc/self/statm`.
    pub fn read() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let resident_pages = fs::read_to_string("/proc/self/statm")
            .ok()
            .and_then(|statm| statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
            .unwrap_or(0);
        Self {
            cpu_time: Duration::try_from(cpu).unwrap_or_default(),
            memory_bytes: resident_pages * rustix::param::page_size() as u64,
        }
    }
}

/// All that the agent's own metrics are made from.
#[derive(Debug, Clone, Default)]
pub struct OwnState {
    /// What became of the calls.
    pub balance: Balance,
    /// The programs in the kernel.
    pub probes: Vec<ProbeStats>,
    /// Returns that found no instance of a return probe, where one can tell.
    pub missed_returns: Option<u64>,
    /// Messages whose sender found no room to be remembered.
    pub messages_lost: u64,
    /// Children of filtered processes that found no room to be judged like them.
    pub children_lost: u64,
    /// Processes that the kernel had no room to announce.
    pub processes_lost: u64,
    /// Whose calls were lost.
    pub owners: Vec<LostByOwner>,
    /// Look-ups in `/proc` that came to nothing.
    pub lookups: LookupLosses,
    /// Lines of the agent's log that were not written.
    pub log_lines_lost: u64,
    /// Defects that showed.
    pub panics: u64,
    /// Destinations of spans.
    pub sinks: Vec<SinkState>,
    /// This process.
    pub process: ProcessState,
}

/// The metrics of the agent.
pub fn own_families(state: &OwnState) -> Vec<Family> {
    let mut families = Vec::from(calls(&state.balance));
    families.extend(probes(state));
    families.push(owners(&state.owners));
    families.push(identities(state));
    families.extend(troubles(state));
    families.extend(sinks(&state.sinks));
    families.extend(deliveries(&state.sinks));
    families.push(
        Family::new(
            "mqspan.process.cpu_time",
            Kind::Counter,
            "s",
            "CPU time of the agent, user and system.",
        )
        .with(
            Labels::new(),
            Number::Double(state.process.cpu_time.as_secs_f64()),
        ),
    );
    families.push(
        Family::new(
            "mqspan.process.memory",
            Kind::UpDownCounter,
            "By",
            "Resident memory of the agent.",
        )
        .with(Labels::new(), Number::Count(state.process.memory_bytes)),
    );
    families
}

/// The sum of all points is the number of calls seen.
fn calls(balance: &Balance) -> [Family; 2] {
    let mut calls = Family::new(
        "mqspan.calls",
        Kind::Counter,
        "{call}",
        "Calls by what became of them; with those that are pending they add up to the calls seen.",
    );
    for (outcome, count) in [
        ("exported", balance.exported),
        ("filtered", balance.filtered),
        ("sampled_out", balance.sampled_out),
        ("rejected", balance.rejected),
    ] {
        calls.count(vec![("outcome", Label::Static(outcome))], count);
    }
    // Zeros too: what Prometheus' increase() sees of a series begins with its
    // second sample.
    let known = EARLY_LOSSES.into_iter().chain(LossReason::NAMES);
    let zeros = known.map(|reason| (reason, 0));
    let mut lost: Vec<(&'static str, u64)> = zeros.collect();
    for (reason, count) in &balance.lost {
        match lost.iter_mut().find(|(known, _)| known == reason) {
            Some((_, sum)) => *sum += count,
            None => lost.push((reason, *count)),
        }
    }
    for (reason, count) in lost {
        let labels = vec![
            ("outcome", Label::Static("lost")),
            ("reason", Label::Static(reason)),
        ];
        calls.count(labels, count);
    }
    let pending = Family::new(
        "mqspan.call.pending",
        Kind::UpDownCounter,
        "{call}",
        "Calls that have not returned, sends that sampling has yet to decide on, and spans on their way.",
    );
    let pending = pending.with(Labels::new(), Number::Count(balance.pending));
    [calls, pending]
}

fn probes(state: &OwnState) -> [Family; 3] {
    let mut missed = Family::new(
        "mqspan.probe.missed",
        Kind::Counter,
        "{run}",
        "Runs of a program that the kernel left out: it ran on that CPU already, or no \
         instance of a return probe was free.",
    );
    let mut run_time = Family::new(
        "mqspan.probe.run_time",
        Kind::Counter,
        "s",
        "Time spent in a program, while kernel.bpf_stats_enabled is on.",
    );
    let mut run_count = Family::new(
        "mqspan.probe.run_count",
        Kind::Counter,
        "{run}",
        "Runs of a program, while kernel.bpf_stats_enabled is on.",
    );
    for probe in &state.probes {
        let labels = vec![
            ("mqspan.probe.program", Label::Text(probe.program.clone())),
            ("mqspan.probe.symbol", Label::Text(probe.symbol.clone())),
        ];
        missed.count(labels.clone(), probe.missed);
        if let Some(runs) = probe.runs {
            run_time.push(labels.clone(), Number::Double(runs.time.as_secs_f64()));
            run_count.count(labels, runs.count);
        }
    }
    if let Some(returns) = state.missed_returns {
        let all = ("mqspan.probe.program", Label::Static("kretprobes"));
        missed.count(vec![all], returns);
    }
    [missed, run_time, run_count]
}

/// Whose calls were lost for want of room.
fn owners(lost: &[LostByOwner]) -> Family {
    let mut family = Family::new(
        "mqspan.owner.lost_calls",
        Kind::Counter,
        "{call}",
        "Calls lost for want of room, by whose they were: a user, and the container where there \
         is one. They are among mqspan.calls.",
    );
    for LostByOwner {
        owner,
        container,
        reason,
        calls,
    } in lost
    {
        let mut labels = vec![("reason", Label::Static(reason.name()))];
        match owner {
            None => labels.push(("otel.metric.overflow", Label::Bool(true))),
            Some(owner) => {
                if owner.user != Owner::ANY_USER {
                    labels.push(("process.user.id", Label::Int(owner.user.into())));
                }
                match (owner.tenant, container) {
                    (_, Some(name)) => labels.push(("container.id", Label::Text(name.clone()))),
                    (Tenant::Host, None) => {}
                    (Tenant::Container(id), None) => {
                        labels.push(("mqspan.owner.cgroup", Label::Int(id.cast_signed())));
                    }
                    (Tenant::PidNamespace(id) | Tenant::UserNamespace(id), None) => {
                        labels.push(("mqspan.owner.namespace", Label::Int(id.cast_signed())));
                    }
                }
            }
        }
        family.count(labels, *calls);
    }
    family
}

/// What is lost of spans that are not.
fn identities(state: &OwnState) -> Family {
    let mut lost = Family::new(
        "mqspan.identities.lost",
        Kind::Counter,
        "{identity}",
        "What found no room: a message's sender, whose receive then has no parent; a child of \
         a process that filter.include.pids or filter.exclude.pids names, which is then judged as \
         if they did not; what the kernel knows of a process; and what /proc would have added of a process, whose files \
         there took too long to read, or were too many to read at a time.",
    );
    for (of, count) in [
        ("message", state.messages_lost),
        ("child", state.children_lost),
        ("process", state.processes_lost),
        ("proc_given_up", state.lookups.given_up()),
        ("proc_left_out", state.lookups.left_out()),
    ] {
        lost.count(vec![("of", Label::Static(of))], count);
    }
    lost
}

/// What is wrong with the agent itself.
fn troubles(state: &OwnState) -> [Family; 2] {
    let mut lines = Family::new(
        "mqspan.log.lost",
        Kind::Counter,
        "{line}",
        "Lines of the agent's log that were not written: standard error takes none, or not as many.",
    );
    lines.count(Labels::new(), state.log_lines_lost);
    let mut panics = Family::new(
        "mqspan.panic.count",
        Kind::Counter,
        "{panic}",
        "Panics of the agent, each of which is a defect. It stops after the first.",
    );
    panics.count(Labels::new(), state.panics);
    [lines, panics]
}

fn component(kind: &'static str) -> Labels {
    vec![
        ("otel.component.type", Label::Static(kind)),
        (
            "otel.component.name",
            Label::Text(format!("{kind}/0").into()),
        ),
    ]
}

fn sinks(sinks: &[SinkState]) -> [Family; 5] {
    let mut exported = Family::new(
        "otel.sdk.exporter.span.exported",
        Kind::Counter,
        "{span}",
        "Spans whose export has ended, with error.type where it failed.",
    );
    let mut in_flight = Family::new(
        "otel.sdk.exporter.span.inflight",
        Kind::UpDownCounter,
        "{span}",
        "Spans in requests under way or between tries.",
    );
    let mut size = Family::new(
        "otel.sdk.processor.span.queue.size",
        Kind::UpDownCounter,
        "{span}",
        "Spans that wait for an exporter.",
    );
    // The conventions have both limits in spans; this queue has one in bytes.
    let mut capacity = Family::new(
        "otel.sdk.processor.span.queue.capacity",
        Kind::UpDownCounter,
        "By",
        "Bytes of spans that may wait or be under way.",
    );
    let mut usage = Family::new(
        "mqspan.queue.usage",
        Kind::UpDownCounter,
        "By",
        "Bytes of spans that wait or are under way.",
    );
    for sink in sinks {
        // One queue for each exporter, so the names are told by the exporter.
        let exporter = component(sink.exporter);
        let queue = vec![
            (
                "otel.component.type",
                Label::Static("batching_span_processor"),
            ),
            (
                "otel.component.name",
                Label::Text(format!("batching_span_processor/{}", sink.exporter).into()),
            ),
        ];
        exported.count(exporter.clone(), sink.counters.exported);
        for (reason, spans) in failures(&sink.counters) {
            let mut labels = exporter.clone();
            labels.push(("error.type", Label::Static(reason)));
            exported.count(labels, spans);
        }
        in_flight.count(exporter, sink.counters.in_flight);
        size.count(queue.clone(), sink.queue.spans);
        capacity.count(queue.clone(), sink.queue.capacity_bytes);
        usage.count(queue, sink.queue.bytes);
    }
    [exported, in_flight, size, capacity, usage]
}

/// What it took to deliver, and what was found that cannot be told in spans.
fn deliveries(sinks: &[SinkState]) -> [Family; 4] {
    let mut requests = Family::new(
        "mqspan.exporter.requests",
        Kind::Counter,
        "{request}",
        "Export requests sent, repeated ones included.",
    );
    let mut retries = Family::new(
        "mqspan.exporter.retries",
        Kind::Counter,
        "{request}",
        "Export requests that were sent again, by why: resource_exhausted is an answer without RetryInfo.",
    );
    let mut splits = Family::new(
        "mqspan.exporter.splits",
        Kind::Counter,
        "{request}",
        "Export requests cut in two because the collector found them too large.",
    );
    let mut corrupt = Family::new(
        "mqspan.queue.corrupt_records",
        Kind::Counter,
        "{record}",
        "Damaged records of the queue on disk whose number of spans could not be told.",
    );
    for sink in sinks {
        let exporter = component(sink.exporter);
        let counters = &sink.counters;
        requests.count(exporter.clone(), counters.requests);
        let exhausted = counters.exhausted_retries;
        let other = counters.retries.saturating_sub(exhausted);
        for (reason, count) in [("resource_exhausted", exhausted), ("other", other)] {
            let mut labels = exporter.clone();
            labels.push(("reason", Label::Static(reason)));
            retries.count(labels, count);
        }
        splits.count(exporter.clone(), counters.splits);
        corrupt.count(exporter, counters.corrupt_records);
    }
    [requests, retries, splits, corrupt]
}

/// Spans that an exporter had and did not deliver. A reason can be both the
/// collector's and ours.
fn failures(counters: &Snapshot) -> Vec<(&'static str, u64)> {
    let mut failures = counters.rejected.clone();
    for (reason, spans) in &counters.lost {
        // These did not get as far as the exporter.
        if matches!(*reason, "queue_full" | "closed") {
            continue;
        }
        match failures.iter_mut().find(|(known, _)| known == reason) {
            Some((_, sum)) => *sum += spans,
            None => failures.push((reason, *spans)),
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up_to_those_seen_and_show_losses_before_they_happen() {
        let balance = Balance {
            seen: 131,
            exported: 100,
            filtered: 10,
            sampled_out: 5,
            rejected: 3,
            lost: vec![("ring_full", 6), ("queue_full", 4)],
            pending: 3,
        };
        assert!(balance.is_even());
        let families = calls(&balance);
        let points = families.iter().flat_map(|family| &family.points);
        let counts = points.map(|point| match point.number {
            Number::Count(count) => count,
            _ => unreachable!(),
        });
        assert_eq!(counts.sum::<u64>(), balance.seen);
        let [decided, pending] = families;
        assert_eq!(
            (decided.kind, pending.kind),
            (Kind::Counter, Kind::UpDownCounter)
        );
        assert_eq!(pending.points[0].number, Number::Count(3));
        assert_eq!(
            decided.points.len(),
            4 + EARLY_LOSSES.len() + LossReason::NAMES.len()
        );
    }

    #[test]
    fn an_export_that_failed_is_told_from_one_not_tried() {
        let counters = Snapshot {
            exported: 9,
            rejected: vec![("invalid_argument", 2)],
            lost: vec![("queue_full", 5), ("retries_exhausted", 3)],
            ..Snapshot::default()
        };
        assert_eq!(
            failures(&counters),
            [("invalid_argument", 2), ("retries_exhausted", 3)]
        );
    }

    #[test]
    fn retries_are_told_by_their_reason() {
        let sink = SinkState {
            exporter: "otlp_grpc_span_exporter",
            counters: Snapshot {
                requests: 9,
                retries: 5,
                exhausted_retries: 2,
                splits: 1,
                corrupt_records: 7,
                ..Snapshot::default()
            },
            queue: Level::default(),
        };
        let numbers = deliveries(&[sink]).map(|family| {
            let points = family.points.iter().map(|point| match point.number {
                Number::Count(count) => count,
                _ => unreachable!(),
            });
            (family.name, points.collect::<Vec<_>>())
        });
        assert_eq!(
            numbers,
            [
                ("mqspan.exporter.requests", vec![9]),
                ("mqspan.exporter.retries", vec![2, 3]),
                ("mqspan.exporter.splits", vec![1]),
                ("mqspan.queue.corrupt_records", vec![7]),
            ]
        );
    }

    #[test]
    fn troubles_are_counted_before_there_are_any() {
        for (log_lines_lost, panics) in [(0, 0), (5, 1)] {
            let state = OwnState {
                log_lines_lost,
                panics,
                ..OwnState::default()
            };
            let families = own_families(&state);
            for (name, count) in [
                ("mqspan.log.lost", log_lines_lost),
                ("mqspan.panic.count", panics),
            ] {
                let family = families.iter().find(|family| family.name == name).unwrap();
                assert_eq!(family.kind, Kind::Counter);
                let numbers = family.points.iter().map(|point| &point.number);
                assert_eq!(numbers.collect::<Vec<_>>(), [&Number::Count(count)]);
            }
        }
    }

    #[test]
    fn a_process_uses_time_and_memory() {
        let state = ProcessState::read();
        assert!(state.cpu_time > Duration::ZERO);
        assert!(state.memory_bytes > 100_000);
    }
}
