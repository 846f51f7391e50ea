//! The agent's own metrics: observable instruments of the OpenTelemetry SDK,
//! which report the state that was read last.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider as _};
use opentelemetry::{KeyValue, Value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};
use opentelemetry_semantic_conventions::attribute::{
    CONTAINER_ID, ERROR_TYPE, OTEL_COMPONENT_NAME, OTEL_COMPONENT_TYPE, PROCESS_USER_ID,
};

use super::catalog::{self, Definition};
use super::proto::Period;
use super::state::{OwnState, SinkState};
use crate::encode::SCOPE_NAME;
use crate::export::counters::SinkCounts;
use crate::loss::{IdentityLoss, Loss};
use crate::owner::{Owner, Tenant};

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
        observed.calls();
        observed.probes();
        observed.troubles();
        observed.sinks();
        observed.process();
        Self {
            state,
            reader: Mutex::new(reader),
            _provider: provider,
        }
    }
}

impl Instruments {
    /// Converts the state to metrics. Those without a series are left out.
    pub fn collect(&self, state: OwnState, period: Period) -> Vec<Metric> {
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

type Observer<'a, T> = &'a dyn AsyncInstrument<T>;

/// Makes instruments that observe parts of the state.
struct Observed {
    meter: Meter,
    state: Arc<Mutex<OwnState>>,
}

impl Observed {
    /// Calls `observe` with the state at each collection.
    fn callback<T>(
        &self,
        observe: impl Fn(&OwnState, Observer<'_, T>) + Send + Sync + 'static,
    ) -> impl Fn(Observer<'_, T>) + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move |observer| {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            observe(&state, observer);
        }
    }

    fn counter(
        &self,
        definition: Definition,
        observe: impl Fn(&OwnState, Observer<'_, u64>) + Send + Sync + 'static,
    ) {
        self.meter
            .u64_observable_counter(definition.name)
            .with_unit(definition.unit)
            .with_description(definition.description)
            .with_callback(self.callback(observe))
            .build();
    }

    fn seconds(
        &self,
        definition: Definition,
        observe: impl Fn(&OwnState, Observer<'_, f64>) + Send + Sync + 'static,
    ) {
        self.meter
            .f64_observable_counter(definition.name)
            .with_unit(definition.unit)
            .with_description(definition.description)
            .with_callback(self.callback(observe))
            .build();
    }

    fn up_down_counter(
        &self,
        definition: Definition,
        observe: impl Fn(&OwnState, Observer<'_, i64>) + Send + Sync + 'static,
    ) {
        self.meter
            .i64_observable_up_down_counter(definition.name)
            .with_unit(definition.unit)
            .with_description(definition.description)
            .with_callback(self.callback(observe))
            .build();
    }

    fn calls(&self) {
        self.counter(catalog::CALLS, |state, observer| {
            let balance = &state.balance;
            for (outcome, calls) in [
                ("exported", balance.exported),
                ("filtered", balance.filtered),
                ("sampled_out", balance.sampled_out),
                ("rejected", balance.rejected),
            ] {
                observer.observe(calls, &[KeyValue::new("outcome", outcome)]);
            }
            // Zeros too, because Prometheus' increase() needs a sample from
            // before the first increase.
            for (reason, calls) in balance.lost.all() {
                let lost = KeyValue::new("outcome", "lost");
                observer.observe(calls, &[lost, KeyValue::new("reason", reason.name())]);
            }
        });
        self.up_down_counter(catalog::PENDING_CALLS, |state, observer| {
            observer.observe(signed(state.balance.pending), &[]);
        });
        self.counter(catalog::OWNER_LOST_CALLS, |state, observer| {
            for lost in &state.owners {
                let mut attributes = vec![KeyValue::new("reason", lost.reason.name())];
                match &lost.owner {
                    None => attributes.push(KeyValue::new("otel.metric.overflow", true)),
                    Some(owner) => describe(owner, lost.container.as_ref(), &mut attributes),
                }
                observer.observe(lost.calls, &attributes);
            }
        });
        self.counter(catalog::IDENTITIES_LOST, |state, observer| {
            for missing in IdentityLoss::ALL {
                let count = match missing {
                    IdentityLoss::Message => state.messages_lost,
                    IdentityLoss::Child => state.children_lost,
                    IdentityLoss::Process => state.processes_lost,
                    IdentityLoss::ProcGivenUp => state.lookups.given_up(),
                    IdentityLoss::ProcLeftOut => state.lookups.left_out(),
                };
                observer.observe(count, &[KeyValue::new("of", missing.name())]);
            }
        });
    }

    fn probes(&self) {
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
        self.counter(catalog::PROBE_MISSED, move |state, observer| {
            for probe in &state.probes {
                observer.observe(probe.missed, &of(probe));
            }
            if let Some(returns) = state.missed_returns {
                let all = KeyValue::new("mqspan.probe.program", "kretprobes");
                observer.observe(returns, &[all]);
            }
        });
        self.seconds(catalog::PROBE_RUN_TIME, move |state, observer| {
            for probe in &state.probes {
                if let Some(runs) = &probe.runs {
                    observer.observe(runs.time.as_secs_f64(), &of(probe));
                }
            }
        });
        self.counter(catalog::PROBE_RUN_COUNT, move |state, observer| {
            for probe in &state.probes {
                if let Some(runs) = &probe.runs {
                    observer.observe(runs.count, &of(probe));
                }
            }
        });
    }

    fn troubles(&self) {
        self.counter(catalog::LOG_LOST, |state, observer| {
            observer.observe(state.log_lines_lost, &[]);
        });
        self.counter(catalog::LOG_RECORDS_EXPORTED, |state, observer| {
            let exporters = state.log_records.iter().flat_map(|logs| &logs.sent);
            for sent in exporters {
                let [kind, name] = component(sent.exporter, "0");
                let failed = KeyValue::new(ERROR_TYPE, "_OTHER");
                observer.observe(sent.exported, &[kind.clone(), name.clone()]);
                observer.observe(sent.failed, &[kind, name, failed]);
            }
        });
        self.counter(catalog::LOG_RECORDS_PROCESSED, |state, observer| {
            if let Some(records) = &state.log_records {
                let [kind, name] = component("batching_log_processor", "0");
                let full = KeyValue::new(ERROR_TYPE, "queue_full");
                observer.observe(records.queue_full, &[kind, name, full]);
            }
        });
        self.counter(catalog::PANIC_COUNT, |state, observer| {
            observer.observe(state.panics, &[]);
        });
    }

    fn sinks(&self) {
        self.counter(catalog::SPANS_EXPORTED, |state, observer| {
            for sink in &state.sinks {
                let exporter = exporter(sink);
                observer.observe(sink.counters.exported, &exporter);
                for (error, spans) in failures(&sink.counters) {
                    let [kind, name] = exporter.clone();
                    observer.observe(spans, &[kind, name, KeyValue::new(ERROR_TYPE, error)]);
                }
            }
        });
        self.up_down_counter(catalog::SPANS_IN_FLIGHT, |state, observer| {
            for sink in &state.sinks {
                observer.observe(signed(sink.counters.in_flight), &exporter(sink));
            }
        });
        let of_queue = |definition, value: fn(&SinkState) -> u64| {
            self.up_down_counter(definition, move |state, observer| {
                for sink in &state.sinks {
                    observer.observe(signed(value(sink)), &processor(sink));
                }
            });
        };
        of_queue(catalog::SPAN_QUEUE_SIZE, |sink| sink.queue.spans);
        of_queue(catalog::SPAN_QUEUE_CAPACITY, |sink| {
            sink.queue.capacity_bytes
        });
        of_queue(catalog::QUEUE_USAGE, |sink| sink.queue.bytes);
        let of_delivery = |definition, value: fn(&SinkCounts) -> u64| {
            self.counter(definition, move |state, observer| {
                for sink in &state.sinks {
                    observer.observe(value(&sink.counters), &exporter(sink));
                }
            });
        };
        of_delivery(catalog::EXPORT_REQUESTS, |counters| counters.requests);
        of_delivery(catalog::EXPORT_SPLITS, |counters| counters.splits);
        of_delivery(catalog::CORRUPT_RECORDS, |counters| {
            counters.corrupt_records
        });
        self.counter(catalog::EXPORT_RETRIES, |state, observer| {
            for sink in &state.sinks {
                let exhausted = sink.counters.exhausted_retries;
                let other = sink.counters.retries.saturating_sub(exhausted);
                for (reason, count) in [("resource_exhausted", exhausted), ("other", other)] {
                    let [kind, name] = exporter(sink);
                    observer.observe(count, &[kind, name, KeyValue::new("reason", reason)]);
                }
            }
        });
    }

    fn process(&self) {
        self.seconds(catalog::CPU_TIME, |state, observer| {
            observer.observe(state.process.cpu_time.as_secs_f64(), &[]);
        });
        self.up_down_counter(catalog::MEMORY, |state, observer| {
            observer.observe(signed(state.process.memory_bytes), &[]);
        });
    }
}

fn signed(count: u64) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
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

fn component(kind: &'static str, name: &str) -> [KeyValue; 2] {
    [
        KeyValue::new(OTEL_COMPONENT_TYPE, kind),
        KeyValue::new(OTEL_COMPONENT_NAME, format!("{kind}/{name}")),
    ]
}

fn exporter(sink: &SinkState) -> [KeyValue; 2] {
    component(sink.exporter, "0")
}

/// Each exporter has one queue, so its name identifies the exporter.
fn processor(sink: &SinkState) -> [KeyValue; 2] {
    component("batching_span_processor", sink.exporter)
}

/// Spans that an exporter had and did not deliver, by reason. The collector and
/// the agent can have the same reason.
fn failures(counters: &SinkCounts) -> Vec<(&'static str, u64)> {
    let mut failures = counters.rejected.clone();
    for (reason, spans) in counters.lost.some() {
        // These spans did not reach the exporter.
        if matches!(reason, Loss::QueueFull | Loss::Closed) {
            continue;
        }
        let reason = reason.name();
        match failures.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum += spans,
            None => failures.push((reason, spans)),
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;

    use super::*;
    use crate::balance::Balance;
    use crate::export::queue::Level;
    use crate::loss::Losses;

    /// The numbers of a sum; whether it only grows.
    fn numbers(metrics: &[Metric], definition: Definition) -> (bool, Vec<i64>) {
        let metric = metrics.iter().find(|metric| metric.name == definition.name);
        let Some(Data::Sum(sum)) = &metric.unwrap().data else {
            panic!("{metric:?}");
        };
        let points = sum.data_points.iter().map(|point| match point.value {
            Some(Number::AsInt(number)) => number,
            _ => panic!("{point:?}"),
        });
        let mut numbers: Vec<i64> = points.collect();
        numbers.sort_unstable();
        (sum.is_monotonic, numbers)
    }

    fn collect(state: OwnState) -> Vec<Metric> {
        Instruments::default().collect(state, Period::default())
    }

    #[test]
    fn calls_add_up_to_those_seen_and_show_losses_before_they_happen() {
        let balance = Balance {
            seen: 131,
            exported: 100,
            filtered: 10,
            sampled_out: 5,
            rejected: 3,
            lost: Losses::from_iter([(Loss::RingFull, 6), (Loss::QueueFull, 4)]),
            pending: 3,
        };
        assert!(balance.is_even());
        let metrics = collect(OwnState {
            balance,
            ..OwnState::default()
        });
        let (grows, calls) = numbers(&metrics, catalog::CALLS);
        assert!(grows);
        assert_eq!(calls.len(), 4 + Loss::ALL.len());
        assert_eq!(calls.iter().sum::<i64>(), 131 - 3);
        assert_eq!(numbers(&metrics, catalog::PENDING_CALLS), (false, vec![3]));
    }

    #[test]
    fn an_export_that_failed_is_told_from_one_not_tried() {
        let counters = SinkCounts {
            exported: 9,
            rejected: vec![("invalid_argument", 2)],
            lost: Losses::from_iter([(Loss::QueueFull, 5), (Loss::RetriesExhausted, 3)]),
            ..SinkCounts::default()
        };
        assert_eq!(
            failures(&counters),
            [("invalid_argument", 2), ("retries_exhausted", 3)]
        );
    }

    #[test]
    fn retries_are_told_by_their_reason() {
        let sink = SinkState {
            exporter: "otlp_grpc_span_exporter",
            counters: SinkCounts {
                requests: 9,
                retries: 5,
                exhausted_retries: 2,
                splits: 1,
                corrupt_records: 7,
                ..SinkCounts::default()
            },
            queue: Level::default(),
        };
        let metrics = collect(OwnState {
            sinks: vec![sink],
            ..OwnState::default()
        });
        for (definition, counts) in [
            (catalog::EXPORT_REQUESTS, vec![9]),
            (catalog::EXPORT_RETRIES, vec![2, 3]),
            (catalog::EXPORT_SPLITS, vec![1]),
            (catalog::CORRUPT_RECORDS, vec![7]),
        ] {
            assert_eq!(numbers(&metrics, definition), (true, counts));
        }
    }

    #[test]
    fn troubles_are_counted_before_there_are_any() {
        for (log_lines_lost, panics) in [(0, 0), (5, 1)] {
            let metrics = collect(OwnState {
                log_lines_lost,
                panics,
                ..OwnState::default()
            });
            let of = |definition| numbers(&metrics, definition);
            assert_eq!(
                of(catalog::LOG_LOST),
                (true, vec![log_lines_lost.cast_signed()])
            );
            assert_eq!(of(catalog::PANIC_COUNT), (true, vec![panics.cast_signed()]));
        }
    }

    #[test]
    fn a_series_that_is_gone_is_not_told_again() {
        let instruments = Instruments::default();
        let probe = crate::kernel::ProbeStats {
            program: "a".into(),
            symbol: "b".into(),
            missed: 2,
            runs: None,
        };
        let with = OwnState {
            probes: vec![probe],
            ..OwnState::default()
        };
        let metrics = instruments.collect(with, Period::default());
        assert_eq!(numbers(&metrics, catalog::PROBE_MISSED), (true, vec![2]));
        let metrics = instruments.collect(OwnState::default(), Period::default());
        let missed = |metric: &&Metric| metric.name == catalog::PROBE_MISSED.name;
        assert_eq!(metrics.iter().find(missed), None);
    }
}
