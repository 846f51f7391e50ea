//! Jaeger's query APIs: the one that its page uses, and the one that answers in OTLP.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use mqspan_testkit::http;
use mqspan_testkit::span::Traced;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use mqspan_testkit::otlp_json::traces_data_lines;

/// More traces than a run makes, and fewer than Jaeger keeps in memory.
const MOST_TRACES: u32 = 50_000;

/// The year 2200, in microseconds since 1970.
const LATEST_US: u64 = 7_258_118_400_000_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trace {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<Span>,
    processes: HashMap<String, Process>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    #[serde(rename = "traceID")]
    pub(super) trace_id: String,
    #[serde(rename = "spanID")]
    pub(super) span_id: String,
    pub(super) operation_name: String,
    pub(super) references: Vec<Reference>,
    /// Microseconds since 1970.
    start_time: u64,
    /// In microseconds.
    duration: u64,
    tags: Vec<Tag>,
    #[serde(rename = "processID")]
    process_id: String,
    pub(super) warnings: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reference {
    pub(super) ref_type: String,
    #[serde(rename = "traceID")]
    pub(super) trace_id: String,
    #[serde(rename = "spanID")]
    pub(super) span_id: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    tags: Vec<Tag>,
}

#[derive(Clone, Debug, Deserialize)]
struct Tag {
    key: String,
    value: Value,
}

/// A span with what Jaeger calls its process: the service, and tags that were the resource's
/// attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) span: &'a Span,
    process: &'a Process,
}

fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a Value> {
    tags.iter().find(|tag| tag.key == key).map(|tag| &tag.value)
}

impl Span {
    /// Whether it began and ended within the other.
    pub(super) fn is_within(&self, other: &Span) -> bool {
        self.start_time >= other.start_time
            && self.start_time + self.duration <= other.start_time + other.duration
    }
}

impl<'a> Found<'a> {
    pub(super) fn service(self) -> &'a str {
        &self.process.service_name
    }

    pub(super) fn tag(self, key: &str) -> Option<&'a Value> {
        value(&self.span.tags, key)
    }

    pub(super) fn process_tag(self, key: &str) -> Option<&'a Value> {
        value(&self.process.tags, key)
    }

    /// The system call's return value.
    pub(super) fn returned(self) -> Option<i64> {
        self.tag("posix_mq.return").and_then(Value::as_i64)
    }
}

impl Trace {
    pub(super) fn found(&self) -> Result<Vec<Found<'_>>> {
        self.spans
            .iter()
            .map(|span| {
                let process = self
                    .processes
                    .get(&span.process_id)
                    .with_context(|| format!("trace {}: no {}", self.trace_id, span.process_id))?;
                Ok(Found { span, process })
            })
            .collect()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Jaeger {
    pub(super) query: SocketAddr,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
}

#[derive(Deserialize)]
struct Operation {
    name: String,
    #[serde(rename = "spanKind")]
    kind: String,
}

impl Jaeger {
    async fn get(&self, path: &str) -> Result<String> {
        let response = http::get(self.query, path).await?;
        ensure!(
            response.status == 200,
            "Jaeger answers {} to {path}: {}",
            response.status,
            response.body
        );
        Ok(response.body)
    }

    async fn ask<T: DeserializeOwned + Default>(&self, path: &str) -> Result<T> {
        let body = self.get(path).await?;
        let answer: Answer<T> =
            serde_json::from_str(&body).with_context(|| format!("{path}: {body:.200}"))?;
        Ok(answer.data.unwrap_or_default())
    }

    /// The services other than Jaeger itself, which is one where a traced client has asked it.
    pub(super) async fn services(&self) -> Result<BTreeSet<String>> {
        let mut services: BTreeSet<String> = self.ask("/api/services").await?;
        services.remove("jaeger");
        Ok(services)
    }

    /// The operations of a service, by name and kind.
    pub(super) async fn operations(&self, service: &str) -> Result<BTreeSet<(String, String)>> {
        let path = format!("/api/operations?service={service}");
        let operations: Vec<Operation> = self.ask(&path).await?;
        Ok(operations
            .into_iter()
            .map(|operation| (operation.name, operation.kind))
            .collect())
    }

    /// Every trace of every service, once.
    pub(super) async fn traces(&self) -> Result<Vec<Trace>> {
        let mut traces = Vec::new();
        let mut seen = HashSet::new();
        for service in self.services().await? {
            let path = format!(
                "/api/traces?service={service}&start=1&end={LATEST_US}&limit={MOST_TRACES}"
            );
            let found: Vec<Trace> = self.ask(&path).await?;
            traces.extend(
                found
                    .into_iter()
                    .filter(|trace| seen.insert(trace.trace_id.clone())),
            );
        }
        Ok(traces)
    }

    /// The spans of these services in OTLP. A trace that two of them share comes twice.
    pub(super) async fn otlp(&self, services: &[&str]) -> Result<Vec<Traced>> {
        #[derive(Deserialize)]
        struct Wrapped {
            result: Value,
        }
        let mut spans: Vec<Traced> = Vec::new();
        let mut seen = HashSet::new();
        for service in services {
            let path = format!(
                "/api/v3/traces?query.service_name={service}&query.start_time_min=1970-01-01T00:00:01Z\
                 &query.start_time_max=2200-01-01T00:00:00Z&query.num_traces={MOST_TRACES}&query.raw_traces=true"
            );
            let body = self.get(&path).await?;
            let wrapped: Wrapped =
                serde_json::from_str(&body).with_context(|| format!("{path}: {body:.200}"))?;
            let found = traces_data_lines(&wrapped.result.to_string())?;
            let traces: HashSet<Vec<u8>> = found
                .iter()
                .map(|traced| traced.span.trace_id.clone())
                .collect();
            spans.extend(
                found
                    .into_iter()
                    .filter(|traced| !seen.contains(&traced.span.trace_id)),
            );
            seen.extend(traces);
        }
        Ok(spans)
    }
}
