//! Checks that types cannot express: ranges, and keys that depend on each
//! other. Each message says how to fix the problem.

use http::header::{HeaderName, HeaderValue};

use super::node::KeyPath;
use super::units::{HumanDuration, Size};
use super::{Address, Config, Exporters, Otlp, Protocol, Retry, Selector, SendingQueue};

/// Largest BPF ring buffer: the map's `max_entries` is 32 bits wide and a power of two.
const MAX_RING_BUFFER: u64 = 1 << 31;

/// The kernel's limit of threads on 64-bit machines, `PID_MAX_LIMIT` in
/// `include/linux/threads.h`.
const MAX_THREADS: u32 = 4 * 1024 * 1024;

/// Bytes of a command name without the terminating NUL, `TASK_COMM_LEN` - 1 in
/// `include/linux/sched.h`.
const MAX_COMM: usize = 15;

/// Headers that the exporter sets itself, or that would change what it reads.
const RESERVED_HEADERS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];

/// Problems and warnings, by key path.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<(KeyPath, String)>,
    pub(super) warnings: Vec<(KeyPath, String)>,
}

/// Checks everything, and settles values that depend on another key.
/// `page_size` is this machine's, in bytes.
pub(super) fn check(config: &mut Config, page_size: u64) -> Findings {
    let mut findings = Findings::default();
    findings.capture(config, page_size);
    findings.selector("filter.include", &config.filter.include);
    findings.selector("filter.exclude", &config.filter.exclude);
    findings.share("sampling.ratio", config.sampling.ratio);
    findings.require(
        config.traces.chains.max_hops >= 1,
        "traces.chains.max_hops",
        || {
            "found 0, expected a whole number from 1 on; traces.chains.mode: none turns chains off"
                .to_owned()
        },
    );
    let kubernetes = &config.enrich.kubernetes;
    findings.require(
        !kubernetes.enabled || !kubernetes.node_name.is_empty(),
        "enrich.kubernetes.node_name",
        || {
            "found nothing, expected the name of the node whose pods to watch; in a pod, set `${env:NODE_NAME}` and take that \
             variable from `spec.nodeName`"
                .to_owned()
        },
    );
    findings.require(
        !config.resource.attributes.contains_key(""),
        "resource.attributes",
        || "found an attribute with an empty name, expected a name such as `team`".to_owned(),
    );
    findings.exporters(&mut config.exporters);
    findings.above_zero("metrics.otlp.interval", config.metrics.otlp.interval);
    if config.logs.otlp.enabled && !config.exporters.otlp.enabled {
        findings.warning(
            "logs.otlp.enabled",
            "the log goes to standard error only, since exporters.otlp.enabled is false",
        );
    }
    findings
}

impl Findings {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push((split(key), message.into()));
    }

    fn warning(&mut self, key: &str, message: impl Into<String>) {
        self.warnings.push((split(key), message.into()));
    }

    fn require(&mut self, holds: bool, key: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.problem(key, message());
        }
    }

    fn above_zero(&mut self, key: &str, duration: HumanDuration) {
        self.require(!duration.0.is_zero(), key, || {
            "found 0s, expected a duration above zero".into()
        });
    }

    fn share(&mut self, key: &str, share: f64) {
        self.require((0.0..=1.0).contains(&share), key, || {
            format!("found {share}, expected a number from 0 to 1")
        });
    }

    fn capture(&mut self, config: &Config, page_size: u64) {
        let capture = &config.capture;
        for (key, is_empty, example) in [
            (
                "capture.syscalls",
                capture.syscalls.is_empty(),
                "mq_timedreceive",
            ),
            ("capture.abis", capture.abis.is_empty(), "native"),
        ] {
            self.require(!is_empty, key, || {
                format!("found an empty list, expected at least one name, such as `{example}`; leave the key out to get all")
            });
        }
        let threads = capture.max_in_flight;
        self.require(
            (1..=MAX_THREADS).contains(&threads),
            "capture.max_in_flight",
            || {
                format!(
                    "found {threads}, expected 1 to {MAX_THREADS}, the kernel's limit of threads"
                )
            },
        );
        let bytes = capture.payload.max_bytes;
        self.require((1..=4096).contains(&bytes), "capture.payload.max_bytes", || {
            format!("found {bytes}, expected 1 to 4096; to capture none set `capture.payload.enabled: false`")
        });
        // The rules of BPF_MAP_TYPE_RINGBUF, see ringbuf_map_alloc() in the
        // kernel's kernel/bpf/ringbuf.c.
        let size = capture.ring_buffer_size;
        let fits = (page_size..=MAX_RING_BUFFER).contains(&size.0) && size.0.is_power_of_two();
        self.require(fits, "capture.ring_buffer_size", || {
            let next = size.0.clamp(page_size, MAX_RING_BUFFER).next_power_of_two();
            format!(
                "found {size}, expected a power of two from one page ({}) to {}, such as {}",
                Size(page_size),
                Size(MAX_RING_BUFFER),
                Size(next)
            )
        });
    }

    fn selector(&mut self, key: &str, selector: &Selector) {
        for (index, pid) in selector.pids.iter().enumerate() {
            self.require(*pid > 0, &format!("{key}.pids.{index}"), || {
                "found 0, expected a process id of at least 1".into()
            });
        }
        for (index, comm) in selector.comms.literals() {
            if comm.len() > MAX_COMM {
                self.warning(
                    &format!("{key}.comms.{index}"),
                    format!(
                        "`{comm}` never matches, because the kernel keeps {MAX_COMM} bytes of a command name; shorten it or end it with `*`"
                    ),
                );
            }
        }
    }

    fn exporters(&mut self, exporters: &mut Exporters) {
        self.otlp(&mut exporters.otlp);
        let file = &exporters.file;
        if file.max_size > Size::ZERO && file.path.as_os_str() == "-" {
            self.warning(
                "exporters.file.max_size",
                "the limit has no effect on standard output",
            );
        }
        if file.max_files > 0 && file.max_size == Size::ZERO {
            self.warning(
                "exporters.file.max_files",
                "the number has no effect, because no file is ever full; set `exporters.file.max_size`",
            );
        }
        if exporters.is_none() {
            self.warning(
                "exporters",
                "spans go nowhere and count as sampled out; set `exporters.otlp.enabled: true` or `exporters.file.path`",
            );
        }
    }

    fn otlp(&mut self, otlp: &mut Otlp) {
        let key = "exporters.otlp.endpoint";
        for odd in otlp.endpoint.settle(otlp.tls.insecure, otlp.protocol) {
            self.warning(key, odd);
        }
        if otlp.endpoint.basic_authorization().is_some() {
            if otlp.headers.contains_key("authorization") {
                self.warning(
                    key,
                    "user name and password have no effect, because `exporters.otlp.headers` has `authorization`",
                );
            } else if !otlp.endpoint.is_tls() {
                self.warning(
                    key,
                    "user name and password go over the wire as they are, because the endpoint is not encrypted; write `https://`",
                );
            }
        }
        self.headers(otlp);
        self.above_zero("exporters.otlp.timeout", otlp.timeout);
        self.tls(otlp);
        self.retry(&otlp.retry_on_failure);
        self.sizes(otlp);
        self.queue(&otlp.sending_queue);
    }

    fn headers(&mut self, otlp: &Otlp) {
        let is_grpc = otlp.protocol == Protocol::Grpc;
        for (name, value) in &otlp.headers {
            let message = if HeaderName::from_bytes(name.as_bytes()).is_err() {
                "found a name that is no HTTP header, expected letters, digits and `-`, such as `x-api-key`"
            } else if is_grpc && name.starts_with("grpc-")
                || RESERVED_HEADERS.contains(&name.as_str())
            {
                "found a header that the exporter sets itself; leave it out"
            } else if is_grpc && name.ends_with("-bin") {
                "found a binary header, expected a name that does not end in `-bin`"
            } else if HeaderValue::from_str(value.expose()).is_err() || !value.expose().is_ascii() {
                "found a value with characters that a header cannot hold, expected printable ASCII"
            } else {
                continue;
            };
            let path = ["exporters", "otlp", "headers", name].map(str::to_owned);
            self.problems.push((path.to_vec(), message.into()));
        }
    }

    fn tls(&mut self, otlp: &Otlp) {
        let tls = &otlp.tls;
        let [ca, cert, key] =
            [&tls.ca_file, &tls.cert_file, &tls.key_file].map(|file| !file.as_os_str().is_empty());
        self.require(key || !cert, "exporters.otlp.tls.cert_file", || {
            "found a certificate without a key, expected both; set `exporters.otlp.tls.key_file`"
                .into()
        });
        self.require(cert || !key, "exporters.otlp.tls.key_file", || {
            "found a key without a certificate, expected both; set `exporters.otlp.tls.cert_file`"
                .into()
        });
        if !otlp.endpoint.is_tls() && (ca || cert || key) {
            let why = match otlp.endpoint.address() {
                Address::Tcp { .. } => {
                    "the files have no effect, because the endpoint is not encrypted; write `https://` in `exporters.otlp.endpoint`"
                }
                Address::Unix(_) => {
                    "the files have no effect, because the endpoint is a Unix socket"
                }
            };
            self.warning("exporters.otlp.tls", why);
        }
    }

    fn retry(&mut self, retry: &Retry) {
        let at = |name: &str| format!("exporters.otlp.retry_on_failure.{name}");
        let (first, longest) = (retry.initial_interval, retry.max_interval);
        self.above_zero(&at("initial_interval"), first);
        self.require(first <= longest, &at("initial_interval"), || {
            format!("found {first}, expected at most `max_interval`, which is {longest}")
        });
        let multiplier = retry.multiplier;
        let grows = multiplier >= 1.0 && multiplier.is_finite();
        self.require(grows, &at("multiplier"), || {
            format!("found {multiplier}, expected a number of at least 1")
        });
        let elapsed = retry.max_elapsed_time;
        let outlasts = elapsed == HumanDuration::ZERO || elapsed >= longest;
        self.require(outlasts, &at("max_elapsed_time"), || {
            format!(
                "found {elapsed}, expected at least `max_interval`, which is {longest}, or 0s to retry for ever"
            )
        });
        self.share(&at("randomization_factor"), retry.randomization_factor);
    }

    fn sizes(&mut self, otlp: &Otlp) {
        let (batch, request) = (otlp.batch.max_size, otlp.max_request_size);
        let key = "exporters.otlp.batch.max_size";
        for (key, size) in [("exporters.otlp.max_request_size", request), (key, batch)] {
            self.require(size > Size::ZERO, key, || {
                "found 0B, expected a size above zero".into()
            });
        }
        self.require(batch <= request, key, || {
            format!("found {batch}, expected at most `exporters.otlp.max_request_size`, which is {request}")
        });
        self.above_zero(
            "exporters.otlp.batch.flush_timeout",
            otlp.batch.flush_timeout,
        );
        let queue = &otlp.sending_queue;
        for (name, size) in [
            ("queue_size", queue.queue_size),
            ("storage.max_size", queue.storage.max_size),
        ] {
            self.require(
                size >= batch,
                &format!("exporters.otlp.sending_queue.{name}"),
                || {
                    format!("found {size}, expected room for one batch; `exporters.otlp.batch.max_size` is {batch}")
                },
            );
        }
    }

    fn queue(&mut self, queue: &SendingQueue) {
        let consumers = queue.num_consumers;
        self.require(
            (1..=1024).contains(&consumers),
            "exporters.otlp.sending_queue.num_consumers",
            || format!("found {consumers}, expected 1 to 1024"),
        );
    }
}

fn split(key: &str) -> KeyPath {
    key.split('.').map(str::to_owned).collect()
}
