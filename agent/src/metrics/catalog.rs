//! Every metric: its name, kind, unit, attributes and meaning. `make generate`
//! writes the tables of `docs/filters.md` from it.
//!
//! Names of the semantic conventions come from their crate; `otel.sdk.*` are
//! "Semantic conventions for OpenTelemetry SDK metrics".

use opentelemetry_semantic_conventions::metric as semconv;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down; summing its points makes sense.
    UpDownCounter,
    /// Goes up and down; summing its points does not make sense.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// With dots, by the rules of the semantic conventions.
    pub name: &'static str,
    pub kind: MetricKind,
    /// A UCUM unit, such as `s`, `By` and `{message}`.
    pub unit: &'static str,
    /// The attributes that tell its series apart.
    #[cfg_attr(
        not(feature = "internals"),
        expect(dead_code, reason = "is for the documents")
    )]
    pub attributes: &'static str,
    pub description: &'static str,
}

macro_rules! metrics {
    ($(#[$meta:meta])* $all:ident { $($id:ident: $kind:ident $unit:literal = $name:expr, $attributes:expr, $description:literal;)+ }) => {
        $(
            #[doc = $description]
            pub const $id: Definition = Definition {
                name: $name,
                kind: MetricKind::$kind,
                unit: $unit,
                attributes: $attributes,
                description: $description,
            };
        )+

        $(#[$meta])*
        #[cfg(feature = "internals")]
        pub const $all: &[Definition] = &[$($id),+];
    };
}

const CALL: &str = "`messaging.system`, `messaging.operation.name`, `messaging.operation.type`, `messaging.destination.name`, \
     `posix_mq.ipc_namespace`, `error.type`";
const QUEUE: &str = "`messaging.system`, `messaging.destination.name`, `posix_mq.ipc_namespace`";
const COMPONENT: &str = "`otel.component.type`, `otel.component.name`";
const PROGRAM: &str = "`mqspan.probe.program`, `mqspan.probe.symbol`";

metrics! {
    /// Of queues.
    QUEUE_METRICS {
        OPERATION_DURATION: Histogram "s" = semconv::MESSAGING_CLIENT_OPERATION_DURATION, CALL,
            "Duration of calls from entry to return.";
        SENT_MESSAGES: Counter "{message}" = semconv::MESSAGING_CLIENT_SENT_MESSAGES, CALL,
            "Messages that sends put into queues.";
        CONSUMED_MESSAGES: Counter "{message}" = semconv::MESSAGING_CLIENT_CONSUMED_MESSAGES, CALL,
            "Messages that receives took from queues.";
        TIME_IN_QUEUE: Histogram "s" = "posix_mq.time_in_queue", CALL,
            "Time from the making of a message in its sender to its delivery, where both were seen: backends fentry and kprobe.";
        QUEUE_DEPTH: Gauge "{message}" = "posix_mq.queue.depth", QUEUE,
            "Messages in the queue at the latest return of a call that told.";
        QUEUE_MAX_MESSAGES: Gauge "{message}" = "posix_mq.queue.max_messages", QUEUE,
            "Messages that the queue takes (mq_maxmsg).";
        BLOCKED_CALLERS: UpDownCounter "{call}" = "posix_mq.blocked_callers",
            "`messaging.system`, `messaging.operation.type`, `messaging.destination.name`, `posix_mq.ipc_namespace`",
            "Callers that are blocked in a send or a receive.";
    }
}

metrics! {
    /// Of the agent itself.
    OWN_METRICS {
        CALLS: Counter "{call}" = "mqspan.calls", "`outcome`, and `reason` of those lost",
            "Calls by what became of them; with those that are pending they add up to the calls seen.";
        PENDING_CALLS: UpDownCounter "{call}" = "mqspan.call.pending", "",
            "Calls that have not returned, sends that sampling has yet to decide on, and spans on their way.";
        PROBE_MISSED: Counter "{run}" = "mqspan.probe.missed", PROGRAM,
            "Runs of a program that the kernel left out: it ran on that CPU already, or no instance of a return probe was free.";
        PROBE_RUN_TIME: Counter "s" = "mqspan.probe.run_time", PROGRAM,
            "Time spent in a program, while kernel.bpf_stats_enabled is on.";
        PROBE_RUN_COUNT: Counter "{run}" = "mqspan.probe.run_count", PROGRAM,
            "Runs of a program, while kernel.bpf_stats_enabled is on.";
        OWNER_LOST_CALLS: Counter "{call}" = "mqspan.owner.lost_calls",
            "`reason`, `process.user.id`, and `container.id` where known, else `mqspan.owner.cgroup` or `mqspan.owner.namespace`; \
             256 owners, the rest shares one series with `otel.metric.overflow`",
            "Calls lost for want of room, by whose they were: a user, and the container where there is one. They are among mqspan.calls.";
        IDENTITIES_LOST: Counter "{identity}" = "mqspan.identities.lost", "`of`",
            "What is missing of a call's identity though the call itself is not lost.";
        LOG_LOST: Counter "{line}" = "mqspan.log.lost", "",
            "Lines of the agent's log that were not written: standard error takes none, or not as many.";
        LOG_RECORDS_EXPORTED: Counter "{log_record}" = semconv::OTEL_SDK_EXPORTER_LOG_EXPORTED,
            "`otel.component.type`, `otel.component.name`, `error.type`",
            "Records of the agent's log whose export over OTLP has ended, with error.type where it failed.";
        LOG_RECORDS_PROCESSED: Counter "{log_record}" = semconv::OTEL_SDK_PROCESSOR_LOG_PROCESSED,
            "`otel.component.type`, `otel.component.name`, `error.type`",
            "Records of the agent's log that found no room on their way to the exporter.";
        PANIC_COUNT: Counter "{panic}" = "mqspan.panic.count", "",
            "Panics of the agent, each of which is a defect. It stops after the first.";
        SPANS_EXPORTED: Counter "{span}" = semconv::OTEL_SDK_EXPORTER_SPAN_EXPORTED,
            "`otel.component.type`, `otel.component.name`, `error.type`",
            "Spans whose export has ended, with error.type where it failed.";
        SPANS_IN_FLIGHT: UpDownCounter "{span}" = semconv::OTEL_SDK_EXPORTER_SPAN_INFLIGHT, COMPONENT,
            "Spans in requests under way or between tries.";
        SPAN_QUEUE_SIZE: UpDownCounter "{span}" = semconv::OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE, COMPONENT,
            "Spans that wait for an exporter.";
        // The conventions have both limits in spans; this queue has one in bytes.
        SPAN_QUEUE_CAPACITY: UpDownCounter "By" = semconv::OTEL_SDK_PROCESSOR_SPAN_QUEUE_CAPACITY, COMPONENT,
            "Bytes of spans that may wait or be under way.";
        QUEUE_USAGE: UpDownCounter "By" = "mqspan.queue.usage", COMPONENT,
            "Bytes of spans that wait or are under way.";
        EXPORT_REQUESTS: Counter "{request}" = "mqspan.exporter.requests", COMPONENT,
            "Export requests sent, repeated ones included.";
        EXPORT_RETRIES: Counter "{request}" = "mqspan.exporter.retries", "`otel.component.type`, `otel.component.name`, `reason`",
            "Export requests that were sent again, by why: resource_exhausted is an answer without RetryInfo.";
        EXPORT_SPLITS: Counter "{request}" = "mqspan.exporter.splits", COMPONENT,
            "Export requests cut in two because the collector found them too large.";
        CORRUPT_RECORDS: Counter "{record}" = "mqspan.queue.corrupt_records", COMPONENT,
            "Damaged records of the queue on disk whose number of spans could not be told.";
        CPU_TIME: Counter "s" = "mqspan.process.cpu_time", "",
            "CPU time of the agent, user and system.";
        MEMORY: UpDownCounter "By" = "mqspan.process.memory", "",
            "Resident memory of the agent.";
    }
}
