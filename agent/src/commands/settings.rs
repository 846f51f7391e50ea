//! From a configuration to the settings of the stages.

use tokio::runtime::Handle;

use crate::config::{self, AttributeValue, Config, FileTarget, Globs};
use crate::export::settings::{
    BatchSettings, Compression, ExportSettings, FileSettings, OtlpSettings, QueueSettings,
    RetrySettings, StorageSettings, TlsSettings,
};
use crate::filter::NameFilter;
use crate::host::Host;
use crate::ids::Ids;
use crate::kernel::{Backend, BackendChoice, IdList, KernelFilter, KernelSettings, NameTable};
use crate::kubernetes::Pods;
use crate::pipeline::PipelineSettings;
use crate::process::{Enrichment, Processes};
use crate::resource::Value;
use crate::sampling::Sampling;
use crate::span::{Correlation, SpanSettings};

const AUTHORIZATION: &str = "authorization";

pub(super) fn backend(choice: config::Backend) -> BackendChoice {
    match choice {
        config::Backend::Auto => BackendChoice::Auto,
        config::Backend::Fentry => BackendChoice::Only(Backend::Fentry),
        config::Backend::Kprobe => BackendChoice::Only(Backend::Kprobe),
        config::Backend::Tracepoint => BackendChoice::Only(Backend::Tracepoint),
    }
}

pub(super) fn kernel(config: &Config) -> KernelSettings {
    let capture = &config.capture;
    KernelSettings {
        syscalls: capture
            .syscalls
            .iter()
            .map(|call| call.as_str().to_owned())
            .collect(),
        native: capture.abis.contains(&config::Abi::Native),
        compat: capture.abis.contains(&config::Abi::Compat),
        ring_buffer_size: capture.ring_buffer_size_bytes,
        max_in_flight: capture.max_in_flight,
        payload_max: if capture.payload.enabled {
            capture.payload.max_bytes
        } else {
            0
        },
        environments: config.enrich.process,
        filter: filters(&config.filter).0,
    }
}

/// A filter as what the kernel decides and what is left to the agent.
fn filters(filter: &config::Filter) -> (KernelFilter, NameFilter) {
    let mut kernel = kernel_filter(filter);
    let names = NameFilter::new(filter, &kernel);
    kernel.agent_decides = !names.is_left_nothing();
    (kernel, names)
}

fn kernel_filter(filter: &config::Filter) -> KernelFilter {
    let (include, exclude) = (&filter.include, &filter.exclude);
    let is_about = |list: fn(&config::Selector) -> &Globs| {
        !list(include).is_empty() || !list(exclude).is_empty()
    };
    let mut uids = IdList {
        include: include.uids.clone(),
        exclude: exclude.uids.clone(),
    };
    let mut namespaces = IdList {
        include: include.namespaces.clone(),
        exclude: exclude.namespaces.clone(),
    };
    if !IdList::fit([&uids, &namespaces]) {
        (uids, namespaces) = (IdList::default(), IdList::default());
    }
    KernelFilter {
        include_pids: include.pids.clone(),
        exclude_pids: exclude.pids.clone(),
        min_duration_ns: u64::try_from(filter.min_duration.as_nanos()).unwrap_or(u64::MAX),
        errors_only: filter.errors_only,
        comms: is_about(|list| &list.comms)
            .then(|| NameTable::new(&include.comms, &exclude.comms))
            .flatten(),
        queues: is_about(|list| &list.queues)
            .then(|| NameTable::of_queues(&include.queues, &exclude.queues))
            .flatten(),
        without_queue: include.queues.is_empty(),
        uids,
        namespaces,
        by_container: is_about(|list| &list.containers),
        agent_decides: false,
    }
}

fn span(config: &Config, host: &Host) -> SpanSettings {
    SpanSettings {
        ids: Ids::new(host.boot_seed()),
        correlation: match config.traces.correlation {
            config::Correlation::Parent => Correlation::Parent,
            config::Correlation::Link => Correlation::Link,
            config::Correlation::None => Correlation::None,
        },
        unset_status_errnos: config.traces.unset_status_errnos.clone(),
    }
}

/// What can change while the pipeline runs.
pub(super) fn pipeline(config: &Config, host: &Host) -> PipelineSettings {
    PipelineSettings {
        span: span(config, host),
        filter: filters(&config.filter).1,
        sampling: sampling(config),
    }
}

fn sampling(config: &Config) -> Sampling {
    if config.exporters.is_none() {
        return Sampling::new(0.0, false, None);
    }
    let sampling = &config.sampling;
    let keep = &sampling.always_keep;
    Sampling::new(sampling.ratio, keep.errors, keep.slower_than)
}

/// The pods of the node, watched from now on, if they are wanted.
///
/// # Errors
/// When nothing says where the API server is.
pub(super) fn pods(config: &Config, runtime: &Handle) -> anyhow::Result<Option<Pods>> {
    let wanted = &config.enrich.kubernetes;
    wanted
        .node_name
        .as_deref()
        .filter(|_| wanted.enabled)
        .map(|node_name| Pods::watch(node_name, runtime))
        .transpose()
}

/// What the configuration adds to every resource.
pub(super) fn resource_attributes(config: &Config) -> Vec<(String, Value)> {
    config
        .resource
        .attributes
        .iter()
        .map(|(key, value)| {
            let value = match value {
                AttributeValue::String(text) => Value::String(text.clone()),
                AttributeValue::Int(number) => Value::Int(*number),
                AttributeValue::Double(number) => Value::Double(*number),
                AttributeValue::Bool(yes) => Value::Bool(*yes),
            };
            (key.clone(), value)
        })
        .collect()
}

pub(super) fn enrichment(config: &Config) -> Enrichment {
    Enrichment {
        process: config.enrich.process,
        container: config.enrich.container,
    }
}

pub(super) fn processes(config: &Config, host: Host) -> Processes {
    Processes::new(host, resource_attributes(config), enrichment(config))
}

pub(super) fn export(config: &Config) -> ExportSettings {
    let config::Exporters { otlp, file } = &config.exporters;
    ExportSettings {
        batch: BatchSettings {
            flush_timeout: otlp.batch.flush_timeout,
            max_size_bytes: otlp.batch.max_size_bytes,
        },
        otlp: otlp.enabled.then(|| self::otlp(otlp)),
        file: file.target.as_ref().map(|target| FileSettings {
            path: match target {
                FileTarget::Stdout => "-".into(),
                FileTarget::Path(path) => path.clone(),
            },
            queue_size_bytes: otlp.sending_queue.queue_size_bytes,
            max_size_bytes: file.max_size_bytes,
            max_files: file.max_files,
        }),
    }
}

pub(super) fn otlp(otlp: &config::Otlp) -> OtlpSettings {
    let retry = &otlp.retry_on_failure;
    let queue = &otlp.sending_queue;
    let mut headers: Vec<_> = (otlp.headers.iter())
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect();
    if let Some(basic) = otlp.endpoint.basic_authorization()
        && !otlp.headers.contains_key(AUTHORIZATION)
    {
        headers.push((AUTHORIZATION.to_owned(), basic.expose().to_owned()));
    }
    OtlpSettings {
        endpoint: otlp.endpoint.url(),
        proxy: otlp.proxy.clone(),
        headers,
        compression: match otlp.compression {
            config::Compression::None => Compression::None,
            config::Compression::Gzip => Compression::Gzip,
            config::Compression::Zstd => Compression::Zstd,
        },
        timeout: otlp.timeout,
        max_request_size_bytes: otlp.max_request_size_bytes,
        tls: TlsSettings {
            insecure: otlp.tls.insecure,
            ca_file: otlp.tls.ca_file.clone(),
            cert_file: otlp.tls.cert_file.clone(),
            key_file: otlp.tls.key_file.clone(),
            server_name_override: otlp.tls.server_name_override.clone(),
            reload_interval: otlp.tls.reload_interval.unwrap_or_default(),
        },
        retry: RetrySettings {
            enabled: retry.enabled,
            initial_interval: retry.initial_interval,
            max_interval: retry.max_interval,
            multiplier: retry.multiplier,
            randomization_factor: retry.randomization_factor,
            max_elapsed_time: retry.max_elapsed_time.unwrap_or_default(),
        },
        queue: QueueSettings {
            size_bytes: queue.queue_size_bytes,
            consumers: queue.num_consumers as usize,
            storage: queue
                .storage
                .directory
                .as_ref()
                .map(|directory| StorageSettings {
                    directory: directory.clone(),
                    max_size_bytes: queue.storage.max_size_bytes,
                }),
        },
    }
}
