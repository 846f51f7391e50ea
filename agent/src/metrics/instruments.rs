//! The agent's own metrics: observable instruments of the OpenTelemetry SDK,
//! which report the state that was read last.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::{KeyValue, Value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};
use opentelemetry_semantic_conventions::attribute::{CONTAINER_ID, CPU_MODE, PROCESS_USER_ID};

use super::catalog;
use super::observed::{Observed, signed};
use super::proto::Period;
use super::sdk_metrics;
use super::state::OwnState;
use crate::config::Histograms;
use crate::encode::SCOPE_NAME;
use crate::loss::IdentityLoss;
use crate::owner::{Owner, Tenant};

const OUTCOME: &str = "mqspan.outcome";
const LOSS_REASON: &str = "mqspan.loss.reason";

/// The instruments, and the reader that collects them.
pub struct Instruments {
    state: Arc<Mutex<OwnState>>,
    /// Locked for a whole collection, so that each is of one state.
    reader: Mutex<SharedReader>,
    /// Keeps the instruments alive.
    _provider: SdkMeterProvider,
}

/// The SDK takes its reader by value, so this shares one.
#[derive(Debug, Clone, Default)]
struct SharedReader(Arc<ManualReader>);

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

impl Default for Instruments {
    fn default() -> Self {
        let reader = SharedReader::default();
        let provider = SdkMeterProvider::builder()
            .with_reader(reader.clone())
            .build();
        let state = Arc::<Mutex<OwnState>>::default();
        let observed = Observed {
            meter: provider.meter(SCOPE_NAME),
            state: Arc::clone(&state),
        };
        calls(&observed);
        probes(&observed);
        troubles(&observed);
        sdk_metrics::register(&observed);
        process(&observed);
        Self {
            state,
            reader: Mutex::new(reader),
            _provider: provider,
        }
    }
}

impl Instruments {
    /// Converts the state to metrics. Those without a series are left out.
    pub fn collect(&self, state: OwnState, form: Histograms, period: Period) -> Vec<Metric> {
        let export_durations = sdk_metrics::export_durations(&state, form, period);
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        let mut collected = ResourceMetrics::default();
        if let Err(error) = reader.collect(&mut collected) {
            tracing::debug!(%error, "the agent's own metrics cannot be collected");
        }
        let scopes = collected.scope_metrics();
        let mut metrics: Vec<Metric> = scopes
            .flat_map(|scope| scope.metrics().map(Metric::from))
            .collect();
        for metric in &mut metrics {
            set_period(metric, period);
        }
        metrics.push(export_durations);
        metrics
    }
}

/// Uses one clock for all metrics, because the SDK's would not follow when the
/// clock is set.
fn set_period(metric: &mut Metric, period: Period) {
    if let Some(Data::Sum(sum)) = &mut metric.data {
        for point in &mut sum.data_points {
            point.start_time_unix_nano = period.start_unix_ns;
            point.time_unix_nano = period.unix_ns;
        }
    }
}

fn calls(observed: &Observed) {
    observed.counter(catalog::CALLS, |state, observer| {
        let balance = &state.balance;
        for (outcome, calls) in [
            ("exported", balance.exported),
            ("filtered", balance.filtered),
            ("sampled_out", balance.sampled_out),
            ("rejected", balance.rejected),
        ] {
            observer.observe(calls, &[KeyValue::new(OUTCOME, outcome)]);
        }
        // Zeros too, because Prometheus' increase() needs a sample from
        // before the first increase.
        for (reason, calls) in balance.lost.all() {
            let lost = KeyValue::new(OUTCOME, "lost");
            observer.observe(calls, &[lost, KeyValue::new(LOSS_REASON, reason.name())]);
        }
    });
    observed.up_down_counter(catalog::PENDING_CALLS, |state, observer| {
        observer.observe(signed(state.balance.pending), &[]);
    });
    observed.counter(catalog::OWNER_LOST_CALLS, |state, observer| {
        for lost in &state.owners {
            let mut attributes = vec![KeyValue::new(LOSS_REASON, lost.reason.name())];
            match &lost.owner {
                None => attributes.push(KeyValue::new("otel.metric.overflow", true)),
                Some(owner) => describe(owner, lost.container.as_ref(), &mut attributes),
            }
            observer.observe(lost.calls, &attributes);
        }
    });
    observed.counter(catalog::IDENTITIES_LOST, |state, observer| {
        for missing in IdentityLoss::ALL {
            let count = match missing {
                IdentityLoss::Message => state.messages_lost,
                IdentityLoss::Child => state.children_lost,
                IdentityLoss::Process => state.processes_lost,
                IdentityLoss::ProcGivenUp => state.lookups.given_up(),
                IdentityLoss::ProcLeftOut => state.lookups.left_out(),
                IdentityLoss::ContextGivenUp => state.lookups.contexts_given_up(),
                IdentityLoss::ContextRefused => state.lookups.contexts_refused(),
            };
            observer.observe(
                count,
                &[KeyValue::new("mqspan.identity.loss", missing.name())],
            );
        }
    });
}

fn probes(observed: &Observed) {
    let program = |program: &Arc<str>| {
        KeyValue::new("mqspan.probe.program", Value::from(Arc::clone(program)))
    };
    let of = move |probe: &crate::kernel::ProbeStats| {
        let symbol = Value::from(Arc::clone(&probe.symbol));
        [
            program(&probe.program),
            KeyValue::new("mqspan.probe.symbol", symbol),
        ]
    };
    observed.counter(catalog::PROBE_MISSED, move |state, observer| {
        for probe in &state.probes {
            observer.observe(probe.missed, &of(probe));
        }
        if let Some(returns) = state.missed_returns {
            let all = KeyValue::new("mqspan.probe.program", "kretprobes");
            observer.observe(returns, &[all]);
        }
    });
    observed.seconds(catalog::PROBE_RUN_TIME, move |state, observer| {
        for probe in &state.probes {
            if let Some(runs) = &probe.runs {
                observer.observe(runs.time.as_secs_f64(), &of(probe));
            }
        }
    });
    observed.counter(catalog::PROBE_RUN_COUNT, move |state, observer| {
        for probe in &state.probes {
            if let Some(runs) = &probe.runs {
                observer.observe(runs.count, &of(probe));
            }
        }
    });
}

fn troubles(observed: &Observed) {
    observed.counter(catalog::LOG_LOST, |state, observer| {
        observer.observe(state.log_lines_lost, &[]);
    });
    observed.counter(catalog::PANIC_COUNT, |state, observer| {
        observer.observe(state.panics, &[]);
    });
}

fn process(observed: &Observed) {
    observed.seconds(catalog::CPU_TIME, |state, observer| {
        let process = &state.process;
        for (mode, time) in [("user", process.user_time), ("system", process.system_time)] {
            observer.observe(time.as_secs_f64(), &[KeyValue::new(CPU_MODE, mode)]);
        }
    });
    observed.up_down_counter(catalog::MEMORY, |state, observer| {
        observer.observe(signed(state.process.memory_bytes), &[]);
    });
}

/// Adds the attributes of an owner.
fn describe(owner: &Owner, container: Option<&Arc<str>>, attributes: &mut Vec<KeyValue>) {
    if owner.user != Owner::ANY_USER {
        attributes.push(KeyValue::new(PROCESS_USER_ID, i64::from(owner.user)));
    }
    match (owner.tenant, container) {
        (_, Some(name)) => {
            attributes.push(KeyValue::new(CONTAINER_ID, Value::from(Arc::clone(name))));
        }
        (Tenant::Host, None) => {}
        (Tenant::Container(id), None) => {
            attributes.push(KeyValue::new("mqspan.owner.cgroup", id.cast_signed()));
        }
        (Tenant::PidNamespace(id) | Tenant::UserNamespace(id), None) => {
            attributes.push(KeyValue::new("mqspan.owner.namespace", id.cast_signed()));
        }
    }
}

#[cfg(test)]
mod tests;
