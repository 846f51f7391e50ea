//! What the exporters can be told. Plain values, checked where they are used.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Proxy;

/// Everything right of the encoder.
#[derive(Debug, Clone, Default)]
pub struct ExportSettings {
    /// How spans are collected into requests.
    pub batch: BatchSettings,
    /// To a collector.
    pub otlp: Option<OtlpSettings>,
    /// To a file.
    pub file: Option<FileSettings>,
}

/// How spans are collected into requests.
#[derive(Debug, Clone)]
pub struct BatchSettings {
    /// A batch is cut when its first span has waited so long.
    pub flush_timeout: Duration,
    /// A batch is cut before it would exceed so many bytes.
    pub max_size_bytes: u64,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            flush_timeout: Duration::from_millis(200),
            max_size_bytes: 1 << 20,
        }
    }
}

/// An OTLP/gRPC collector.
#[derive(Clone)]
pub struct OtlpSettings {
    /// `http://host:port`, `https://host:port`, or `host:port`, which is
    /// https unless `tls.insecure`.
    pub endpoint: String,
    /// Through which the collector is reached.
    pub proxy: Option<Proxy>,
    /// Sent with each request as gRPC metadata; values may be secrets and are
    /// never logged.
    pub headers: Vec<(String, String)>,
    /// Of requests.
    pub compression: Compression,
    /// For one try of one request, connecting included.
    pub timeout: Duration,
    /// Larger requests are split before they are sent; uncompressed bytes.
    pub max_request_size_bytes: u64,
    /// Of https endpoints.
    pub tls: TlsSettings,
    /// What to do when a request fails.
    pub retry: RetrySettings,
    /// Between the capture thread and the collector.
    pub queue: QueueSettings,
}

impl fmt::Debug for OtlpSettings {
    /// Headers by name only: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("OtlpSettings")
            .field("endpoint", &self.endpoint)
            .field("proxy", &self.proxy)
            .field("headers", &names)
            .field("compression", &self.compression)
            .field("timeout", &self.timeout)
            .field("max_request_size_bytes", &self.max_request_size_bytes)
            .field("tls", &self.tls)
            .field("retry", &self.retry)
            .field("queue", &self.queue)
            .finish()
    }
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            endpoint: "http://localhost:4317".to_owned(),
            proxy: None,
            headers: Vec::new(),
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            max_request_size_bytes: 4 << 20,
            tls: TlsSettings::default(),
            retry: RetrySettings::default(),
            queue: QueueSettings::default(),
        }
    }
}

/// Of a whole gRPC message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of the codings")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

/// Of https endpoints.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// An endpoint without a scheme is plain text.
    pub insecure: bool,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM certificate chain of this client; goes with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM key of this client.
    pub key_file: Option<PathBuf>,
    /// Name to expect in the server's certificate instead of the endpoint's.
    pub server_name_override: Option<String>,
    /// How often the files are looked at for changes; zero is never.
    pub reload_interval: Duration,
}

/// Exponential backoff, as the Collector's `retry_on_failure`.
#[derive(Debug, Clone, Copy)]
pub struct RetrySettings {
    /// Without, a request is tried once.
    pub enabled: bool,
    /// Before the second try.
    pub initial_interval: Duration,
    /// The longest pause.
    pub max_interval: Duration,
    /// From one pause to the next; less than 1 is 1.
    pub multiplier: f64,
    /// A pause is drawn from the interval times 1 plus or minus this.
    pub randomization_factor: f64,
    /// From the first try; zero is for ever.
    pub max_elapsed_time: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
            multiplier: 1.5,
            randomization_factor: 0.5,
            max_elapsed_time: Duration::ZERO,
        }
    }
}

/// Between the capture thread and the collector.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// Bytes of batches waiting or being sent, in memory.
    pub size_bytes: u64,
    /// Requests under way at once; at least 1.
    pub consumers: usize,
    /// On disk instead.
    pub storage: Option<StorageSettings>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            size_bytes: 64 << 20,
            consumers: 4,
            storage: None,
        }
    }
}

/// A queue on disk.
#[derive(Debug, Clone)]
pub struct StorageSettings {
    /// Made if it is missing.
    pub directory: PathBuf,
    /// Bytes of all its files.
    pub max_size_bytes: u64,
}

/// OTLP/JSON lines.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// A file that is appended to; `-` is the standard output.
    pub path: PathBuf,
    /// Bytes of batches waiting to be written.
    pub queue_size_bytes: u64,
    /// A file that would become larger is renamed, and a new one begins.
    pub max_size_bytes: Option<u64>,
    /// Renamed files that are kept; `None` keeps all.
    pub max_files: Option<u32>,
}
