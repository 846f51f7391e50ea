//! Every call is accounted for: exported, dropped on purpose, or lost and counted.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use mqspan_testkit::collector::Collector;
use mqspan_testkit::free_address;
use serde_json::json;

use super::{Case, case, defaults};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::attack::Attack;
use crate::balance::Balance;
use crate::compare::is_of;
use crate::scrape::{scrape, sum, wait_for_metrics};
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("balance_nothing_lost", nothing_lost),
        case!("balance_ring_full_64", |b| ring_full(b, b.workload())),
        case!("balance_ring_full_32", |b| ring_full(b, b.workload32())),
        case!("balance_in_flight_full", in_flight_full),
        case!("balance_hidden", hidden),
        case!("balance_contended_64", |b| contended(b, b.workload())),
        case!("balance_contended_32", |b| contended(b, b.workload32())),
    ]
}

/// Every call is exported, and none is lost.
async fn nothing_lost(bench: &'static Bench) -> Result<()> {
    let prometheus = free_address()?;
    let collector = Collector::start()?;
    let config = json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let workload = Workload::new(bench.workload()?, &["paced", "500"])?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    let give_up = tokio::time::Instant::now() + bench.bound(10);
    loop {
        let text = scrape(prometheus).await?;
        let exported = sum(
            &text,
            "mqspan_call_count_total",
            &["mqspan_outcome=\"exported\""],
        );
        let lost = sum(
            &text,
            "mqspan_call_count_total",
            &["mqspan_outcome=\"lost\""],
        );
        ensure!(lost == 0.0, "{lost} calls lost:\n{text}");
        // Other programs on this machine may have made calls too, so compare with what arrived.
        #[allow(clippy::cast_precision_loss)]
        if exported == collector.spans().len() as f64 {
            break;
        }
        ensure!(
            tokio::time::Instant::now() < give_up,
            "{exported} calls are exported, {} spans arrived:\n{text}",
            collector.spans().len()
        );
        tokio::time::sleep(agent::POLL).await;
    }
    agent.stop_well(bench).await
}

/// Other users of BPF can keep the kernel from running programs at kprobes. Calls that are missed
/// that way are counted.
async fn hidden(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let config = agent::config(bench, &collector.endpoint(), defaults());
    let agent = Agent::start(bench, config).await?;
    let made = Attack::new("maps", 5).run_for(bench, 0, 3).await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(
        made > 100 && balance.seen >= made * 98 / 100,
        "{made} calls were made: {balance:?}"
    );
    Ok(())
}

/// With a ring of 16 KiB that nobody drains, nearly all calls are lost, and all losses are counted.
async fn ring_full(bench: &'static Bench, program: Result<PathBuf>) -> Result<()> {
    const CALLS: u64 = 40_006; // of both workloads, with mq_open and mq_unlink
    let collector = Collector::start()?;
    let prometheus = free_address()?;
    let config = json!({
        // Room for a few dozen calls, of which sampling keeps some and drops some.
        "capture": {"ring_buffer_size": "16KiB"},
        "sampling": {"ratio": 0.5},
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let program = program?;
    let workload = Workload::new(program.clone(), &["flood", "20000"])?;
    // The kernel's record of this process finds no room, at any of its four calls.
    let late = Workload::new(program, &["flood", "1"])?;
    agent.pause()?;
    workload.run_untold(bench).await?;
    late.run_untold(bench).await?;
    agent.go_on()?;
    // The metrics still count every call.
    wait_for_metrics(bench, prometheus, 30, |text| {
        let counts = [
            "messaging_client_sent_messages_total",
            "messaging_client_consumed_messages_total",
            "messaging_client_operation_duration_seconds_count",
        ]
        .map(|name| sum(text, name, &["/e2e.", ".flood\""]));
        let processes = sum(text, "mqspan_identity_lost_total", &["process"]);
        (counts != [20_001.0, 20_001.0, 40_006.0] || processes < 4.0)
            .then(|| format!("{counts:?} in the metrics, {processes} processes lost"))
    })
    .await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(
        balance.lost_by("ring_full") > CALLS / 2,
        "little was lost: {balance:?}"
    );
    ensure!(balance.sampled_out > 0, "none sampled out: {balance:?}");
    ensure_seen(bench, &balance, CALLS)?;
    ensure_arrived(&balance, &collector)
}

/// Where threads are kept in a map of fixed size, calls that find no room are counted.
async fn in_flight_full(bench: &'static Bench) -> Result<()> {
    const THREADS: u64 = 100;
    const CALLS: u64 = 2 * THREADS + 2;
    let collector = Collector::start()?;
    let config = json!({"capture": {"max_in_flight": 16}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let workload = Workload::new(bench.workload()?, &["blocked", "100"])?;
    workload.run(bench).await?;
    let may_miss = agent.may_miss();
    let balance = agent.stop_balanced(bench).await?;
    // Most kernels have task storage, which cannot be full, so nothing is lost there.
    let lost_otherwise = balance.lost - balance.lost_by("in_flight_full");
    ensure!(
        lost_otherwise == 0 || may_miss && lost_otherwise <= CALLS * 5 / 100,
        "{balance:?}"
    );
    ensure_seen(bench, &balance, CALLS)?;
    ensure_arrived(&balance, &collector)
}

/// With more threads in calls than CPUs, a kernel that preempts them there must not hide any call.
async fn contended(bench: &'static Bench, program: Result<PathBuf>) -> Result<()> {
    const PROCESSES: u64 = 4;
    const CALLS: u64 = PROCESSES * 10_002;
    let collector = Collector::start()?;
    let config = json!({"capture": {"ring_buffer_size": "32MiB"}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let program = program?;
    let floods = (0..PROCESSES)
        .map(|_| Workload::new(program.clone(), &["flood", "5000"]))
        .collect::<Result<Vec<_>>>()?;
    try_join_all(floods.iter().map(|flood| flood.run_untold(bench))).await?;
    let may_lose = agent.may_miss();
    let balance = agent.stop_balanced(bench).await?;
    // An emulated machine cannot send this many before the deadline of a shutdown.
    let lost_in_kernel = balance.lost - balance.lost_by("shutdown");
    ensure!(may_lose || lost_in_kernel == 0, "{balance:?}");
    ensure_seen(bench, &balance, CALLS)?;
    ensure_arrived(&balance, &collector)
}

fn ensure_seen(bench: &Bench, balance: &Balance, calls: u64) -> Result<()> {
    // On a shared machine, other programs may make calls too.
    let is_right = if bench.own_machine {
        balance.seen == calls && balance.pending == 0
    } else {
        balance.seen >= calls
    };
    ensure!(is_right, "{calls} calls were made: {balance:?}");
    Ok(())
}

fn ensure_arrived(balance: &Balance, collector: &Collector) -> Result<()> {
    let arrived = u64::try_from(collector.spans().len())?;
    // Spans that a shutdown does not wait for may have arrived without the agent knowing.
    let most = balance.exported + balance.lost_by("shutdown");
    ensure!(
        (balance.exported..=most).contains(&arrived),
        "{arrived} spans arrived: {balance:?}"
    );
    Ok(())
}
