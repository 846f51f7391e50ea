//! Standard variables that have no key here. Each is reported, unless it asks
//! for what the agent does anyway.

use super::env::Env;

/// A variable, or a prefix if it ends in `*`; what to do instead; and the value
/// that changes nothing.
pub(super) struct Ignored {
    pub(super) variable: &'static str,
    instead: &'static str,
    harmless: Option<&'static str>,
}

const fn ignored(
    variable: &'static str,
    instead: &'static str,
    harmless: Option<&'static str>,
) -> Ignored {
    Ignored {
        variable,
        instead,
        harmless,
    }
}

/// The first match applies.
pub(super) const IGNORED: &[Ignored] = &[
    ignored(
        "OTEL_SDK_DISABLED",
        "the agent is no SDK; to trace nothing, do not start it",
        Some("false"),
    ),
    ignored(
        "OTEL_TRACES_EXPORTER",
        "spans go where `exporters` says; `mqspan trace` prints them",
        Some("otlp"),
    ),
    ignored(
        "OTEL_EXPORTER_OTLP_LOGS_*",
        "the log goes the way of spans; set `exporters.otlp`, or `logs.otlp.enabled: false`",
        None,
    ),
    ignored("OTEL_BLRP_*", "log records go once a second", None),
    ignored(
        "OTEL_EXPORTER_OTLP_METRICS_*",
        "metrics go the way of spans; set `exporters.otlp`, or `metrics.otlp.enabled: false`",
        None,
    ),
    ignored(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "exemplars are spans that are kept",
        Some("trace_based"),
    ),
    ignored(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "it counts spans, the agent bytes; set `exporters.otlp.sending_queue.queue_size`",
        None,
    ),
    ignored(
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "it counts spans, the agent bytes; set `exporters.otlp.batch.max_size`",
        None,
    ),
    ignored(
        "OTEL_BSP_EXPORT_TIMEOUT",
        "set `exporters.otlp.timeout` and `exporters.otlp.retry_on_failure.max_elapsed_time`",
        None,
    ),
    ignored(
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "set `exporters.otlp.timeout`",
        None,
    ),
    ignored(
        "OTEL_EXPORTER_PROMETHEUS_*",
        "set `metrics.prometheus.address`",
        None,
    ),
    ignored(
        "OTEL_SERVICE_NAME",
        "it names the agent's own process; traced processes have their own",
        None,
    ),
    ignored(
        "OTEL_CONFIG_FILE",
        "give the agent's file by `--config`",
        None,
    ),
    ignored("OTEL_*", "the agent has nothing that it sets", None),
];

impl Ignored {
    fn is_about(&self, name: &str) -> bool {
        match self.variable.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.variable,
        }
    }
}

/// A warning for each variable that is set and has no effect. `is_heeded` tells
/// the ones that have an effect.
pub(super) fn ignored_variables(env: &Env, is_heeded: impl Fn(&str) -> bool) -> Vec<String> {
    env.iter()
        .filter(|(name, value)| name.starts_with("OTEL_") && !value.is_empty() && !is_heeded(name))
        .filter_map(|(name, value)| {
            let entry = IGNORED.iter().find(|entry| entry.is_about(name))?;
            let changes_nothing = entry
                .harmless
                .is_some_and(|harmless| harmless.eq_ignore_ascii_case(value))
                || is_as_for_spans(env, name, value);
            (!changes_nothing).then(|| format!("{name}: ignored: {}", entry.instead))
        })
        .collect()
}

/// Whether a variable for metrics only repeats the setting for spans.
fn is_as_for_spans(env: &Env, name: &str, value: &str) -> bool {
    let Some(suffix) = name.strip_prefix("OTEL_EXPORTER_OTLP_METRICS_") else {
        return false;
    };
    let of_spans = ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
        .iter()
        .filter_map(|prefix| env.get(&format!("{prefix}{suffix}")))
        .find(|value| !value.is_empty());
    match suffix {
        "PROTOCOL" => of_spans.unwrap_or("grpc") == value,
        // In OTLP over HTTP the one ends in its signal, the other may.
        "ENDPOINT" => of_spans.is_some_and(|of_spans| {
            let base = of_spans.strip_suffix("/v1/traces").unwrap_or(of_spans);
            of_spans == value || value.strip_suffix("/v1/metrics") == Some(base)
        }),
        _ => of_spans == Some(value),
    }
}
