//! How a receive relates to the send of its message, and what is kept of the message itself.

use anyhow::Result;
use mqspan_testkit::collector::Collector;
use serde_json::{Value, json};

use super::{Case, case, comparison};
use crate::Bench;
use crate::agent::Agent;
use crate::compare::{Comparison, Correlation, is_of};
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
    ]
}

async fn compared(
    bench: &Bench,
    config: Value,
    adjust: impl FnOnce(Comparison<'_>) -> Comparison<'_>,
) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["pingpong", "50"])?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    adjust(comparison(bench, &workload)).check(&calls, &collector.spans())
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
