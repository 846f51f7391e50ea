//! `RawConfig` to `Config`: every rule about values, each with a message that names the mend.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::error::closest;
use super::globs::{compile, is_literal};
use super::raw::{RawCapture, RawConfig, RawExporters, RawFile, RawKubernetes, RawSelector};
use super::units::{HumanDuration, Size};
use super::{
    AlwaysKeep, AttributeValue, Capture, Config, Enrich, Exporters, FileExporter, FileTarget,
    Filter, Globs, Health, Kubernetes, Logs, Metrics, OtlpMetrics, Payload, Resource, Sampling,
    Selector, Traces,
};
use crate::errno;

/// Largest BPF ring buffer: the map's `max_entries` is 32 bits wide and a power of two.
const MAX_RING_BUFFER: u64 = 1 << 31;

/// The kernel's limit of threads on 64-bit machines, `PID_MAX_LIMIT` in `include/linux/threads.h`.
const MAX_THREADS: u32 = 4 * 1024 * 1024;

/// Bytes of a command name without its end, `TASK_COMM_LEN` - 1 in `include/linux/sched.h`.
const MAX_COMM: usize = 15;

/// Collects what is wrong, and what is only odd, by key path.
pub(super) struct Checks {
    /// Bytes of a memory page on this machine.
    pub(super) page_size: u64,
    pub(super) problems: Vec<(Vec<String>, String)>,
    pub(super) warnings: Vec<(Vec<String>, String)>,
}

impl Checks {
    pub(super) fn new(page_size: u64) -> Self {
        Self {
            page_size,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push((split(key), message.into()));
    }

    pub(super) fn warning(&mut self, key: &str, message: impl Into<String>) {
        self.warnings.push((split(key), message.into()));
    }

    pub(super) fn require(&mut self, holds: bool, key: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.problem(key, message());
        }
    }

    /// Checks everything. The result counts only if there are no problems.
    pub(super) fn config(&mut self, raw: RawConfig) -> Config {
        Config {
            capture: self.capture(raw.capture),
            filter: Filter {
                include: self.selector("filter.include", raw.filter.include),
                exclude: self.selector("filter.exclude", raw.filter.exclude),
                min_duration: raw.filter.min_duration.0,
                errors_only: raw.filter.errors_only,
            },
            sampling: Sampling {
                ratio: self.share("sampling.ratio", raw.sampling.ratio),
                always_keep: AlwaysKeep {
                    errors: raw.sampling.always_keep.errors,
                    slower_than: off_if_zero(raw.sampling.always_keep.slower_than),
                },
            },
            traces: Traces {
                correlation: raw.traces.correlation,
                unset_status_errnos: self.errnos(&raw.traces.unset_status_errnos),
            },
            enrich: Enrich {
                process: raw.enrich.process,
                container: raw.enrich.container,
                kubernetes: self.kubernetes(raw.enrich.kubernetes),
            },
            resource: Resource {
                attributes: self.attributes(raw.resource.attributes),
            },
            exporters: self.exporters(raw.exporters),
            metrics: Metrics {
                otlp: OtlpMetrics {
                    enabled: raw.metrics.otlp.enabled,
                    interval: self.above_zero("metrics.otlp.interval", raw.metrics.otlp.interval),
                },
                prometheus_address: self.address(
                    "metrics.prometheus.address",
                    &raw.metrics.prometheus.address,
                ),
            },
            health: Health {
                address: self.address("health.address", &raw.health.address),
            },
            logs: Logs {
                level: raw.logs.level,
                format: raw.logs.format,
            },
        }
    }

    fn exporters(&mut self, raw: RawExporters) -> Exporters {
        let exporters = Exporters {
            otlp: self.otlp(raw.otlp),
            file: self.file(raw.file),
        };
        if exporters.is_none() {
            let message = "spans go nowhere and count as sampled out; set `exporters.otlp.enabled: true` or `exporters.file.path`";
            self.warning("exporters", message);
        }
        exporters
    }

    fn file(&mut self, raw: RawFile) -> FileExporter {
        let target = some_if_given(raw.path).map(|path| match path.as_str() {
            "-" => FileTarget::Stdout,
            _ => FileTarget::Path(path.into()),
        });
        let is_limited = raw.max_size.0 > 0;
        if is_limited && target == Some(FileTarget::Stdout) {
            let message = "the limit has no effect on standard output";
            self.warning("exporters.file.max_size", message);
        }
        if raw.max_files > 0 && !is_limited {
            let message = "the number has no effect, because no file is ever full; set `exporters.file.max_size`";
            self.warning("exporters.file.max_files", message);
        }
        FileExporter {
            target,
            max_size_bytes: is_limited.then_some(raw.max_size.0),
            max_files: (raw.max_files > 0).then_some(raw.max_files),
        }
    }

    fn kubernetes(&mut self, raw: RawKubernetes) -> Kubernetes {
        let is_named = !raw.node_name.is_empty();
        self.require(!raw.enabled || is_named, "enrich.kubernetes.node_name", || {
            "found nothing, expected the name of the node whose pods to watch; in a pod, set `${env:NODE_NAME}` and take that variable from \
             `spec.nodeName`".to_owned()
        });
        Kubernetes {
            enabled: raw.enabled,
            node_name: some_if_given(raw.node_name),
        }
    }

    fn capture(&mut self, raw: RawCapture) -> Capture {
        let lists = [
            (
                "capture.syscalls",
                raw.syscalls.is_empty(),
                "`mq_timedreceive`",
            ),
            ("capture.abis", raw.abis.is_empty(), "`native`"),
        ];
        for (key, is_empty, example) in lists {
            self.require(!is_empty, key, || {
                format!("found an empty list, expected at least one name, such as {example}; leave the key out to get all")
            });
        }
        let in_range = (1..=MAX_THREADS).contains(&raw.max_in_flight);
        self.require(in_range, "capture.max_in_flight", || {
            format!(
                "found {}, expected 1 to {MAX_THREADS}, the kernel's limit of threads",
                raw.max_in_flight
            )
        });
        let max_bytes = raw.payload.max_bytes;
        self.require((1..=4096).contains(&max_bytes), "capture.payload.max_bytes", || {
            format!("found {max_bytes}, expected 1 to 4096; to capture none set `capture.payload.enabled: false`")
        });
        Capture {
            backend: raw.backend,
            syscalls: sorted(raw.syscalls),
            abis: sorted(raw.abis),
            ring_buffer_size_bytes: self.ring_buffer(raw.ring_buffer_size),
            max_in_flight: raw.max_in_flight,
            payload: Payload {
                enabled: raw.payload.enabled,
                max_bytes,
            },
        }
    }

    /// The rules of `BPF_MAP_TYPE_RINGBUF`, see `ringbuf_map_alloc()` in the kernel's `kernel/bpf/ringbuf.c`.
    fn ring_buffer(&mut self, size: Size) -> u32 {
        let page_size = self.page_size;
        let fits = (page_size..=MAX_RING_BUFFER).contains(&size.0);
        self.require(
            fits && size.0.is_power_of_two(),
            "capture.ring_buffer_size",
            || {
                let next = size.0.clamp(page_size, MAX_RING_BUFFER).next_power_of_two();
                format!(
                    "found {size}, expected a power of two from one page ({}) to {}, such as {}",
                    Size(page_size),
                    Size(MAX_RING_BUFFER),
                    Size(next)
                )
            },
        );
        u32::try_from(size.0).unwrap_or(u32::MAX)
    }

    fn selector(&mut self, key: &str, raw: RawSelector) -> Selector {
        for (index, pid) in raw.pids.iter().enumerate() {
            self.require(*pid > 0, &format!("{key}.pids.{index}"), || {
                "found 0, expected a process id of at least 1".into()
            });
        }
        for (index, comm) in raw.comms.iter().enumerate() {
            if is_literal(comm) && comm.len() > MAX_COMM {
                let message = format!(
                    "`{comm}` never matches, because the kernel keeps {MAX_COMM} bytes of a command name; shorten it or end it with `*`"
                );
                self.warning(&format!("{key}.comms.{index}"), message);
            }
        }
        Selector {
            pids: raw.pids,
            comms: self.globs(&format!("{key}.comms"), &raw.comms),
            uids: raw.uids,
            queues: self.globs(&format!("{key}.queues"), &raw.queues),
            namespaces: raw.namespaces.iter().map(|inode| inode.0).collect(),
            containers: self.globs(&format!("{key}.containers"), &raw.containers),
        }
    }

    fn globs(&mut self, key: &str, patterns: &[String]) -> Globs {
        for (index, pattern) in patterns.iter().enumerate() {
            let key = format!("{key}.{index}");
            self.require(!pattern.is_empty(), &key, || {
                "found an empty pattern, which matches nothing, expected a glob such as `a*`".into()
            });
            if let Err(error) = compile(pattern) {
                let reason = error.kind();
                let message = format!(
                    "found the malformed glob `{pattern}` ({reason}), expected a glob such as `a*`; write `\\[` or `\\{{` for the characters themselves"
                );
                self.problem(&key, message);
            }
        }
        Globs::new(patterns).unwrap_or_default()
    }

    fn errnos(&mut self, names: &[String]) -> Vec<i32> {
        let mut out = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match errno::number(name) {
                Some(errno) => out.push(errno),
                None => {
                    let all: Vec<&str> = errno::names().collect();
                    let hint = match closest(name, &all) {
                        Some(close) => format!("; did you mean `{close}`?"),
                        None => String::new(),
                    };
                    let message = format!(
                        "found `{name}`, expected the name of a Linux error code, such as `ETIMEDOUT`{hint}"
                    );
                    self.problem(&format!("traces.unset_status_errnos.{index}"), message);
                }
            }
        }
        sorted(out)
    }

    fn attributes(
        &mut self,
        attributes: BTreeMap<String, AttributeValue>,
    ) -> BTreeMap<String, AttributeValue> {
        self.require(!attributes.contains_key(""), "resource.attributes", || {
            "found an attribute with an empty name, expected a name such as `team`".into()
        });
        attributes
    }

    pub(super) fn above_zero(&mut self, key: &str, duration: HumanDuration) -> Duration {
        self.require(!duration.0.is_zero(), key, || {
            "found 0s, expected a duration above zero".into()
        });
        duration.0
    }

    pub(super) fn size(&mut self, key: &str, size: Size) -> u64 {
        self.require(size.0 > 0, key, || {
            "found 0B, expected a size above zero".into()
        });
        size.0
    }

    pub(super) fn share(&mut self, key: &str, share: f64) -> f64 {
        self.require((0.0..=1.0).contains(&share), key, || {
            format!("found {share}, expected a number from 0 to 1")
        });
        share
    }

    fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        if text.is_empty() {
            return None;
        }
        let with_ip = text
            .strip_prefix("localhost:")
            .map(|port| format!("127.0.0.1:{port}"));
        let parsed = with_ip.as_deref().unwrap_or(text).parse().ok();
        self.require(parsed.is_some(), key, || {
            format!("found `{text}`, expected an IP address and a port, such as `127.0.0.1:13133`, `[::]:13133` or `localhost:13133`; leave it empty to switch it off")
        });
        parsed
    }
}

fn split(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list.dedup();
    list
}

pub(super) fn some_if_given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn off_if_zero(duration: HumanDuration) -> Option<Duration> {
    (!duration.0.is_zero()).then_some(duration.0)
}
