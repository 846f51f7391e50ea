//! Metrics count every call.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Case, case};
use crate::agent::{self, Agent};
use crate::sink::{Sink, free_address};
use crate::workload::Workload;
use crate::{Bench, http};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("metrics_count_messages", count_messages),
        case!("metrics_blocked_callers", blocked_callers),
    ]
}

/// The sum of a metric's samples whose labels include all of these, in Prometheus' text format.
pub(super) fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

pub(super) async fn scrape(address: SocketAddr) -> Result<String> {
    let response = http::get(address, "/metrics").await?;
    ensure!(
        response.status == 200,
        "/metrics: {}: {}",
        response.status,
        response.body
    );
    Ok(response.body)
}

/// Exact, though only one span in ten is kept.
async fn count_messages(bench: &'static Bench) -> Result<()> {
    let prometheus = free_address().await?;
    let sink = Sink::start().await?;
    let config = json!({
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
        "sampling": {"ratio": 0.1},
    });
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), config)).await?;
    let workload = Workload::new(bench.workload()?, &["paced", "500"])?;
    let calls = workload.run(bench).await?;
    let queue = calls
        .iter()
        .find_map(|call| call.queue.as_deref())
        .unwrap_or("(none)");
    let of_queue = [format!("messaging_destination_name=\"{queue}\"")];
    let of_queue: Vec<_> = of_queue.iter().map(String::as_str).collect();
    let wanted = [
        ("messaging_client_sent_messages_total", 500.0),
        ("messaging_client_consumed_messages_total", 500.0),
    ];
    // Counters follow the calls after a moment.
    let give_up = tokio::time::Instant::now() + bench.bound(10);
    loop {
        let text = scrape(prometheus).await?;
        let got = wanted.map(|(name, _)| sum(&text, name, &of_queue));
        if got == wanted.map(|(_, count)| count) {
            break;
        }
        ensure!(
            tokio::time::Instant::now() < give_up,
            "{:?} are {got:?}, not {:?}:\n{text}",
            wanted.map(|(name, _)| name),
            wanted.map(|(_, count)| count)
        );
        tokio::time::sleep(agent::POLL).await;
    }
    agent.stop_well(bench).await
}

/// As many as are blocked, and none once they are released.
async fn blocked_callers(bench: &'static Bench) -> Result<()> {
    let prometheus = free_address().await?;
    let sink = Sink::start().await?;
    let config = json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}});
    let agent = Agent::start(bench, agent::config(bench, &sink.endpoint(), config)).await?;
    let workload = Workload::new(bench.workload()?, &["blocked", "100", "hold"])?;
    let held = workload.hold(bench).await?;
    wait_for_callers(bench, prometheus, 100.0).await?;
    held.release(bench).await?;
    wait_for_callers(bench, prometheus, 0.0).await?;
    agent.stop_well(bench).await
}

async fn wait_for_callers(bench: &Bench, prometheus: SocketAddr, wanted: f64) -> Result<()> {
    let labels = ["\"/e2e.", "messaging_operation_type=\"receive\""];
    let give_up = tokio::time::Instant::now() + bench.bound(10);
    loop {
        let text = scrape(prometheus).await?;
        let callers = sum(&text, "posix_mq_blocked_callers", &labels);
        if callers == wanted {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < give_up,
            "{callers} blocked callers, not {wanted}:\n{text}"
        );
        tokio::time::sleep(agent::POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_samples_of_one_name() {
        let text = "# TYPE a counter\na{q=\"/x\"} 2\na{q=\"/y\"} 3\nab{q=\"/x\"} 5\na 7\n";
        let table = [
            ("a", vec![], 12.0),
            ("a", vec!["q=\"/x\""], 2.0),
            ("b", vec![], 0.0),
        ];
        for (name, labels, want) in table {
            let got = sum(text, name, &labels);
            assert!((got - want).abs() < f64::EPSILON, "{name}: {got}");
        }
    }
}
