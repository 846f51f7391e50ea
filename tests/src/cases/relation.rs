//! How a receive relates to the send of its message, and what is kept of the message itself.

use anyhow::{Result, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::span::{Traced, Value as AttributeValue, attributes};
use serde_json::{Value, json};

use super::{Case, case, comparison};
use crate::Bench;
use crate::agent::Agent;
use crate::compare::{Comparison, Correlation, is_of};
use crate::truth::Call;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("correlation_link", |b| correlated(
            b,
            "link",
            Correlation::Link
        )),
        case!("correlation_none", |b| correlated(
            b,
            "none",
            Correlation::None
        )),
        case!("payload", payload),
        case!("destination_templates", destination_templates),
    ]
}

/// Runs a few round trips under this configuration.
async fn traced(bench: &Bench, config: Value) -> Result<(Workload, Vec<Call>, Vec<Traced>)> {
    let workload = Workload::new(bench.workload()?, &["pingpong", "50"])?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    Ok((workload, calls, collector.spans()))
}

async fn compared(
    bench: &Bench,
    config: Value,
    adjust: impl FnOnce(Comparison<'_>) -> Comparison<'_>,
) -> Result<()> {
    let (workload, calls, spans) = traced(bench, config).await?;
    adjust(comparison(bench, &workload)).check(&calls, &spans)
}

/// Receives relate to their sends as `traces.correlation` says.
async fn correlated(bench: &Bench, setting: &str, correlation: Correlation) -> Result<()> {
    let config = json!({"traces": {"correlation": setting}});
    compared(bench, config, |comparison| Comparison {
        correlation,
        ..comparison
    })
    .await
}

/// Spans carry the beginning of their message, cut at `max_bytes`.
async fn payload(bench: &'static Bench) -> Result<()> {
    // Shorter than the bodies, so that there is something to cut.
    let config = json!({"capture": {"payload": {"enabled": true, "max_bytes": 9}}});
    compared(bench, config, |comparison| Comparison {
        payload_max_bytes: Some(9),
        ..comparison
    })
    .await
}

/// A template stands for the queues that match it in the names of their spans, and in nothing else.
async fn destination_templates(bench: &'static Bench) -> Result<()> {
    let config =
        json!({"traces": {"destination_templates": ["no-such-*", "*.ping*"], "body_size": true}});
    let (_, calls, spans) = traced(bench, config).await?;
    let mut templated = 0;
    for traced in spans.iter().filter(|traced| is_of(&calls)(traced)) {
        let (got, _) = attributes(&traced.span.attributes);
        let text = |key: &str| match got.get(key) {
            Some(AttributeValue::Str(text)) => text.clone(),
            _ => String::new(),
        };
        let (queue, template) = (
            text("messaging.destination.name"),
            text("messaging.destination.template"),
        );
        let matches = queue.contains(".ping");
        let shown = if matches { "/*.ping*" } else { &queue };
        ensure!(
            traced.span.name == format!("{} {shown}", text("messaging.operation.name"))
                && template == if matches { shown } else { "" },
            "{:?} with the template {template:?} of {queue:?}",
            traced.span.name
        );
        let operation = text("messaging.operation.type");
        let is_transfer = ["send", "receive"].contains(&operation.as_str());
        ensure!(
            got.contains_key("messaging.message.body.size") == is_transfer,
            "{:?}: body size {:?}",
            traced.span.name,
            got.get("messaging.message.body.size")
        );
        templated += usize::from(matches);
    }
    ensure!(templated >= 100, "{templated} spans of a template");
    Ok(())
}
