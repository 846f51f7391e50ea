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
mod tests {
    use std::collections::BTreeMap;

    use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;

    use super::super::catalog::Definition;
    use super::super::state::SinkState;
    use super::*;
    use crate::balance::Balance;
    use crate::export::counters::SinkCounts;
    use crate::export::destination::Destination;
    use crate::export::operation::ErrorType;
    use crate::export::queue::Level;
    use crate::loss::{Loss, Losses};

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
        Instruments::default().collect(state, Histograms::Explicit, Period::default())
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

    /// The numbers of a sum by one attribute, empty where it is absent.
    fn by(metrics: &[Metric], definition: Definition, key: &str) -> BTreeMap<String, i64> {
        let metric = metrics.iter().find(|metric| metric.name == definition.name);
        let Some(Data::Sum(sum)) = &metric.unwrap().data else {
            panic!("{metric:?}");
        };
        let mut sums = BTreeMap::new();
        for point in &sum.data_points {
            let value = point.attributes.iter().find(|a| a.key == key);
            let value = value.map(|a| format!("{:?}", a.value.as_ref().unwrap().value));
            let Some(Number::AsInt(number)) = point.value else {
                panic!("{point:?}");
            };
            *sums.entry(value.unwrap_or_default()).or_insert(0) += number;
        }
        sums
    }

    fn text(value: &str) -> String {
        format!("{:?}", Some(AnyValue::StringValue(value.to_owned())))
    }

    fn to_collector(counters: SinkCounts) -> SinkState {
        let destination = Destination {
            exporter: "otlp_grpc_span_exporter",
            address: Some("collector".to_owned()),
            port: Some(4317),
        };
        SinkState {
            name: "otlp",
            exporters: vec![(destination, counters.clone())],
            counters,
            queue: Level {
                spans: 6,
                bytes: 100,
                capacity_bytes: 200,
            },
        }
    }

    #[test]
    fn what_was_dropped_before_the_exporter_is_the_processors() {
        let counters = SinkCounts {
            exported: 9,
            processed: 14,
            failures: [(ErrorType::Grpc(3), 2), (ErrorType::Timeout, 3)].into(),
            dropped: Losses::from_iter([(Loss::QueueFull, 5), (Loss::Closed, 1)]),
            ..SinkCounts::default()
        };
        let metrics = collect(OwnState {
            sinks: vec![to_collector(counters)],
            ..OwnState::default()
        });
        assert_eq!(
            by(&metrics, catalog::SPANS_EXPORTED, "error.type"),
            BTreeMap::from([
                (String::new(), 9),
                (text("INVALID_ARGUMENT"), 2),
                (text("timeout"), 3)
            ])
        );
        assert_eq!(
            by(&metrics, catalog::SPANS_PROCESSED, "error.type"),
            BTreeMap::from([
                (String::new(), 14),
                (text("queue_full"), 5),
                (text("already_shutdown"), 1)
            ])
        );
        let server = by(&metrics, catalog::SPANS_EXPORTED, "server.address");
        assert_eq!(server, BTreeMap::from([(text("collector"), 14)]));
        for (definition, level) in [
            (catalog::SPAN_QUEUE_SIZE, 6),
            (catalog::QUEUE_USAGE, 100),
            (catalog::QUEUE_LIMIT, 200),
        ] {
            assert_eq!(numbers(&metrics, definition), (false, vec![level]));
        }
    }

    #[test]
    fn spans_start_sampled_or_dropped_and_the_processor_time_has_its_mode() {
        let mut state = OwnState::default();
        (state.started.sampled, state.started.dropped) = (7, 3);
        state.process.user_time = Duration::from_secs(2);
        state.process.system_time = Duration::from_secs(1);
        let metrics = collect(state);
        assert_eq!(
            by(
                &metrics,
                catalog::SPANS_STARTED,
                "otel.span.sampling_result"
            ),
            BTreeMap::from([(text("RECORD_AND_SAMPLE"), 7), (text("DROP"), 3)])
        );
        let time = metrics.iter().find(|m| m.name == "process.cpu.time");
        let Some(Data::Sum(sum)) = &time.unwrap().data else {
            panic!("{time:?}");
        };
        let times = sum.data_points.iter().map(|point| {
            let [mode] = point.attributes.as_slice() else {
                panic!("{point:?}");
            };
            let Some(Number::AsDouble(seconds)) = point.value else {
                panic!("{point:?}");
            };
            assert_eq!(mode.key, "cpu.mode");
            (
                format!("{:?}", mode.value.as_ref().unwrap().value),
                seconds as u64,
            )
        });
        assert_eq!(
            times.collect::<BTreeMap<_, _>>(),
            BTreeMap::from([(text("user"), 2), (text("system"), 1)])
        );
    }

    #[test]
    fn retries_are_counted_by_reason() {
        let counters = SinkCounts {
            requests: 9,
            retries: 5,
            exhausted_retries: 2,
            splits: 1,
            corrupt_records: 7,
            ..SinkCounts::default()
        };
        let metrics = collect(OwnState {
            sinks: vec![to_collector(counters)],
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
        let metrics = instruments.collect(with, Histograms::Explicit, Period::default());
        assert_eq!(numbers(&metrics, catalog::PROBE_MISSED), (true, vec![2]));
        let state = OwnState::default();
        let metrics = instruments.collect(state, Histograms::Explicit, Period::default());
        let missed = |metric: &&Metric| metric.name == catalog::PROBE_MISSED.name;
        assert_eq!(metrics.iter().find(missed), None);
    }
}
