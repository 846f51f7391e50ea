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
     `messaging.destination.template`, `posix_mq.ipc_namespace`, `posix_mq.errno`, `error.type`";
const RECEIVE: &str = "`messaging.system`, `messaging.operation.name`, `messaging.operation.type`, `messaging.destination.name`, \
     `messaging.destination.template`, `posix_mq.ipc_namespace`";
const PROCESS: &str = "`messaging.system`, `messaging.operation.name`, `messaging.destination.name`, `messaging.destination.template`, \
     `posix_mq.ipc_namespace`";
const QUEUE: &str = "`messaging.system`, `messaging.destination.name`, `posix_mq.ipc_namespace`";
const COMPONENT: &str = "`otel.component.type`, `otel.component.name`";
const PROCESSED: &str = "`otel.component.type`, `otel.component.name`, `error.type`";
const EXPORTER: &str =
    "`otel.component.type`, `otel.component.name`, `server.address`, `server.port`";
const EXPORTED: &str =
    "`otel.component.type`, `otel.component.name`, `server.address`, `server.port`, `error.type`";
const PROGRAM: &str = "`mqspan.probe.program`, `mqspan.probe.symbol`";

metrics! {
    /// Of queues.
    QUEUE_METRICS {
        OPERATION_DURATION: Histogram "s" = semconv::MESSAGING_CLIENT_OPERATION_DURATION, CALL,
            "Duration of calls from entry to return.";
        SENT_MESSAGES: Counter "{message}" = semconv::MESSAGING_CLIENT_SENT_MESSAGES, CALL,
            "Messages that programs tried to send. A wait that a signal interrupts and the kernel enters again is one attempt.";
        CONSUMED_MESSAGES: Counter "{message}" = semconv::MESSAGING_CLIENT_CONSUMED_MESSAGES, RECEIVE,
            "Messages that receives took from queues.";
        TIME_IN_QUEUE: Histogram "s" = "posix_mq.time_in_queue", RECEIVE,
            "Time from the creation of a message in its sender to its delivery, where both were seen: backends fentry and kprobe.";
        PROCESS_DURATION: Histogram "s" = semconv::MESSAGING_PROCESS_DURATION, PROCESS,
            "Time from a receive's return to the return of the last send proven to come of its message, or, without one, to the thread's next \
             receive if it waited for nothing until then.";
        QUEUE_DEPTH: Gauge "{message}" = "posix_mq.queue.depth", QUEUE,
            "Messages in the queue at the latest return of a call that reported them.";
        QUEUE_MAX_MESSAGES: Gauge "{message}" = "posix_mq.queue.max_messages", QUEUE,
            "Messages that the queue can hold (mq_maxmsg).";
        BLOCKED_CALLERS: UpDownCounter "{call}" = "posix_mq.blocked_caller.count",
            "`messaging.system`, `messaging.operation.type`, `messaging.destination.name`, `messaging.destination.template`, `posix_mq.ipc_namespace`",
            "Callers that are blocked in a send or a receive.";
    }
}

metrics! {
    /// Of the agent itself.
    OWN_METRICS {
        CALLS: Counter "{call}" = "mqspan.call.count", "`mqspan.outcome`, and `mqspan.loss.reason` of those lost",
            "Calls by outcome. With the pending ones they add up to the calls seen.";
        PENDING_CALLS: UpDownCounter "{call}" = "mqspan.call.pending", "",
            "Calls that have not returned, sends that sampling has yet to decide on, and spans on their way.";
        PROBE_MISSED: Counter "{run}" = "mqspan.probe.missed", PROGRAM,
            "Runs of a program that the kernel left out: it ran on that CPU already, or no instance of a return probe was free.";
        PROBE_RUN_TIME: Counter "s" = "mqspan.probe.run_time", PROGRAM,
            "Time spent in a program, while kernel.bpf_stats_enabled is on.";
        PROBE_RUN_COUNT: Counter "{run}" = "mqspan.probe.run_count", PROGRAM,
            "Runs of a program, while kernel.bpf_stats_enabled is on.";
        OWNER_LOST_CALLS: Counter "{call}" = "mqspan.owner.call.lost",
            "`mqspan.loss.reason`, `process.user.id`, and `container.id` where known, else `mqspan.owner.cgroup` or `mqspan.owner.namespace`; \
             256 owners, the rest share one series with `otel.metric.overflow`",
            "Calls lost for lack of room, by their owner: a user, and the container where there is one. mqspan.call.count includes them.";
        IDENTITIES_LOST: Counter "{identity}" = "mqspan.identity.lost", "`mqspan.identity.loss`",
            "Parts of a caller's or a message's identity that are missing although the call itself is not lost.";
        LOG_LOST: Counter "{line}" = "mqspan.log.lost", "",
            "Lines of the agent's log that were not written, because standard error takes none or too few.";
        PANIC_COUNT: Counter "{panic}" = "mqspan.panic.count", "",
            "Panics of the agent, each of which is a defect. It stops after the first.";
        SPANS_STARTED: Counter "{span}" = semconv::OTEL_SDK_SPAN_STARTED, "`otel.span.sampling_result`",
            "Calls that passed the filter, by the decision of sampling.";
        SPANS_PROCESSED: Counter "{span}" = semconv::OTEL_SDK_PROCESSOR_SPAN_PROCESSED, PROCESSED,
            "Spans handed to an exporter; with error.type spans dropped before that.";
        SPAN_QUEUE_SIZE: UpDownCounter "{span}" = semconv::OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE, COMPONENT,
            "Spans that wait for an exporter.";
        QUEUE_USAGE: UpDownCounter "By" = "mqspan.queue.usage", COMPONENT,
            "Bytes of spans that wait or are being exported.";
        QUEUE_LIMIT: UpDownCounter "By" = "mqspan.queue.limit", COMPONENT,
            "Limit of mqspan.queue.usage.";
        CORRUPT_RECORDS: Counter "{record}" = "mqspan.queue.record.corrupt", COMPONENT,
            "Damaged records of the queue on disk whose number of spans is unknown.";
        SPANS_EXPORTED: Counter "{span}" = semconv::OTEL_SDK_EXPORTER_SPAN_EXPORTED, EXPORTED,
            "Spans whose export has ended, with error.type where it failed.";
        SPANS_IN_FLIGHT: UpDownCounter "{span}" = semconv::OTEL_SDK_EXPORTER_SPAN_INFLIGHT, EXPORTER,
            "Spans that are being exported, including those that wait for another try.";
        EXPORT_REQUESTS: Counter "{request}" = "mqspan.exporter.request.count", EXPORTER,
            "Export requests sent, including repeated ones.";
        EXPORT_RETRIES: Counter "{request}" = "mqspan.exporter.retry.count",
            "`otel.component.type`, `otel.component.name`, `server.address`, `server.port`, `mqspan.retry.reason`",
            "Export requests that were sent again, by reason: resource_exhausted is such an answer without RetryInfo.";
        EXPORT_SPLITS: Counter "{request}" = "mqspan.exporter.split.count", EXPORTER,
            "Export requests cut in two because the collector found them too large.";
        LOG_RECORDS_PROCESSED: Counter "{log_record}" = semconv::OTEL_SDK_PROCESSOR_LOG_PROCESSED, PROCESSED,
            "Records of the agent's log handed to the exporter; with error.type records dropped before that.";
        LOG_QUEUE_SIZE: UpDownCounter "{log_record}" = semconv::OTEL_SDK_PROCESSOR_LOG_QUEUE_SIZE, COMPONENT,
            "Records of the agent's log that wait for the exporter.";
        LOG_QUEUE_CAPACITY: UpDownCounter "{log_record}" = semconv::OTEL_SDK_PROCESSOR_LOG_QUEUE_CAPACITY, COMPONENT,
            "Records of the agent's log that may wait or be exported at a time.";
        LOG_RECORDS_EXPORTED: Counter "{log_record}" = semconv::OTEL_SDK_EXPORTER_LOG_EXPORTED, EXPORTED,
            "Records of the agent's log whose export has ended, with error.type where it failed.";
        LOG_RECORDS_IN_FLIGHT: UpDownCounter "{log_record}" = semconv::OTEL_SDK_EXPORTER_LOG_INFLIGHT, EXPORTER,
            "Records of the agent's log that are being exported.";
        POINTS_EXPORTED: Counter "{data_point}" = semconv::OTEL_SDK_EXPORTER_METRIC_DATA_POINT_EXPORTED, EXPORTED,
            "Points of these metrics whose export over OTLP has ended, with error.type where it failed.";
        POINTS_IN_FLIGHT: UpDownCounter "{data_point}" = semconv::OTEL_SDK_EXPORTER_METRIC_DATA_POINT_INFLIGHT, EXPORTER,
            "Points of these metrics that are being exported over OTLP.";
        EXPORT_DURATION: Histogram "s" = semconv::OTEL_SDK_EXPORTER_OPERATION_DURATION,
            "`otel.component.type`, `otel.component.name`, `server.address`, `server.port`, `rpc.response.status_code`, \
             `http.response.status_code`, `error.type`",
            "Time to export a batch of spans, log records or points, from the first try to the end of the last.";
        CPU_TIME: Counter "s" = semconv::PROCESS_CPU_TIME, "`cpu.mode`",
            "CPU time of the agent.";
        MEMORY: UpDownCounter "By" = semconv::PROCESS_MEMORY_USAGE, "",
            "Resident memory of the agent.";
    }
}
