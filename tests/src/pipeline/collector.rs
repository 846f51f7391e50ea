//! What must hold of what a real Collector makes of the agent's spans and metrics: its sampler, its
//! exporters to files and to Prometheus, and its own counts of what it took and refused.
//!
//! Another program's spans, those of the Collector's load generator, come in beside the agent's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use mqspan_testkit::otlp_json::traces_data_lines;
use mqspan_testkit::span::Traced;
use serde_json::{Value, json};
use tokio::process::Command;

use super::Pipeline;
use crate::agent::{self, Agent, POLL};
use crate::balance::Balance;
use crate::scrape::{scrape, scrape_anew, sum};
use crate::server::Server;
use crate::spawn::cannot_run;

/// Traces that the load generator makes, of [`SPANS_OF_EACH`] spans.
const GENERATED_TRACES: u32 = 100;
const SPANS_OF_EACH: u32 = 2;

/// Half of the traces: the upper half of the trace ids' random parts.
const KEPT: (f64, &str, u64) = (0.5, "ot=th:8", 1 << 55);
/// The quarter that the Collector's sampler keeps of all there were before the agent's.
const KEPT_BY_COLLECTOR: (&str, u64) = ("ot=th:c", 3 << 54);

/// How the agent speaks to the Collector.
#[derive(Clone, Copy)]
pub(super) struct Speech {
    /// `exporters.otlp.protocol`
    pub(super) protocol: &'static str,
    /// `metrics.histograms`
    pub(super) histograms: &'static str,
}

impl Speech {
    pub(super) fn name(self) -> String {
        format!("{}, {} histograms", self.protocol, self.histograms)
    }
}

struct Addresses {
    grpc: SocketAddr,
    http: SocketAddr,
    /// The Collector's exporter to Prometheus.
    prometheus: SocketAddr,
    /// The Collector's metrics of itself.
    telemetry: SocketAddr,
    /// The agent's own `/metrics`.
    agent: SocketAddr,
}

fn addresses() -> Addresses {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Addresses {
        grpc: local(4317),
        http: local(4318),
        prometheus: local(8889),
        telemetry: local(8888),
        agent: local(9464),
    }
}

pub(super) async fn check(pipeline: &Pipeline, speech: Speech) -> Result<()> {
    let at = addresses();
    let collector = start_collector(pipeline, &at).await?;
    let agent = start_agent(pipeline, speech, &at).await?;
    let mut seen = BTreeSet::new();
    let work = pipeline.work();
    tokio::pin!(work);
    let made = loop {
        tokio::select! {
            made = &mut work => break made?,
            () = tokio::time::sleep(POLL) => seen.extend(shapes(&scrape(at.agent).await?)),
        }
    };
    ensure!(!made.is_empty(), "nothing was run");
    let generated = generate(pipeline, speech, &at).await?;
    let last = shapes(&scrape_anew(at.agent).await?);
    seen.extend(last.iter().cloned());
    let balance = agent.stop_balanced(&pipeline.bench).await?;
    ensure!(
        balance.exported > 0 && balance.sampled_out > 0,
        "nothing to see: {balance:?}"
    );
    let say = |what: String| println!("{}: {what}", speech.name());
    say(refused_nothing(pipeline, &at, &balance, generated).await?);
    say(sampled(pipeline, &collector, &balance).await?);
    match speech.histograms {
        "exponential" => say(exponential(&collector, &balance)?),
        _ => say(same_names(
            &seen,
            &last,
            &shapes(&scrape(at.prometheus).await?),
        )?),
    }
    Ok(())
}

async fn start_collector(pipeline: &Pipeline, at: &Addresses) -> Result<Server> {
    let mut command = Command::new(&pipeline.args.otelcol);
    command
        .arg("--config")
        .arg(&pipeline.args.otelcol_writing)
        .env("OTLP_LISTEN", at.grpc.to_string())
        .env("OTLP_HTTP_LISTEN", at.http.to_string())
        .env("PROMETHEUS_LISTEN", at.prometheus.to_string())
        .env("TELEMETRY_HOST", at.telemetry.ip().to_string())
        .env("TELEMETRY_PORT", at.telemetry.port().to_string());
    let listens = [at.grpc, at.http, at.prometheus, at.telemetry];
    Server::start(&pipeline.bench, "the Collector", &mut command, &listens).await
}

fn endpoint(speech: Speech, at: &Addresses) -> SocketAddr {
    match speech.protocol {
        "grpc" => at.grpc,
        _ => at.http,
    }
}

async fn start_agent(pipeline: &Pipeline, speech: Speech, at: &Addresses) -> Result<Agent> {
    let to = format!("http://{}", endpoint(speech, at));
    let config = json!({
        "exporters": {"otlp": {"protocol": speech.protocol}},
        "sampling": {"ratio": KEPT.0, "always_keep": {"errors": false}},
        "metrics": {
            "otlp": {"enabled": true, "interval": "1s"},
            "prometheus": {"address": at.agent.to_string()},
            "histograms": speech.histograms,
        },
    });
    Agent::start(&pipeline.bench, agent::config(&pipeline.bench, &to, config)).await
}

/// Runs the load generator. Returns how many spans it sent.
async fn generate(pipeline: &Pipeline, speech: Speech, at: &Addresses) -> Result<u32> {
    let program = &pipeline.args.telemetrygen;
    let mut command = Command::new(program);
    command
        .args([
            "traces",
            "--otlp-insecure",
            "--rate",
            "0",
            "--otlp-endpoint",
        ])
        .arg(endpoint(speech, at).to_string())
        .args(["--traces", &GENERATED_TRACES.to_string()])
        .args(["--child-spans", &(SPANS_OF_EACH - 1).to_string()])
        .kill_on_drop(true);
    if speech.protocol != "grpc" {
        command.arg("--otlp-http");
    }
    let output = tokio::time::timeout(pipeline.bench.bound(60), command.output())
        .await
        .context("telemetrygen did not end")?
        .map_err(cannot_run(program))?;
    ensure!(output.status.success(), "telemetrygen: {output:?}");
    Ok(GENERATED_TRACES * SPANS_OF_EACH)
}

/// The Collector has accepted every span that the agent calls exported, and refused nothing.
async fn refused_nothing(
    pipeline: &Pipeline,
    at: &Addresses,
    balance: &Balance,
    generated: u32,
) -> Result<String> {
    let wanted = balance.exported + u64::from(generated);
    let give_up = tokio::time::Instant::now() + pipeline.bench.bound(30);
    loop {
        let text = scrape(at.telemetry).await?;
        let count = |name: &str| {
            ["", "_total"]
                .map(|suffix| sum(&text, &format!("otelcol_receiver_{name}{suffix}"), &[]) as u64)
                .iter()
                .sum::<u64>()
        };
        for kind in ["spans", "metric_points"] {
            for bad in ["refused", "failed"] {
                let found = count(&format!("{bad}_{kind}"));
                ensure!(found == 0, "the Collector's receivers {bad} {found} {kind}");
            }
        }
        let (spans, points) = (count("accepted_spans"), count("accepted_metric_points"));
        if spans == wanted && points > 0 {
            return Ok(format!(
                "the Collector accepted {spans} spans, {generated} of them telemetrygen's, and {points} metric points, and refused none"
            ));
        }
        ensure!(
            tokio::time::Instant::now() < give_up && spans <= wanted,
            "the Collector accepted {spans} spans, not {wanted}, and {points} metric points"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// The last 56 bits of a trace id, which are random.
fn randomness(traced: &Traced) -> Result<u64> {
    let id: [u8; 16] = traced.span.trace_id.as_slice().try_into()?;
    Ok(u128::from_be_bytes(id) as u64 & ((1 << 56) - 1))
}

fn ids(spans: &[Traced]) -> BTreeSet<Vec<u8>> {
    spans
        .iter()
        .map(|traced| traced.span.span_id.clone())
        .collect()
}

/// The spans of the agent that this file of the Collector's has. A line that is not whole yet is
/// left for later.
fn written(collector: &Server, file: &str) -> Result<Vec<Traced>> {
    let text = collector.read(file)?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut spans = traces_data_lines(whole)?;
    spans.retain(|traced| {
        let scope = traced.origin.scope.as_ref();
        scope.is_some_and(|scope| scope.name == "mqspan")
    });
    Ok(spans)
}

/// Everything that the agent exported is in the file of all, and what the Collector's sampler has
/// made of it is the part that the probability in `tracestate` leads to.
async fn sampled(pipeline: &Pipeline, collector: &Server, balance: &Balance) -> Result<String> {
    let give_up = tokio::time::Instant::now() + pipeline.bench.bound(30);
    loop {
        let all = written(collector, "all.json")?;
        let sampled = written(collector, "sampled.json")?;
        let mut wanted = BTreeSet::new();
        for traced in &all {
            let random = randomness(traced)?;
            ensure!(
                traced.span.trace_state == KEPT.1 && random >= KEPT.2,
                "{}: tracestate {:?} with the random part {random:014x}",
                traced.span.name,
                traced.span.trace_state
            );
            if random >= KEPT_BY_COLLECTOR.1 {
                wanted.insert(traced.span.span_id.clone());
            }
        }
        if all.len() as u64 == balance.exported && ids(&sampled) == wanted {
            let told = sampled
                .iter()
                .all(|traced| traced.span.trace_state == KEPT_BY_COLLECTOR.0);
            ensure!(told, "not every sampled span says {}", KEPT_BY_COLLECTOR.0);
            return Ok(format!(
                "of {} calls the agent kept {} ({}), of these the Collector's sampler {} ({}), the very ones that the probability says",
                balance.seen,
                all.len(),
                KEPT.1,
                sampled.len(),
                KEPT_BY_COLLECTOR.0
            ));
        }
        if tokio::time::Instant::now() >= give_up {
            bail!(
                "{} spans, not {}; sampled {}, not {}; the Collector says: {}",
                all.len(),
                balance.exported,
                sampled.len(),
                wanted.len(),
                collector.log()?
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The number in OTLP/JSON, where 64 bits are text.
fn number(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| value.as_u64()).unwrap_or_default()
}

/// The last exponential histograms count each call once.
fn exponential(collector: &Server, balance: &Balance) -> Result<String> {
    let mut last: BTreeMap<String, Value> = BTreeMap::new();
    for line in collector.read("metrics.json")?.lines() {
        let request: Value = serde_json::from_str(line).context("metrics.json")?;
        let metrics = request
            .pointer("/resourceMetrics/0/scopeMetrics")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|scope| scope["metrics"].as_array())
            .flatten();
        for metric in
            metrics.filter(|metric| metric["name"] == "messaging.client.operation.duration")
        {
            let points = metric
                .pointer("/exponentialHistogram/dataPoints")
                .and_then(Value::as_array);
            for point in points.context("messaging.client.operation.duration is not exponential")? {
                last.insert(point["attributes"].to_string(), point.clone());
            }
        }
    }
    let mut calls = 0;
    for point in last.values() {
        let buckets = point
            .pointer("/positive/bucketCounts")
            .and_then(Value::as_array);
        let counted: u64 = buckets.into_iter().flatten().map(number).sum();
        let (count, zero) = (number(&point["count"]), number(&point["zeroCount"]));
        ensure!(counted + zero == count, "buckets of {counted} for {point}");
        calls += count;
    }
    ensure!(
        calls == balance.seen,
        "exponential histograms of {calls} calls, not {}",
        balance.seen
    );
    Ok(format!(
        "{} exponential histograms count {calls} calls",
        last.len()
    ))
}

/// Names of metrics, each with the names of its labels.
fn shapes(text: &str) -> BTreeSet<String> {
    let of_exporter = [
        "job",
        "instance",
        "otel_scope_name",
        "otel_scope_version",
        "otel_scope_schema_url",
    ];
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("target_info"))
        .filter_map(|line| {
            let (name, labels) = line
                .rsplit_once(' ')?
                .0
                .split_once('{')
                .unwrap_or((line.rsplit_once(' ')?.0, ""));
            let keys: BTreeSet<&str> = labels
                .split("\",")
                .filter_map(|label| Some(label.split_once("=\"")?.0))
                .filter(|key| !of_exporter.contains(key))
                .collect();
            Some(format!("{name}{keys:?}"))
        })
        .collect()
}

/// Prometheus finds the same names, with the same labels, at the agent and at the Collector. The
/// Collector goes on telling what has ended, and has not been told what ended within a second.
fn same_names(
    seen: &BTreeSet<String>,
    last: &BTreeSet<String>,
    of_collector: &BTreeSet<String>,
) -> Result<String> {
    let of_agent_only: Vec<_> = last.difference(of_collector).collect();
    let of_collector_only: Vec<_> = of_collector.difference(seen).collect();
    ensure!(
        of_agent_only.is_empty() && of_collector_only.is_empty() && !last.is_empty(),
        "only the agent has {of_agent_only:#?}, only the Collector's exporter to Prometheus has {of_collector_only:#?}"
    );
    Ok(format!(
        "{} names with labels are the same at the agent's /metrics and at the Collector's exporter to Prometheus",
        of_collector.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_a_name_with_the_names_of_its_labels() {
        let text =
            "# HELP a b\na_total{q=\"/x y\",job=\"mqspan\"} 3\nb 7\ntarget_info{x=\"y\"} 1\n";
        let wanted = ["a_total{\"q\"}", "b{}"].map(str::to_owned);
        assert_eq!(shapes(text), BTreeSet::from(wanted));
    }

    #[test]
    fn another_name_or_label_is_found() {
        let one = shapes("a{q=\"1\"} 3\n");
        let check = |text: &str| same_names(&one, &one, &shapes(text));
        assert!(check("a{q=\"2\",job=\"x\"} 4\n").is_ok());
        for other in ["a{r=\"1\"} 3\n", "b{q=\"1\"} 3\n", "a 3\n", ""] {
            assert!(check(other).is_err(), "{other}");
        }
        let more = shapes("a{q=\"1\"} 3\nb 1\n");
        assert!(same_names(&more, &one, &more).is_ok());
        assert!(same_names(&more, &more, &one).is_err());
    }
}
