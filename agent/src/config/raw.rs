//! The configuration as it is written: every key by its name, typed but not yet checked.
//!
//! The field names are the contract. The defaults and the reverse way, for printing, come from [`Config`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::units::{HumanDuration, Size};
use super::values::{AttributeValue, FileTarget, NamespaceInode, Secret};
use super::{
    Abi, Backend, Compression, Config, Correlation, Globs, LogFormat, LogLevel, Selector, Syscall,
};
use crate::errno;

/// Defines one mapping of the file. A key that is not given has the default of the whole mapping.
macro_rules! raw {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ $(,)? } = $default:expr) => {
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name {
            $(pub(super) $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                $default
            }
        }
    };
}

raw!(
    /// The root.
    RawConfig {
        capture: RawCapture,
        filter: RawFilter,
        sampling: RawSampling,
        traces: RawTraces,
        enrich: RawEnrich,
        resource: RawResource,
        exporters: RawExporters,
        metrics: RawMetrics,
        health: RawAddress,
        logs: RawLogs,
    } = RawConfig::from(&Config::default())
);
raw!(RawCapture {
    backend: Backend,
    syscalls: Vec<Syscall>,
    abis: Vec<Abi>,
    ring_buffer_size: Size,
    max_in_flight: u32,
    payload: RawPayload,
} = RawConfig::default().capture);
raw!(
    RawPayload {
        enabled: bool,
        max_bytes: u32,
    } = RawConfig::default().capture.payload
);
raw!(
    RawFilter {
        include: RawSelector,
        exclude: RawSelector,
        min_duration: HumanDuration,
        errors_only: bool,
    } = RawConfig::default().filter
);
raw!(RawSelector {
    pids: Vec<u32>,
    comms: Vec<String>,
    uids: Vec<u32>,
    queues: Vec<String>,
    namespaces: Vec<NamespaceInode>,
    containers: Vec<String>,
} = RawConfig::default().filter.include);
raw!(
    RawSampling {
        ratio: f64,
        always_keep: RawAlwaysKeep,
    } = RawConfig::default().sampling
);
raw!(
    RawAlwaysKeep {
        errors: bool,
        slower_than: HumanDuration,
    } = RawConfig::default().sampling.always_keep
);
raw!(RawTraces {
    correlation: Correlation,
    unset_status_errnos: Vec<String>,
} = RawConfig::default().traces);
raw!(
    RawEnrich {
        process: bool,
        container: bool,
        kubernetes: RawKubernetes,
    } = RawConfig::default().enrich
);
raw!(
    RawKubernetes {
        enabled: bool,
        node_name: String,
    } = RawConfig::default().enrich.kubernetes
);
raw!(RawResource {
    attributes: BTreeMap<String, AttributeValue>,
} = RawConfig::default().resource);
raw!(
    RawExporters {
        otlp: RawOtlp,
        file: RawFile,
    } = RawConfig::default().exporters
);
raw!(RawOtlp {
    enabled: bool,
    endpoint: String,
    headers: BTreeMap<String, Secret>,
    compression: Compression,
    timeout: HumanDuration,
    max_request_size: Size,
    tls: RawTls,
    retry_on_failure: RawRetry,
    sending_queue: RawSendingQueue,
    batch: RawBatch,
} = RawConfig::default().exporters.otlp);
raw!(
    RawTls {
        insecure: bool,
        ca_file: String,
        cert_file: String,
        key_file: String,
        server_name_override: String,
        reload_interval: HumanDuration,
    } = RawConfig::default().exporters.otlp.tls
);
raw!(
    RawRetry {
        enabled: bool,
        initial_interval: HumanDuration,
        max_interval: HumanDuration,
        multiplier: f64,
        randomization_factor: f64,
        max_elapsed_time: HumanDuration,
    } = RawConfig::default().exporters.otlp.retry_on_failure
);
raw!(
    RawSendingQueue {
        queue_size: Size,
        num_consumers: u32,
        storage: RawStorage,
    } = RawConfig::default().exporters.otlp.sending_queue
);
raw!(
    RawStorage {
        directory: String,
        max_size: Size,
    } = RawConfig::default().exporters.otlp.sending_queue.storage
);
raw!(
    RawBatch {
        flush_timeout: HumanDuration,
        max_size: Size,
    } = RawConfig::default().exporters.otlp.batch
);
raw!(
    RawFile {
        path: String,
        max_size: Size,
        max_files: u32,
    } = RawConfig::default().exporters.file
);
raw!(
    RawMetrics {
        otlp: RawOtlpMetrics,
        prometheus: RawAddress,
    } = RawConfig::default().metrics
);
raw!(
    RawOtlpMetrics {
        enabled: bool,
        interval: HumanDuration,
    } = RawConfig::default().metrics.otlp
);
raw!(
    /// An address to listen on; empty is off.
    RawAddress {
        address: String,
    } = RawConfig::default().health
);
raw!(
    RawLogs {
        level: LogLevel,
        format: LogFormat,
    } = RawConfig::default().logs
);

impl From<&Config> for RawConfig {
    /// The way back, for defaults and printing. Secrets are masked on the way.
    fn from(config: &Config) -> Self {
        let address = |address: Option<std::net::SocketAddr>| RawAddress {
            address: address.map(|a| a.to_string()).unwrap_or_default(),
        };
        Self {
            capture: RawCapture::from(&config.capture),
            filter: RawFilter {
                include: RawSelector::from(&config.filter.include),
                exclude: RawSelector::from(&config.filter.exclude),
                min_duration: HumanDuration(config.filter.min_duration),
                errors_only: config.filter.errors_only,
            },
            sampling: RawSampling {
                ratio: config.sampling.ratio,
                always_keep: RawAlwaysKeep {
                    errors: config.sampling.always_keep.errors,
                    slower_than: zero_if_off(config.sampling.always_keep.slower_than),
                },
            },
            traces: RawTraces {
                correlation: config.traces.correlation,
                unset_status_errnos: errno_names(&config.traces.unset_status_errnos),
            },
            enrich: RawEnrich {
                process: config.enrich.process,
                container: config.enrich.container,
                kubernetes: RawKubernetes {
                    enabled: config.enrich.kubernetes.enabled,
                    node_name: config
                        .enrich
                        .kubernetes
                        .node_name
                        .clone()
                        .unwrap_or_default(),
                },
            },
            resource: RawResource {
                attributes: config.resource.attributes.clone(),
            },
            exporters: RawExporters {
                otlp: RawOtlp::from(&config.exporters.otlp),
                file: RawFile {
                    path: target_path(config.exporters.file.target.as_ref()),
                    max_size: Size(config.exporters.file.max_size_bytes.unwrap_or_default()),
                    max_files: config.exporters.file.max_files.unwrap_or_default(),
                },
            },
            metrics: RawMetrics {
                otlp: RawOtlpMetrics {
                    enabled: config.metrics.otlp.enabled,
                    interval: HumanDuration(config.metrics.otlp.interval),
                },
                prometheus: address(config.metrics.prometheus_address),
            },
            health: address(config.health.address),
            logs: RawLogs {
                level: config.logs.level,
                format: config.logs.format,
            },
        }
    }
}

impl From<&super::Capture> for RawCapture {
    fn from(capture: &super::Capture) -> Self {
        Self {
            backend: capture.backend,
            syscalls: capture.syscalls.clone(),
            abis: capture.abis.clone(),
            ring_buffer_size: Size(capture.ring_buffer_size_bytes.into()),
            max_in_flight: capture.max_in_flight,
            payload: RawPayload {
                enabled: capture.payload.enabled,
                max_bytes: capture.payload.max_bytes,
            },
        }
    }
}

impl From<&Selector> for RawSelector {
    fn from(selector: &Selector) -> Self {
        let patterns = |globs: &Globs| globs.patterns().to_vec();
        let inodes = selector.namespaces.iter();
        Self {
            pids: selector.pids.clone(),
            comms: patterns(&selector.comms),
            uids: selector.uids.clone(),
            queues: patterns(&selector.queues),
            namespaces: inodes.map(|inode| NamespaceInode(*inode)).collect(),
            containers: patterns(&selector.containers),
        }
    }
}

impl From<&super::Otlp> for RawOtlp {
    fn from(otlp: &super::Otlp) -> Self {
        let retry = &otlp.retry_on_failure;
        let queue = &otlp.sending_queue;
        Self {
            enabled: otlp.enabled,
            endpoint: otlp.endpoint.to_string(),
            headers: otlp.headers.clone(),
            compression: otlp.compression,
            timeout: HumanDuration(otlp.timeout),
            max_request_size: Size(otlp.max_request_size_bytes),
            tls: RawTls {
                insecure: otlp.tls.insecure,
                ca_file: path_text(otlp.tls.ca_file.as_ref()),
                cert_file: path_text(otlp.tls.cert_file.as_ref()),
                key_file: path_text(otlp.tls.key_file.as_ref()),
                server_name_override: otlp.tls.server_name_override.clone().unwrap_or_default(),
                reload_interval: zero_if_off(otlp.tls.reload_interval),
            },
            retry_on_failure: RawRetry {
                enabled: retry.enabled,
                initial_interval: HumanDuration(retry.initial_interval),
                max_interval: HumanDuration(retry.max_interval),
                multiplier: retry.multiplier,
                randomization_factor: retry.randomization_factor,
                max_elapsed_time: zero_if_off(retry.max_elapsed_time),
            },
            sending_queue: RawSendingQueue {
                queue_size: Size(queue.queue_size_bytes),
                num_consumers: queue.num_consumers,
                storage: RawStorage {
                    directory: path_text(queue.storage.directory.as_ref()),
                    max_size: Size(queue.storage.max_size_bytes),
                },
            },
            batch: RawBatch {
                flush_timeout: HumanDuration(otlp.batch.flush_timeout),
                max_size: Size(otlp.batch.max_size_bytes),
            },
        }
    }
}

fn zero_if_off(duration: Option<std::time::Duration>) -> HumanDuration {
    HumanDuration(duration.unwrap_or_default())
}

fn path_text(path: Option<&std::path::PathBuf>) -> String {
    path.map(|path| path.display().to_string())
        .unwrap_or_default()
}

fn target_path(target: Option<&FileTarget>) -> String {
    match target {
        None => String::new(),
        Some(FileTarget::Stdout) => "-".into(),
        Some(FileTarget::Path(path)) => path_text(Some(path)),
    }
}

fn errno_names(errnos: &[i32]) -> Vec<String> {
    let names = errnos.iter().filter_map(|errno| errno::name(*errno));
    names.map(str::to_owned).collect()
}
