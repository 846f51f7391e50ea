//! The defaults, in one place: `RawConfig` takes its own from here, and a test holds `config/mqspan.yaml` against them.

use std::time::Duration;

use super::{
    Abi, AlwaysKeep, Backend, Batch, Capture, Compression, Correlation, Endpoint, Enrich,
    Kubernetes, LogFormat, LogLevel, Logs, Otlp, OtlpMetrics, Payload, Retry, Sampling,
    SendingQueue, Storage, Syscall, Tls, Traces,
};

const MIB: u32 = 1024 * 1024;

impl Default for Capture {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            syscalls: Syscall::ALL.to_vec(),
            abis: Abi::ALL.to_vec(),
            ring_buffer_size_bytes: 8 * MIB,
            max_in_flight: 65_536,
            payload: Payload::default(),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self {
            enabled: false,
            max_bytes: 256,
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            ratio: 1.0,
            always_keep: AlwaysKeep::default(),
        }
    }
}

impl Default for AlwaysKeep {
    fn default() -> Self {
        Self {
            errors: true,
            slower_than: None,
        }
    }
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            correlation: Correlation::Parent,
            unset_status_errnos: vec![libc::EINTR, libc::EAGAIN, libc::ETIMEDOUT],
        }
    }
}

impl Default for Enrich {
    fn default() -> Self {
        Self {
            process: true,
            container: true,
            kubernetes: Kubernetes::default(),
        }
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoint: Endpoint::default(),
            proxy: None,
            headers: std::collections::BTreeMap::new(),
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            max_request_size_bytes: u64::from(4 * MIB),
            tls: Tls::default(),
            retry_on_failure: Retry::default(),
            sending_queue: SendingQueue::default(),
            batch: Batch::default(),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
            multiplier: 1.5,
            randomization_factor: 0.5,
            max_elapsed_time: None,
        }
    }
}

impl Default for SendingQueue {
    fn default() -> Self {
        Self {
            queue_size_bytes: u64::from(64 * MIB),
            num_consumers: 4,
            storage: Storage::default(),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            directory: None,
            max_size_bytes: u64::from(1024 * MIB),
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            flush_timeout: Duration::from_millis(200),
            max_size_bytes: u64::from(MIB),
        }
    }
}

impl Default for OtlpMetrics {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60),
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Text,
        }
    }
}
