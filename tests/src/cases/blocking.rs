//! Calls that wait: many at once, interrupted, killed, with the queue gone, or from before the start.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::calls::scenario;
use super::{Case, case, comparison, defaults};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::sink::Sink;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("blocked_1000", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["blocked", "1000"]
        )),
        case!("blocked_32", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["blocked", "100"]
        )),
        case!("interrupted_64", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["interrupted"]
        )),
        case!("interrupted_32", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["interrupted"]
        )),
        case!("killed_64", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["killed"]
        )),
        case!("killed_32", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["killed"]
        )),
        case!("closed_64", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["closed"]
        )),
        case!("closed_32", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["closed"]
        )),
        case!("blocked_before_attach", blocked_before_attach),
    ]
}

fn now_ns() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_nanos())?)
}

/// A call that was waiting when the agent came is traced from then on, and says so.
async fn blocked_before_attach(bench: &'static Bench) -> Result<()> {
    let workload = Workload::new(bench.workload()?, &["blocked", "3", "hold"])?;
    let sink = Sink::start().await?;
    let held = workload.hold(bench).await?;
    let starting_ns = now_ns()?;
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), defaults())).await?;
    let ready_ns = now_ns()?;
    held.release(bench).await?;

    let mut calls = workload.truth()?;
    calls.retain(|call| call.realtime_end_ns > ready_ns);
    for call in &mut calls {
        if call.realtime_start_ns < starting_ns {
            call.start_unknown = true;
            call.realtime_start_ns = starting_ns;
        }
    }
    sink.wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    agent.stop_well(bench).await?;
    comparison(bench, &workload).check(&calls, &sink.spans())
}
