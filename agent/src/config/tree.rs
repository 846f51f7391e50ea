//! Every key with its type, its default and its meaning: the one place of each.
//!
//! `config/mqspan.yaml`, `config/mqspan.schema.json` and the chart's schema are made of this file; its documentation is what
//! users read there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::choices::{
    Abi, BackendChoice, ChainMode, Compression, Correlation, Histograms, LogFormat, LogLevel,
    Protocol, ReceiveStart, Syscall,
};
use super::endpoint::Endpoint;
use super::globs::Globs;
use super::proxy_env::Proxy;
use super::units::{HumanDuration, Size};
use super::values::{ErrorCode, ListenAddress, NamespaceInode, Secret};
use crate::resource::AttributeValue;

/// Defines one mapping of the file. A key that is not given has its default.
macro_rules! section {
    (
        $(#[$about:meta])*
        $name:ident {
            $($(#[$meta:meta])* $key:ident: $type:ty = $default:expr,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$meta])* pub $key: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }
    };
}

section! {
    /// The whole configuration. `Debug` and what is printed of it show no secrets.
    Config {
        /// What is hooked, and how events reach the agent.
        capture: Capture = Capture::default(),
        /// Which calls become spans and count in metrics. Filters apply in the kernel wherever the kernel can.
        filter: Filter = Filter::default(),
        /// Which spans are kept. Metrics count every call that passes the filter, whatever is kept here.
        sampling: Sampling = Sampling::default(),
        /// How spans are made.
        traces: Traces = Traces::default(),
        /// What to look up about the traced processes.
        enrich: Enrich = Enrich::default(),
        /// What every resource has.
        resource: Resource = Resource::default(),
        /// Where spans go.
        exporters: Exporters = Exporters::default(),
        /// Where the metrics go.
        metrics: Metrics = Metrics::default(),
        /// For those who ask how the agent is.
        health: Health = Health::default(),
        /// The agent's own log, on standard error. Lines that standard error does not take are dropped and counted: mqspan.log.lost.
        logs: Logs = Logs::default(),
    }
}

section! {
    /// `capture`
    Capture {
        /// How to hook into the kernel: auto, fentry, kprobe or tracepoint. auto takes the first of the others that really attaches; kprobe
        /// first, fentry last, on kernels that take the CPU from threads inside system calls.
        backend: BackendChoice = BackendChoice::Auto,
        /// The system calls to trace, each with all its ABI variants; at least one.
        #[cfg_attr(test, schemars(length(min = 1)))]
        syscalls: BTreeSet<Syscall> = Syscall::ALL.into(),
        /// The entry points to hook: native for programs of the kernel's word size, compat for 32-bit programs on a 64-bit kernel.
        #[cfg_attr(test, schemars(length(min = 1)))]
        abis: BTreeSet<Abi> = Abi::ALL.into(),
        /// Buffer between kernel and agent, shared by all CPUs: a power of two, at least one memory page, at most 2GiB. Events that find it
        /// full are lost and counted. From an eighth full on, users and containers have shares of it: who calls too much loses its own events.
        ring_buffer_size: Size = Size::mib(8),
        /// Threads that have made a call and not ended, 1 to 4194304; 8192 at most where payloads are captured. Calls of further ones are lost
        /// and counted. Users and containers have shares of it, one alone three quarters.
        #[cfg_attr(test, schemars(range(min = 1, max = 4_194_304)))]
        max_in_flight: u32 = 65_536,
        /// The first bytes of each message.
        payload: Payload = Payload::default(),
    }
}

section! {
    /// `capture.payload`
    Payload {
        /// Whether to put the first bytes of each message on its spans. Messages may hold personal or secret data. Each thread that calls then
        /// takes 4 KiB more of the kernel's memory: see max_in_flight.
        enabled: bool = false,
        /// How many bytes, 1 to 4096.
        #[cfg_attr(test, schemars(range(min = 1, max = 4096)))]
        max_bytes: u32 = 256,
    }
}

section! {
    /// `filter`
    Filter {
        /// A call must match something in each of these lists that is not empty.
        include: Selector = Selector::default(),
        /// A call that matches anything in these lists is left out, even if it is included.
        exclude: Selector = Selector::default(),
        /// Calls that take less time are left out; 0s leaves out none.
        min_duration: HumanDuration = HumanDuration::ZERO,
        /// Whether to leave out calls that succeed.
        errors_only: bool = false,
    }
}

section! {
    /// `filter.include` and `filter.exclude`
    Selector {
        /// Process ids as the agent's own PID namespace counts them.
        #[cfg_attr(test, schemars(inner(range(min = 1))))]
        pids: Vec<u32> = Vec::new(),
        /// Globs on the thread's command name, of which the kernel keeps 15 bytes.
        comms: Globs = Globs::default(),
        /// User ids as the initial user namespace counts them.
        uids: Vec<u32> = Vec::new(),
        /// Globs on the queue's name, with or without its leading slash.
        queues: Globs = Globs::default(),
        /// IPC namespaces by inode number, as in `readlink /proc/PID/ns/ipc`: 4026531839 or "ipc:[4026531839]".
        namespaces: Vec<NamespaceInode> = Vec::new(),
        /// Globs on the container's id.
        containers: Globs = Globs::default(),
    }
}

section! {
    /// `sampling`
    Sampling {
        /// The share of traces to keep, 0 to 1.
        #[cfg_attr(test, schemars(range(min = 0, max = 1)))]
        ratio: f64 = 1.0,
        /// Spans to keep whatever the ratio.
        always_keep: AlwaysKeep = AlwaysKeep::default(),
    }
}

section! {
    /// `sampling.always_keep`
    AlwaysKeep {
        /// Whether to keep calls that fail.
        errors: bool = true,
        /// Keep calls that take longer, and the other end of their message where the two share a trace; 0s is off.
        slower_than: HumanDuration = HumanDuration::ZERO,
    }
}

section! {
    /// `traces`
    Traces {
        /// How the span of a receive refers to that of the send which made the message: parent makes it a child, link a root with a link, none
        /// a root without one.
        correlation: Correlation = Correlation::Parent,
        /// When the span of a receive starts: message, with the message that it takes, if that was made after the call began, and
        /// posix_mq.idle tells how long the call had waited until then; or call. Metrics have the whole call.
        receive_start: ReceiveStart = ReceiveStart::Message,
        /// Whether receives that get nothing (EAGAIN, ETIMEDOUT) have spans. Without this they count as sampled out. Metrics count them.
        empty_receives: bool = true,
        /// Whether to join the traces of programs whose OpenTelemetry SDK publishes its contexts (OTEP 4719 and 4947). Calls of a thread that
        /// works for a sampled span are children of that span, and the resource is the SDK's. Takes CAP_SYS_PTRACE for other users' programs.
        application_context: bool = true,
        /// What a thread sends after it has received a message.
        chains: Chains = Chains::default(),
        /// Whether what threads do with the messages they take has spans: children of the message's send, from the receive's return to the
        /// return of the last send that is proven to come of it, which is then their child, or, without one, to the thread's next receive, if
        /// the thread waited for nothing until then. messaging.process.duration tells the same times without this. Needs every capture.abis.
        process_spans: bool = false,
        /// Error codes that leave the span's status unset, because they are part of normal work. A send that finds its queue full until the
        /// deadline is an error, a receive that finds it empty is not.
        unset_status_errnos: UnsetStatusErrnos = UnsetStatusErrnos::default(),
        /// Whether spans have messaging.message.body.size. posix_mq.return and posix_mq.msg_len say the same.
        body_size: bool = false,
        /// Globs on queues' names, such as "/reply-*", for programs that make a queue for each process or request. The first that matches stands
        /// for the queue in the span's name and in metrics; the span still has the queue's own name as messaging.destination.name.
        destination_templates: Globs = Globs::default(),
    }
}

impl Capture {
    /// Whether no call goes by unseen because of its ABI.
    pub fn has_every_abi(&self) -> bool {
        Abi::ALL.iter().all(|abi| self.abis.contains(abi))
    }
}

impl Traces {
    /// `chains.mode`, as far as `correlation` lets it be: where messages do not carry traces
    /// on, it is not known which are replies.
    pub fn chain_mode(&self) -> ChainMode {
        match self.chains.mode {
            ChainMode::Proven if self.correlation != Correlation::Parent => ChainMode::Link,
            mode => mode,
        }
    }

    /// Whether a send can be the child of a receive.
    pub fn joins_sends(&self) -> bool {
        matches!(self.chain_mode(), ChainMode::Proven | ChainMode::Thread)
    }
}

section! {
    /// `traces.chains`
    Chains {
        /// When a send is a child of the receive before it in its thread, and so in the trace of that message: proven, when the message's send
        /// is known, it is no reply that has come home, and the thread has neither slept nor read anything in between; thread, always; link,
        /// never; or none. A send that is no child has a link, unless this is none. proven needs correlation: parent, every capture.abis, and
        /// a backend that follows messages.
        mode: ChainMode = ChainMode::Proven,
        /// How many calls a trace may have in a row, at least 1. What comes then begins a trace with a link to the old one.
        #[cfg_attr(test, schemars(range(min = 1)))]
        max_hops: u32 = 32,
        /// How old a trace may be when a send goes on with it, and a receive when a send links to it; 0s is no limit.
        max_age: HumanDuration = HumanDuration::seconds(60),
    }
}

section! {
    /// `traces.unset_status_errnos`
    UnsetStatusErrnos {
        /// Of sends.
        send: BTreeSet<ErrorCode> = [libc::EINTR].map(ErrorCode).into(),
        /// Of receives.
        receive: BTreeSet<ErrorCode> = [libc::EAGAIN, libc::ETIMEDOUT, libc::EINTR].map(ErrorCode).into(),
        /// Of all other calls.
        other: BTreeSet<ErrorCode> = [libc::EINTR].map(ErrorCode).into(),
    }
}

section! {
    /// `enrich`
    Enrich {
        /// Whether to tell the path of the executable, and what the process's own OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say: 64
        /// attributes at most and 4 KiB in all, values of at most 256 bytes, and none of process, container, k8s, host, os or telemetry. The
        /// kernel sends the path and the first 16 KiB of the environment; what does not fit comes from /proc, if it can be had within a second.
        /// Without this it sends no environment, and /proc is not read.
        process: bool = true,
        /// Whether to find the container's id, and its pod's.
        container: bool = true,
        /// Pods and workloads.
        kubernetes: Kubernetes = Kubernetes::default(),
    }
}

section! {
    /// `enrich.kubernetes`
    Kubernetes {
        /// Whether to take the names of pods, workloads and images, and what the pods' annotations say of the service, from the Kubernetes API
        /// server: that of $KUBECONFIG, of ~/.kube/config, or of the pod's service account, which has to be allowed to list and watch pods. No
        /// span waits for it: a process has its pod's names from 0.1 s after the API server tells them, and goes without them until then. At
        /// most 1024 pods and 4096 containers are remembered.
        enabled: bool = false,
        /// The node whose pods to watch, needed if enabled; in a pod, take spec.nodeName through a variable: ${env:NODE_NAME}.
        node_name: String = String::new(),
        /// Whether to use labels of pods: all of a pod's become k8s.pod.label.KEY, 32 at most and 4 KiB in all, and app.kubernetes.io/instance,
        /// name and version name the service where its annotations do not.
        labels: bool = false,
    }
}

section! {
    /// `resource`
    Resource {
        /// Attributes to add to every resource, that of the agent's own metrics included: strings, integers, numbers or booleans by name.
        /// Quotes make a string of a variable, too: "${env:VAR}". What is a string by the semantic conventions, such as host.name, needs none.
        /// OTEL_RESOURCE_ATTRIBUTES adds to them.
        attributes: BTreeMap<String, AttributeValue> = BTreeMap::new(),
    }
}

section! {
    /// `exporters`
    Exporters {
        /// A collector that speaks OTLP, over gRPC or HTTP.
        otlp: Otlp = Otlp::default(),
        /// OTLP/JSON lines.
        file: FileExporter = FileExporter::default(),
    }
}

impl Exporters {
    /// Whether spans go nowhere.
    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.otlp.enabled && self.file.path.as_os_str().is_empty()
    }
}

section! {
    /// `exporters.otlp`
    Otlp {
        /// Whether to send anything there, spans or metrics. Without this and without exporters.file spans count as sampled out.
        enabled: bool = true,
        /// The protocol: grpc or http/protobuf. OTEL_EXPORTER_OTLP_PROTOCOL.
        protocol: Protocol = Protocol::Grpc,
        /// http://HOST:PORT or https://HOST:PORT; HOST:PORT, for which tls.insecure decides; or unix:///PATH, a socket.
        /// OTEL_EXPORTER_OTLP_ENDPOINT. USER:PASSWORD@ before HOST, percent-encoded, is sent as basic authorization. Where none is given,
        /// http/protobuf takes port 4318. It appends /v1/traces, /v1/metrics and /v1/logs, also to a path: https://HOST/otlp.
        endpoint: Endpoint = Endpoint::default(),
        /// The HTTP proxy on the way there, which the environment names.
        #[serde(skip)]
        proxy: Option<Proxy> = None,
        /// Headers of each request, such as {authorization: "Bearer ${env:TOKEN}"}. OTEL_EXPORTER_OTLP_HEADERS adds to them.
        headers: BTreeMap<String, Secret> = BTreeMap::new(),
        /// Compression of the requests: none, gzip or zstd. OTEL_EXPORTER_OTLP_COMPRESSION.
        compression: Compression = Compression::None,
        /// How long a request may take, above 0s. OTEL_EXPORTER_OTLP_TIMEOUT, in milliseconds.
        timeout: HumanDuration = HumanDuration::seconds(10),
        /// The largest request before compression. Collectors refuse more than 4MiB unless told otherwise.
        max_request_size: Size = Size::mib(4),
        /// How the server proves who it is, and the agent to it.
        tls: Tls = Tls::default(),
        /// Requests that fail for a passing reason are sent again, after waits that grow.
        retry_on_failure: Retry = Retry::default(),
        /// Spans that wait to be sent, as encoded bytes.
        sending_queue: SendingQueue = SendingQueue::default(),
        /// When waiting spans become a request.
        batch: Batch = Batch::default(),
    }
}

section! {
    /// `exporters.otlp.tls`
    Tls {
        /// Whether an endpoint without a scheme is http. OTEL_EXPORTER_OTLP_INSECURE.
        insecure: bool = false,
        /// PEM file of the authorities to trust; empty trusts those of the system. OTEL_EXPORTER_OTLP_CERTIFICATE.
        ca_file: PathBuf = PathBuf::new(),
        /// PEM file of the agent's certificate, for a server that asks for one. OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE.
        cert_file: PathBuf = PathBuf::new(),
        /// PEM file of the certificate's key. OTEL_EXPORTER_OTLP_CLIENT_KEY.
        key_file: PathBuf = PathBuf::new(),
        /// The name that the server's certificate must have; empty takes the host of the endpoint.
        server_name_override: String = String::new(),
        /// How often to read the files again; 0s reads them once.
        reload_interval: HumanDuration = HumanDuration::ZERO,
    }
}

section! {
    /// `exporters.otlp.retry_on_failure`
    Retry {
        /// Whether to send again at all.
        enabled: bool = true,
        /// The first wait, above 0s and at most max_interval.
        initial_interval: HumanDuration = HumanDuration::seconds(1),
        /// The longest wait.
        max_interval: HumanDuration = HumanDuration::seconds(30),
        /// What a wait is multiplied with for the next one, at least 1.
        #[cfg_attr(test, schemars(range(min = 1)))]
        multiplier: f64 = 1.5,
        /// How far a wait may stray to either side, as a share of it, 0 to 1.
        #[cfg_attr(test, schemars(range(min = 0, max = 1)))]
        randomization_factor: f64 = 0.5,
        /// When to give a request up, counted from its first try; 0s is never, otherwise at least max_interval.
        max_elapsed_time: HumanDuration = HumanDuration::ZERO,
    }
}

section! {
    /// `exporters.otlp.sending_queue`
    SendingQueue {
        /// How much may wait in memory. Spans that find it full are lost and counted. From a quarter full on, users and containers have shares
        /// of it.
        queue_size: Size = Size::mib(64),
        /// Requests in flight at once, 1 to 1024.
        #[cfg_attr(test, schemars(range(min = 1, max = 1024)))]
        num_consumers: u32 = 4,
        /// The queue on disk.
        storage: Storage = Storage::default(),
    }
}

section! {
    /// `exporters.otlp.sending_queue.storage`
    Storage {
        /// Directory that keeps the queue across restarts; empty keeps it in memory. It is made if it is missing, and is for the agent's user
        /// alone (0700): one that others can use is closed to them if it is empty or holds a queue, else refused.
        directory: PathBuf = PathBuf::new(),
        /// How much the directory may hold.
        max_size: Size = Size::mib(1024),
    }
}

section! {
    /// `exporters.otlp.batch`
    Batch {
        /// The longest time that a span waits for others, above 0s. OTEL_BSP_SCHEDULE_DELAY, in milliseconds.
        flush_timeout: HumanDuration = HumanDuration::millis(200),
        /// The size at which a batch is full, at most max_request_size.
        max_size: Size = Size::mib(1),
    }
}

section! {
    /// `exporters.file`
    FileExporter {
        /// File to append OTLP/JSON lines to; "-" is standard output, empty is off. A new file has the mode 0600. SIGHUP opens it anew, so
        /// that another program may rename it. A named pipe may lack its reader: spans wait for one.
        path: PathBuf = PathBuf::new(),
        /// How large a file may grow; 0B is no limit. A full one is renamed to PATH.1, PATH.1 to PATH.2 and so on, and a new one begins.
        max_size: Size = Size::ZERO,
        /// How many renamed files to keep; 0 keeps all.
        max_files: u32 = 0,
    }
}

section! {
    /// `metrics`
    Metrics {
        /// Metrics over OTLP to the endpoint of exporters.otlp.
        otlp: OtlpMetrics = OtlpMetrics::default(),
        /// Metrics for Prometheus.
        prometheus: Prometheus = Prometheus::default(),
        /// Buckets of histograms over OTLP: explicit, with fixed bounds, or exponential, up to 160 that fit the range of the values. /metrics for
        /// Prometheus always has explicit ones. OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION.
        histograms: Histograms = Histograms::Explicit,
        /// How long series without calls stay when their queue is gone, or cannot be seen to be there. They stay longer where one more export
        /// has to tell them. The series of a queue that is there stay.
        series_timeout: HumanDuration = HumanDuration::seconds(60),
    }
}

section! {
    /// `metrics.otlp`
    OtlpMetrics {
        /// Whether to send them.
        enabled: bool = true,
        /// Time between two exports, above 0s. OTEL_METRIC_EXPORT_INTERVAL, in milliseconds.
        interval: HumanDuration = HumanDuration::seconds(60),
    }
}

section! {
    /// `metrics.prometheus`
    Prometheus {
        /// Address that serves /metrics, such as 127.0.0.1:9464; empty is off. [::]:9464 is every address of IPv6 and IPv4. What is collected
        /// is at most one second old for those who ask.
        address: ListenAddress = ListenAddress::default(),
    }
}

section! {
    /// `health`
    Health {
        /// Address that serves /healthz and /readyz, such as [::]:13133, which is every address of IPv6 and IPv4; empty is off.
        address: ListenAddress = ListenAddress::default(),
    }
}

section! {
    /// `logs`
    Logs {
        /// The least severe lines to write: error, warn, info, debug or trace. OTEL_LOG_LEVEL.
        level: LogLevel = LogLevel::Info,
        /// text or json.
        format: LogFormat = LogFormat::Text,
        /// The log over OTLP, besides standard error.
        otlp: OtlpLogs = OtlpLogs::default(),
    }
}

section! {
    /// `logs.otlp`
    OtlpLogs {
        /// Whether to send it to the endpoint of exporters.otlp, as log records. Up to 2,000 wait; what finds no room is dropped and counted:
        /// otel.sdk.processor.log.processed. OTEL_LOGS_EXPORTER: otlp or none.
        enabled: bool = false,
    }
}
