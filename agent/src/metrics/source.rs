//! Reads all numbers, on request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_semantic_conventions::attribute as semconv;

use super::exchange::Reader;
use super::instruments::Instruments;
use super::proto::Period;
use super::queue_metrics::queue_metrics;
use super::series::QueueSnapshot;
use super::state::{OwnState, ProcessState, SinkState, Started};
use crate::balance::{Balance, Decoded};
use crate::clock::{Anchors, Reading};
use crate::config::Histograms;
use crate::event::ProcessKey;
use crate::export::counters::SinkCounts;
use crate::export::logs::LogCounts;
use crate::export::own::OwnExports;
use crate::export::{Exporter, Sink};
use crate::host::Host;
use crate::kernel::KernelMeters;
use crate::process::LookupLosses;
use crate::resource::{AttributeValue, Resource};
use crate::{logs, panics};

pub struct MetricsSource {
    /// Start of the agent, ns since boot.
    start_ns: u64,
    anchors: Mutex<Anchors>,
    resource: Resource,
    queues: Reader<QueueSnapshot>,
    decoded: Box<dyn Fn() -> Decoded + Send + Sync>,
    sinks: Mutex<Vec<Sinks>>,
    kernel: OnceLock<Arc<KernelMeters>>,
    lookups: OnceLock<LookupLosses>,
    logs: OnceLock<Box<dyn Fn() -> LogCounts + Send + Sync>>,
    points: OnceLock<Arc<OwnExports>>,
    instruments: Instruments,
}

/// The destinations of one exporter.
#[derive(Clone)]
struct Sinks {
    primary: Sink,
    otlp: Option<Sink>,
    file: Option<Sink>,
}

impl MetricsSource {
    /// Adds `attributes` to the agent's resource. `decoded` counts what became
    /// of the calls that left the ring buffer. [`Self::add_exporter`] adds
    /// exporters, and [`Self::set_kernel`] the kernel's numbers once there are
    /// any.
    pub fn new(
        queues: Reader<QueueSnapshot>,
        attributes: &BTreeMap<String, AttributeValue>,
        decoded: impl Fn() -> Decoded + Send + Sync + 'static,
    ) -> Self {
        let start = Reading::now();
        let start_unix_ns = start.boot_ns.saturating_add_signed(start.offset_ns);
        Self {
            start_ns: start.boot_ns,
            anchors: Mutex::new(Anchors::new(start)),
            resource: resource(&Host::read(), attributes, start_unix_ns),
            queues,
            decoded: Box::new(decoded),
            sinks: Mutex::default(),
            kernel: OnceLock::new(),
            lookups: OnceLock::new(),
            logs: OnceLock::new(),
            points: OnceLock::new(),
            instruments: Instruments::default(),
        }
    }

    /// Adds the exporter that is used from now on. Earlier ones may still send
    /// what they hold.
    pub fn add_exporter(&self, exporter: &Exporter) {
        let Some(primary) = exporter.primary() else {
            return;
        };
        let mut all = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Sinks {
            primary: primary.clone(),
            otlp: exporter.otlp().cloned(),
            file: exporter.file().cloned(),
        });
    }

    /// Sets the source of the kernel's numbers. Before that nothing is collected.
    pub fn set_kernel(&self, kernel: Arc<KernelMeters>) {
        // It is set once; a second one would read the same numbers.
        drop(self.kernel.set(kernel));
    }

    pub fn set_lookups(&self, lookups: LookupLosses) {
        drop(self.lookups.set(lookups));
    }

    pub fn set_logs(&self, counts: impl Fn() -> LogCounts + Send + Sync + 'static) {
        drop(self.logs.set(Box::new(counts)));
    }

    /// Sets the exports of these metrics, to report them too.
    pub fn set_points(&self, exports: Arc<OwnExports>) {
        drop(self.points.set(exports));
    }

    /// The agent's own resource.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Whether the programs are loaded. Before that there is nothing to collect.
    pub fn is_ready(&self) -> bool {
        self.kernel.get().is_some()
    }

    /// All numbers; `None` before the programs are loaded. `left` is the number
    /// of spans that were not sent before the deadline of a shutdown, 0 while
    /// the agent runs. Histograms have the buckets of `form`, if they are kept.
    pub async fn collect(self: &Arc<Self>, form: Histograms, left: u64) -> Option<Vec<Metric>> {
        let kernel = Arc::clone(self.kernel.get()?);
        // The capture thread adds them to the numbers that it hands out.
        let taken = tokio::task::spawn_blocking(move || {
            if let Err(error) = kernel.take_losses() {
                tracing::debug!(%error, "lost calls cannot be read");
            }
            if let Err(error) = kernel.look_for_queues() {
                tracing::debug!(%error, "queues cannot be looked for");
            }
        });
        taken.await.ok()?;
        let queues = self.queues.read().await;
        let source = Arc::clone(self);
        // Blocks while the kernel walks over all threads of the host.
        let reading = tokio::task::spawn_blocking(move || source.read(queues, form, left));
        reading.await.ok()?
    }

    fn read(
        &self,
        mut queues: Arc<QueueSnapshot>,
        form: Histograms,
        left: u64,
    ) -> Option<Vec<Metric>> {
        let kernel = self.kernel.get()?;
        let left_over = kernel.pending_losses().peek();
        if !left_over.is_empty() {
            Arc::make_mut(&mut queues).add_lost(&left_over, Reading::now().boot_ns);
        }
        let waiting = kernel.waiting().unwrap_or_else(|error| {
            tracing::debug!(%error, "blocked callers cannot be read");
            Vec::new()
        });
        let (now, unix_ns) = self.clock();
        let past = |boot_ns: u64| now.to_past_unix_ns(boot_ns, unix_ns);
        let period = Period {
            start_unix_ns: past(self.start_ns),
            unix_ns,
        };
        let mut metrics = queue_metrics(&queues, &waiting, form, period, past);
        let own = self
            .instruments
            .collect(self.own_state(left)?, form, period);
        metrics.extend(own);
        Some(metrics)
    }

    /// The clock's anchors, and the current time in Unix ns.
    fn clock(&self) -> (Anchors, u64) {
        let mut anchors = self.anchors.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Reading::exact_now();
        now.and_then(|now| anchors.renew(now));
        let now = now.unwrap_or_else(Reading::now);
        let unix_ns = now.boot_ns.saturating_add_signed(now.offset_ns);
        (anchors.clone(), unix_ns)
    }

    /// Reads later stages first, so that no span is counted at its end before
    /// it was counted at its beginning.
    fn own_state(&self, left: u64) -> Option<OwnState> {
        let all = self
            .sinks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut delivered = SinkCounts::default();
        for sinks in &all {
            delivered.add(&sinks.primary.counters());
        }
        let otlp = all.iter().filter_map(|sinks| sinks.otlp.as_ref());
        let file = all.iter().filter_map(|sinks| sinks.file.as_ref());
        let otlp = SinkState::read("otlp", otlp);
        let file = SinkState::read("file", file);
        let decoded = (self.decoded)();
        let meters = self.kernel.get()?;
        let kernel = match meters.counts() {
            Ok(kernel) => kernel,
            Err(error) => {
                tracing::debug!(%error, "the counters cannot be read");
                return None;
            }
        };
        Some(OwnState {
            balance: Balance::new(&kernel, decoded, &delivered, left),
            started: Started {
                sampled: decoded.spans,
                dropped: decoded.sampled_out,
            },
            probes: meters.probes(),
            missed_returns: meters.missed_returns(),
            messages_lost: kernel.message_lost,
            children_lost: kernel.child_lost,
            processes_lost: kernel.process_lost,
            owners: meters.owner_losses().snapshot(),
            lookups: self.lookups.get().cloned().unwrap_or_default(),
            log_lines_lost: logs::lost(),
            log_records: self.logs.get().map(|counts| counts()),
            points: self
                .points
                .get()
                .map(|points| points.counts())
                .unwrap_or_default(),
            panics: panics::count(),
            process: ProcessState::read(),
            sinks: otlp.into_iter().chain(file).collect(),
        })
    }
}

/// The agent's own resource. Configured attributes override what is known of
/// the host, but not who the agent is.
fn resource(
    host: &Host,
    attributes: &BTreeMap<String, AttributeValue>,
    start_unix_ns: u64,
) -> Resource {
    let mut resource = Resource::default();
    host.describe(&mut resource);
    for (key, value) in attributes {
        resource.set(key.clone(), value.clone());
    }
    resource.set_text(semconv::SERVICE_NAME, "mqspan");
    resource.set_text(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
    let itself = ProcessKey {
        pid: std::process::id(),
        start_ns: start_unix_ns,
        exec_id: 0,
    };
    resource.set_text(semconv::SERVICE_INSTANCE_ID, host.instance_id(&itself));
    resource.set(semconv::PROCESS_PID, AttributeValue::Int(itself.pid.into()));
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_host_and_not_the_agent() {
        let text = |value: &str| AttributeValue::String(value.to_owned());
        let attributes = BTreeMap::from([
            ("host.name".to_owned(), text("node-1")),
            ("service.name".to_owned(), text("other")),
        ]);
        let resource = resource(&Host::read(), &attributes, 1);
        assert_eq!(resource.get("host.name"), Some(&text("node-1")));
        assert_eq!(resource.get("service.name"), Some(&text("mqspan")));
    }
}
