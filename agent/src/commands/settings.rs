//! From a configuration to the settings of the stages.

use tokio::runtime::Handle;

use crate::config::{self, AttributeValue, Config, Globs, NamespaceInode};
use crate::filter::NameFilter;
use crate::host::Host;
use crate::ids::Ids;
use crate::kernel::{Backend, BackendChoice, IdList, KernelFilter, KernelSettings, NameTable};
use crate::kubernetes::Pods;
use crate::pipeline::PipelineSettings;
use crate::process::{Enrichment, Processes};
use crate::resource::Value;
use crate::sampling::Sampling;
use crate::span::SpanSettings;

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
        ring_buffer_size: u32::try_from(capture.ring_buffer_size.0).unwrap_or(u32::MAX),
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
    let inodes = |list: &[NamespaceInode]| list.iter().map(|inode| inode.0).collect();
    let mut namespaces = IdList {
        include: inodes(&include.namespaces),
        exclude: inodes(&exclude.namespaces),
    };
    if !IdList::fit([&uids, &namespaces]) {
        (uids, namespaces) = (IdList::default(), IdList::default());
    }
    KernelFilter {
        include_pids: include.pids.clone(),
        exclude_pids: exclude.pids.clone(),
        min_duration_ns: u64::try_from(filter.min_duration.0.as_nanos()).unwrap_or(u64::MAX),
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
        traces: config.traces.clone(),
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
    Sampling::new(sampling.ratio, keep.errors, keep.slower_than.unless_zero())
}

/// The pods of the node, watched from now on, if they are wanted.
///
/// # Errors
/// When nothing says where the API server is.
pub(super) fn pods(config: &Config, runtime: &Handle) -> anyhow::Result<Option<Pods>> {
    let wanted = &config.enrich.kubernetes;
    wanted
        .enabled
        .then(|| Pods::watch(&wanted.node_name, runtime))
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
