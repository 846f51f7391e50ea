//! What others take does not come out of a user's share, and a loss is reported as that of its
//! user.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join;
use mqspan_testkit::collector::{Answer, Collector};
use mqspan_testkit::free_address;
use serde_json::{Value, json};
use tokio::process::Command;

use super::hostile::{FIRST_HOSTILE_USER, GOOD_USER, LOST_BY_OWNER, of_user};
use super::{Case, case};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::attack::Attack;
use crate::compare::is_of;
use crate::scrape::{scrape_anew, sum, wait_for_metrics};
use crate::workload::Workload;

/// How long the attack goes on while the good user makes its calls.
const SECONDS: u32 = 4;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("shares_threads", threads),
        case!("shares_collector_away", collector_away),
        case!("shares_tenants_told", tenants_told),
    ]
}

fn config(bench: &Bench, collector: &Collector, prometheus: SocketAddr, mut over: Value) -> Value {
    let metrics = json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}});
    agent::merge(&mut over, metrics);
    agent::config(bench, &collector.endpoint(), over)
}

/// Once one user has lost calls for `reason`, another makes its own and loses none.
async fn good_loses_nothing(
    bench: &'static Bench,
    over: Value,
    attack: Attack,
    reason: &str,
    refuses: bool,
) -> Result<()> {
    let collector = Collector::start()?;
    if refuses {
        collector.answer(|_| Answer::unavailable());
    }
    let prometheus = free_address()?;
    let config = config(bench, &collector, prometheus, over);
    let agent = Agent::start(bench, config).await?;
    let reason = format!("mqspan_loss_reason=\"{reason}\"");
    let (bad, good) = (of_user(FIRST_HOSTILE_USER), of_user(GOOD_USER));
    let works = async {
        let nothing_lost = |text: &str| {
            let lost = sum(text, LOST_BY_OWNER, &[&reason, &bad]);
            (lost == 0.0).then(|| format!("no loss with {reason} and {bad}"))
        };
        wait_for_metrics(bench, prometheus, u64::from(SECONDS), nothing_lost).await?;
        let workload = Workload::new(bench.workload()?, &["paced", "100"])?.with_user(GOOD_USER)?;
        workload.run(bench).await
    };
    let (_, calls) = try_join(attack.run_for(bench, FIRST_HOSTILE_USER, SECONDS), works).await?;
    collector.answer(|_| Answer::Accept);
    collector
        .wait_for_spans(calls.len(), bench.bound(60), is_of(&calls))
        .await
        .with_context(|| agent.log())?;
    let text = scrape_anew(prometheus).await?;
    ensure!(
        sum(&text, LOST_BY_OWNER, &[&good]) == 0.0,
        "the good user has lost calls:\n{text}"
    );
    agent.stop_balanced(bench).await?;
    Ok(())
}

/// The good user loses nothing while threads that called once and stay hold all thread records.
async fn threads(bench: &'static Bench) -> Result<()> {
    let small = json!({"capture": {"max_in_flight": 256}});
    let attack = Attack::new("threads-many", 1).with_count(1000);
    good_loses_nothing(bench, small, attack, "in_flight_full", false).await
}

/// The good user loses nothing while another's spans fill the sending queue and the collector takes
/// none.
async fn collector_away(bench: &'static Bench) -> Result<()> {
    let small = json!({
        "exporters": {"otlp": {
            "sending_queue": {"queue_size": "8MiB"},
            "retry_on_failure": {"initial_interval": "50ms", "max_interval": "200ms"},
        }},
    });
    let attack = Attack::new("flood-exchange", 1);
    good_loses_nothing(bench, small, attack, "queue_full", true).await
}

/// Namespaces made by root of the host are reported as tenants, and those made by other users are
/// not.
async fn tenants_told(bench: &'static Bench) -> Result<()> {
    const USER: &str = "65001";
    /// The first id that `map_users()` of tests/hostile/namespaces.c gives the namespace.
    const FIRST_MAPPED: u32 = 200_000;
    let namespace = "mqspan_owner_namespace=\"";
    let collector = Collector::start()?;
    collector.keep_only(|_| false);
    let prometheus = free_address()?;
    let small = json!({"capture": {"ring_buffer_size": "4KiB"}});
    let agent = Agent::start(bench, config(bench, &collector, prometheus, small)).await?;
    let hostile = bench.beside_workload("hostile")?;
    for (runner, labels, is_tenant) in [
        (&["pid-namespace"][..], of_user(0), true),
        // Root of the host made this one. Root inside it is one of its own users.
        (
            &["--uid", "0", "user-namespace"],
            of_user(FIRST_MAPPED),
            true,
        ),
        (&["--uid", USER, "user-namespace"], of_user(65_001), false),
    ] {
        let told = |text: &str| {
            let all = sum(text, LOST_BY_OWNER, &[&labels]);
            let of_tenants = sum(text, LOST_BY_OWNER, &[&labels, namespace]);
            if is_tenant {
                of_tenants
            } else {
                all - of_tenants
            }
        };
        let before = told(&scrape_anew(prometheus).await?);
        agent.pause()?;
        let output = Command::new(&hostile)
            .args(runner)
            .arg(&hostile)
            .args(["--seconds", "1", "flood-unlink"])
            .stdin(Stdio::null())
            .output()
            .await?;
        agent.go_on()?;
        ensure!(
            output.status.success(),
            "{runner:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let wrong = |text: &str| {
            (told(text) <= before).then(|| format!("{runner:?}: no loss is told as {labels}"))
        };
        wait_for_metrics(bench, prometheus, 10, wrong).await?;
    }
    agent.stop_balanced(bench).await?;
    Ok(())
}
