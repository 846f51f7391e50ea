//! From a configuration to the settings of the stages.

use crate::config::{self, AttributeValue, Config};
use crate::host::Host;
use crate::ids::Ids;
use crate::kernel::{Backend, BackendChoice, KernelFilter, KernelSettings};
use crate::process::Processes;
use crate::resource::Value;
use crate::span::{Correlation, SpanSettings};

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
    let filter = &config.filter;
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
        filter: KernelFilter {
            include_pids: filter.include.pids.clone(),
            exclude_pids: filter.exclude.pids.clone(),
            min_duration_ns: u64::try_from(filter.min_duration.as_nanos()).unwrap_or(u64::MAX),
            errors_only: filter.errors_only,
        },
    }
}

pub(super) fn span(config: &Config, host: &Host) -> SpanSettings {
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

pub(super) fn processes(config: &Config, host: Host) -> Processes {
    let extra = config
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
        .collect();
    Processes::new(host, extra, config.enrich.process)
}
