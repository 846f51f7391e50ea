//! The standard `OTEL_*` variables that have a counterpart in the agent.
//!
//! Sources: OpenTelemetry specification, `protocol/exporter.md` and
//! `configuration/sdk-environment-variables.md`. An empty variable counts as
//! unset. An invalid one is ignored with a warning. The variable of a signal
//! takes precedence over the general one.
//!
//! `OTEL_SERVICE_NAME`, and `service.name` and `service.instance.id` in
//! `OTEL_RESOURCE_ATTRIBUTES`, describe the agent's own process, so they are
//! not applied to the traced processes. Variables without a key here are in
//! [`super::otel_ignored`].

use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::endpoint::Endpoint;
use super::env::Env;
use super::error::expected_one_of;
use super::node::{Layers, Node};
use super::otel_ignored::ignored_variables;
use super::units::HumanDuration;
use super::{Compression, Histograms, LogLevel, Protocol};
use crate::percent::percent_decode;

/// Parses the text of a variable. The error says what was expected.
type Parse = fn(&str) -> Result<Value, String>;

/// One key and the variables that set it, highest precedence first.
struct Standard {
    variables: &'static [&'static str],
    key: &'static [&'static str],
    parse: Parse,
}

macro_rules! otlp {
    ($suffix:literal, [$($key:literal),+], $parse:expr) => {
        Standard {
            variables: &[
                concat!("OTEL_EXPORTER_OTLP_TRACES_", $suffix),
                concat!("OTEL_EXPORTER_OTLP_", $suffix),
            ],
            key: &["exporters", "otlp", $($key),+],
            parse: $parse,
        }
    };
}

const STANDARD: &[Standard] = &[
    otlp!("PROTOCOL", ["protocol"], protocol),
    otlp!("ENDPOINT", ["endpoint"], endpoint),
    otlp!("INSECURE", ["tls", "insecure"], boolean),
    otlp!("CERTIFICATE", ["tls", "ca_file"], text),
    otlp!("CLIENT_KEY", ["tls", "key_file"], text),
    otlp!("CLIENT_CERTIFICATE", ["tls", "cert_file"], text),
    otlp!("HEADERS", ["headers"], headers),
    otlp!("COMPRESSION", ["compression"], compression),
    otlp!("TIMEOUT", ["timeout"], milliseconds),
    Standard {
        variables: &["OTEL_BSP_SCHEDULE_DELAY"],
        key: &["exporters", "otlp", "batch", "flush_timeout"],
        parse: milliseconds,
    },
    Standard {
        variables: &["OTEL_METRIC_EXPORT_INTERVAL"],
        key: &["metrics", "otlp", "interval"],
        parse: milliseconds,
    },
    Standard {
        variables: &["OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"],
        key: &["metrics", "histograms"],
        parse: histograms,
    },
    Standard {
        variables: &["OTEL_METRICS_EXPORTER"],
        key: &["metrics", "otlp", "enabled"],
        parse: metrics_exporter,
    },
    Standard {
        variables: &["OTEL_LOGS_EXPORTER"],
        key: &["logs", "otlp", "enabled"],
        parse: logs_exporter,
    },
    Standard {
        variables: &["OTEL_LOG_LEVEL"],
        key: &["logs", "level"],
        parse: log_level,
    },
    Standard {
        variables: &["OTEL_RESOURCE_ATTRIBUTES"],
        key: &["resource", "attributes"],
        parse: attributes,
    },
];

/// Its address is that of spans alone in OTLP over HTTP.
pub(super) const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The sampler and its argument, which is the ratio for a sampler that takes one.
const SAMPLER: [&str; 2] = ["OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"];

/// Attributes that describe only the process whose environment contains them.
const OWN_ATTRIBUTES: [&str; 2] = ["service.name", "service.instance.id"];

pub(super) fn otel_layer(env: &Env, layers: &mut Layers) {
    for standard in STANDARD {
        for variable in standard.variables {
            let Some(value) = env.get(variable).filter(|value| !value.is_empty()) else {
                continue;
            };
            match (standard.parse)(value) {
                Ok(value) => {
                    let path: Vec<String> = standard.key.iter().map(|k| (*k).to_owned()).collect();
                    layers.set(&path, Node::typed(variable, value));
                    break;
                }
                Err(message) => {
                    let warning = format!("{variable}: ignored: {message}");
                    layers.warnings.push(warning);
                }
            }
        }
    }
    sampler(env, layers);
    let is_heeded = |name: &str| heeded().any(|heeded| heeded == name);
    layers.warnings.extend(ignored_variables(env, is_heeded));
}

/// All variables that have an effect.
pub(super) fn heeded() -> impl Iterator<Item = &'static str> {
    let standard = STANDARD.iter().flat_map(|standard| standard.variables);
    standard.chain(&SAMPLER).copied()
}

/// Ignores `parentbased_`. The trace id decides here too, so a parent and its
/// children are kept or dropped together, whatever the base sampler.
fn sampler(env: &Env, layers: &mut Layers) {
    let [sampler, argument] = SAMPLER;
    let get = |name| env.get(name).filter(|value| !value.is_empty());
    let name = get(sampler);
    let base = name.map(|name| name.strip_prefix("parentbased_").unwrap_or(name));
    let takes_ratio = base == Some("traceidratio");
    let ratio = match base {
        Some("always_on") => Some(1.0),
        Some("always_off") => Some(0.0),
        Some("traceidratio") => match get(argument).map(|text| (text, text.parse::<f64>())) {
            None => Some(1.0),
            Some((_, Ok(ratio))) if (0.0..=1.0).contains(&ratio) => Some(ratio),
            Some((text, _)) => {
                layers.warnings.push(format!(
                    "{argument}: ignored: found `{text}`, expected a number from 0 to 1"
                ));
                Some(1.0)
            }
        },
        Some(_) => {
            let name = name.unwrap_or_default();
            layers.warnings.push(format!(
                "{sampler}: ignored: found `{name}`, expected `always_on`, `always_off` or `traceidratio`, or one of these after \
                 `parentbased_`; set `sampling.ratio`"
            ));
            None
        }
        None => None,
    };
    if let Some(ratio) = ratio {
        let path = ["sampling", "ratio"].map(str::to_owned);
        layers.set(&path, Node::typed(sampler, ratio.into()));
    }
    if get(argument).is_some() && !takes_ratio {
        layers.warnings.push(format!(
            "{argument}: ignored: {sampler} names no sampler that takes a ratio; set `sampling.ratio`"
        ));
    }
}

/// `none` or `otlp`.
fn metrics_exporter(text: &str) -> Result<Value, String> {
    match text.trim() {
        "otlp" => Ok(true.into()),
        "none" => Ok(false.into()),
        _ => Err(format!(
            "found `{text}`, expected `otlp` or `none`; `/metrics` for Prometheus is `metrics.prometheus.address`"
        )),
    }
}

fn histograms(text: &str) -> Result<Value, String> {
    let choice = match text.trim() {
        "explicit_bucket_histogram" => Histograms::Explicit,
        "base2_exponential_bucket_histogram" => Histograms::Exponential,
        _ => {
            return Err(format!(
                "found `{text}`, expected `explicit_bucket_histogram` or `base2_exponential_bucket_histogram`"
            ));
        }
    };
    Ok(choice.as_str().into())
}

fn logs_exporter(text: &str) -> Result<Value, String> {
    match text.trim() {
        "otlp" => Ok(true.into()),
        "none" => Ok(false.into()),
        _ => Err(format!(
            "found `{text}`, expected `otlp` or `none`; the log is on standard error, too"
        )),
    }
}

fn endpoint(text: &str) -> Result<Value, String> {
    text.parse::<Endpoint>().map(|_| text.into())
}

/// By the specification only `true`, in any case, is true. Other values than
/// `false` are false, with a warning. Ignoring such a value has the same effect
/// for a key that defaults to false.
fn boolean(text: &str) -> Result<Value, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true.into()),
        "false" => Ok(false.into()),
        _ => Err(format!("found `{text}`, expected `true` or `false`")),
    }
}

fn text(text: &str) -> Result<Value, String> {
    Ok(text.into())
}

fn protocol(text: &str) -> Result<Value, String> {
    one_of(text, &Protocol::ALL.map(Protocol::as_str))
}

fn compression(text: &str) -> Result<Value, String> {
    one_of(text, &Compression::ALL.map(Compression::as_str))
}

fn log_level(text: &str) -> Result<Value, String> {
    one_of(
        &text.to_ascii_lowercase(),
        &LogLevel::ALL.map(LogLevel::as_str),
    )
}

fn one_of(text: &str, names: &[&str]) -> Result<Value, String> {
    if names.contains(&text) {
        return Ok(text.into());
    }
    Err(format!("found `{text}`, {}", expected_one_of(text, names)))
}

fn milliseconds(text: &str) -> Result<Value, String> {
    match text.parse::<u32>() {
        Ok(millis) if millis > 0 => Ok(HumanDuration::millis(millis.into()).to_string().into()),
        _ => Err(format!(
            "found `{text}`, expected a whole number of milliseconds above zero"
        )),
    }
}

fn headers(text: &str) -> Result<Value, String> {
    let mut table = Map::new();
    for (name, value) in pairs(text)? {
        let name = name.to_ascii_lowercase();
        let is_header = HeaderName::from_bytes(name.as_bytes()).is_ok()
            && HeaderValue::from_str(&value).is_ok()
            && value.is_ascii();
        if !is_header {
            return Err("found a pair that is no HTTP header, expected names of letters, digits and `-`, and values of printable ASCII".into());
        }
        table.insert(name, value.into());
    }
    Ok(table.into())
}

fn attributes(text: &str) -> Result<Value, String> {
    let mut table = Map::new();
    for (name, value) in pairs(text)? {
        if !OWN_ATTRIBUTES.contains(&name.as_str()) {
            table.insert(name, value.into());
        }
    }
    Ok(table.into())
}

/// Parses pairs in the form of a W3C Baggage header without properties:
/// `name=value,name=value`, percent-encoded. The error shows no values.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    const FORM: &str = "expected `name=value` pairs between commas, percent-encoded";
    let mut out = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(format!("found an item without `=`, {FORM}"));
        };
        let decoded = (percent_decode(name.trim()), percent_decode(value.trim()));
        match decoded {
            (Some(name), Some(value)) if !name.is_empty() => out.push((name, value)),
            (Some(_), Some(_)) => return Err(format!("found a pair without a name, {FORM}")),
            _ => return Err(format!("found a malformed `%` sequence, {FORM}")),
        }
    }
    Ok(out)
}
