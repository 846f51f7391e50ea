//! The configuration of the agent: read, layered, checked once, and plain data from then on.
//!
//! ```text
//! file ── ${env:..} ──┐
//! OTEL_* variables ───┤            strict            checks
//! MQSPAN__* variables ┼─ layers ──────────> RawConfig ──────> Config
//! flags ──────────────┘
//! ```
//!
//! A later layer of the list beats an earlier one; defaults lie below them all. Mappings merge key by key, everything else is
//! replaced. Every key is documented in `config/mqspan.yaml`; the fields here say what the rest of the agent gets from it.

mod attribute_types;
mod choices;
mod de;
mod defaults;
mod endpoint;
mod env_expand;
mod env_layer;
mod error;
mod globs;
mod layer;
mod load;
mod otel_env;
mod otel_ignored;
pub mod print;
mod proxy_env;
mod raw;
mod read;
pub mod units;
mod validate;
mod validate_otlp;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use choices::{Abi, Backend, Compression, Correlation, LogFormat, LogLevel, Syscall};
pub use endpoint::Endpoint;
pub use error::{ConfigError, Problem};
pub use globs::Globs;
pub use load::{Env, Loaded, Overrides, check, load};
pub use proxy_env::Proxy;
pub use values::{AttributeValue, FileTarget, Secret};

use crate::errno;

/// The whole configuration, valid by construction. `Debug` shows no secrets.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Config {
    /// What is hooked and how events reach user space.
    pub capture: Capture,
    /// Which calls become events.
    pub filter: Filter,
    /// Which of these become spans.
    pub sampling: Sampling,
    /// How spans are made.
    pub traces: Traces,
    /// What is looked up about the traced processes.
    pub enrich: Enrich,
    /// What is added to every resource.
    pub resource: Resource,
    /// Where spans go.
    pub exporters: Exporters,
    /// The agent's metrics.
    pub metrics: Metrics,
    /// The health endpoint.
    pub health: Health,
    /// The agent's own log.
    pub logs: Logs,
}

/// `capture`: what is hooked and how events reach user space.
#[derive(Clone, Debug, PartialEq)]
pub struct Capture {
    /// The kind of hook.
    pub backend: Backend,
    /// The system calls to trace, sorted, each once, at least one.
    pub syscalls: Vec<Syscall>,
    /// The entry points to hook, sorted, each once, at least one.
    pub abis: Vec<Abi>,
    /// Size of the BPF ring buffer: a power of two, at least one page, at most 2 GiB.
    pub ring_buffer_size_bytes: u32,
    /// Calls that may be in flight at once, 1 to 4194304, which is the kernel's limit of threads.
    pub max_in_flight: u32,
    /// Whether and how much of a message is captured.
    pub payload: Payload,
}

/// `capture.payload`: the first bytes of each message.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// Whether payload is captured at all.
    pub enabled: bool,
    /// Bytes kept of each message, 1 to 4096.
    pub max_bytes: u32,
}

/// `filter`: which calls become events.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Filter {
    /// A call must match every list here that is not empty.
    pub include: Selector,
    /// A call that matches any list here is dropped, even if it is included.
    pub exclude: Selector,
    /// Shorter calls are dropped; zero drops none.
    pub min_duration: Duration,
    /// Whether calls that succeed are dropped.
    pub errors_only: bool,
}

/// `filter.include` and `filter.exclude`: lists of what a call is matched against. An empty list says nothing.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Selector {
    /// Process ids (thread group ids) as the agent's PID namespace counts them, at least 1.
    pub pids: Vec<u32>,
    /// Globs on the command name of the thread, at most 15 bytes in the kernel.
    pub comms: Globs,
    /// User ids as the initial user namespace counts them.
    pub uids: Vec<u32>,
    /// Globs on the name of the queue, see [`Globs::matches_queue`].
    pub queues: Globs,
    /// Inode numbers of IPC namespaces.
    pub namespaces: Vec<u32>,
    /// Globs on the container id.
    pub containers: Globs,
}

/// `sampling`: which traces are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Share of the traces that is kept, 0 to 1.
    pub ratio: f64,
    /// What is kept whatever the ratio.
    pub always_keep: AlwaysKeep,
}

/// `sampling.always_keep`: spans that are kept whatever the ratio.
#[derive(Clone, Debug, PartialEq)]
pub struct AlwaysKeep {
    /// Whether spans with an error are kept.
    pub errors: bool,
    /// Spans that last longer are kept; `None` is off.
    pub slower_than: Option<Duration>,
}

/// `traces`: how spans are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// How a receive refers to its send.
    pub correlation: Correlation,
    /// Positive error numbers that leave the status of a span unset, sorted, each once.
    pub unset_status_errnos: Vec<i32>,
}

impl Traces {
    /// Whether a call that failed with this positive error number leaves the span's status unset; the kernel's 512 counts as `EINTR`.
    #[must_use]
    pub fn leaves_status_unset(&self, errno: i32) -> bool {
        let errno = errno::as_seen_by_user_space(errno);
        self.unset_status_errnos.binary_search(&errno).is_ok()
    }
}

/// `enrich`: what is looked up about the traced processes.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrich {
    /// Whether `/proc` is read for executable, owner and environment.
    pub process: bool,
    /// Whether the container id is taken from the cgroup.
    pub container: bool,
    /// Pod metadata.
    pub kubernetes: Kubernetes,
}

/// `enrich.kubernetes`: pod metadata from the API server.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Kubernetes {
    /// Whether the API server is asked.
    pub enabled: bool,
    /// The node whose pods are watched; `None` if it was not given.
    pub node_name: Option<String>,
}

/// `resource`: what is added to every resource.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Resource {
    /// Attributes by name.
    pub attributes: BTreeMap<String, AttributeValue>,
}

/// `exporters`: where spans go.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Exporters {
    /// A collector that speaks OTLP over gRPC.
    pub otlp: Otlp,
    /// OTLP/JSON lines.
    pub file: FileExporter,
}

impl Exporters {
    /// Whether spans go nowhere.
    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.otlp.enabled && self.file.target.is_none()
    }
}

/// `exporters.file`: OTLP/JSON lines.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct FileExporter {
    /// Where they go; `None` is off.
    pub target: Option<FileTarget>,
    /// At which size a file is replaced by a new one; `None` is never.
    pub max_size_bytes: Option<u64>,
    /// How many old files are kept; `None` is all.
    pub max_files: Option<u32>,
}

/// `exporters.otlp`: a collector that speaks OTLP over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// Whether anything is sent there.
    pub enabled: bool,
    /// The collector's address.
    pub endpoint: Endpoint,
    /// The HTTP proxy on the way there, from the environment.
    pub proxy: Option<Proxy>,
    /// Headers of each request: lower-case names, values of printable ASCII.
    pub headers: BTreeMap<String, Secret>,
    /// Compression of the requests.
    pub compression: Compression,
    /// Deadline of one request, above zero.
    pub timeout: Duration,
    /// Largest request before compression.
    pub max_request_size_bytes: u64,
    /// How the server is authenticated, and the agent to it.
    pub tls: Tls,
    /// When a request is sent again.
    pub retry_on_failure: Retry,
    /// What waits to be sent.
    pub sending_queue: SendingQueue,
    /// When spans that wait become a request.
    pub batch: Batch,
}

/// `exporters.otlp.tls`: used when the endpoint is `https`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tls {
    /// Whether an endpoint without a scheme is `http`. A scheme in the endpoint beats this.
    pub insecure: bool,
    /// PEM file of the authorities to trust; `None` trusts those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client certificate; given exactly if `key_file` is.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client certificate's key.
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate must have; `None` takes the host of the endpoint.
    pub server_name_override: Option<String>,
    /// How often the files are read again; `None` reads them once.
    pub reload_interval: Option<Duration>,
}

/// `exporters.otlp.retry_on_failure`: exponential backoff.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Whether a failed request is sent again.
    pub enabled: bool,
    /// Wait before the first repetition, above zero.
    pub initial_interval: Duration,
    /// Longest wait, at least `initial_interval`.
    pub max_interval: Duration,
    /// Growth of the wait, at least 1.
    pub multiplier: f64,
    /// Each wait is drawn from this share below to this share above it, 0 to 1.
    pub randomization_factor: f64,
    /// After this long a request is given up; `None` never gives up.
    pub max_elapsed_time: Option<Duration>,
}

/// `exporters.otlp.sending_queue`: what waits to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SendingQueue {
    /// Bytes of encoded spans that may wait in memory, at least one batch.
    pub queue_size_bytes: u64,
    /// Requests in flight at once, 1 to 1024.
    pub num_consumers: u32,
    /// The part of the queue that is on disk.
    pub storage: Storage,
}

/// `exporters.otlp.sending_queue.storage`: the queue on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// Directory of the queue; `None` keeps the queue in memory.
    pub directory: Option<PathBuf>,
    /// Bytes that the directory may hold, at least one batch.
    pub max_size_bytes: u64,
}

/// `exporters.otlp.batch`: when spans that wait become a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Longest time that a span waits for others, above zero.
    pub flush_timeout: Duration,
    /// Bytes of encoded spans that make a batch full, at most `max_request_size_bytes`.
    pub max_size_bytes: u64,
}

/// `metrics`: the agent's metrics.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Metrics {
    /// Metrics over OTLP, to the endpoint of `exporters.otlp`.
    pub otlp: OtlpMetrics,
    /// Address that serves `/metrics` to Prometheus; `None` is off.
    pub prometheus_address: Option<SocketAddr>,
}

/// `metrics.otlp`: metrics over OTLP.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpMetrics {
    /// Whether metrics are sent.
    pub enabled: bool,
    /// Time between two exports, above zero.
    pub interval: Duration,
}

/// `health`: the health endpoint.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Health {
    /// Address that serves `/healthz` and `/readyz`; `None` is off.
    pub address: Option<SocketAddr>,
}

/// `logs`: the agent's own log on standard error.
#[derive(Clone, Debug, PartialEq)]
pub struct Logs {
    /// The least severe lines that are written.
    pub level: LogLevel,
    /// The form of the lines.
    pub format: LogFormat,
}
