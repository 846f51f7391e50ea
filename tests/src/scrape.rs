//! Metrics in Prometheus' text format, as a server offers them.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use mqspan_testkit::http;

use crate::Bench;
use crate::agent::POLL;

/// The sum of a metric's samples that have all these labels, in Prometheus text format.
pub(crate) fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

pub(crate) async fn scrape(address: SocketAddr) -> Result<String> {
    let response = http::get(address, "/metrics").await?;
    ensure!(
        response.status == 200,
        "/metrics: {}: {}",
        response.status,
        response.body
    );
    Ok(response.body)
}

/// What tells the collection of this text from others: no two have the same CPU time.
pub(crate) fn collection(text: &str) -> String {
    let cpu_time = text
        .lines()
        .filter(|line| line.starts_with("process_cpu_time_seconds_total{"));
    cpu_time.collect()
}

/// Like [`scrape`], but from a collection that began after this call. Scrapes within a second share
/// an answer.
pub(crate) async fn scrape_anew(address: SocketAddr) -> Result<String> {
    let shared = collection(&scrape(address).await?);
    loop {
        let text = scrape(address).await?;
        if collection(&text) != shared {
            return Ok(text);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until `wrong` finds nothing. The metrics lag a little behind the calls.
pub(crate) async fn wait_for_metrics(
    bench: &Bench,
    address: SocketAddr,
    seconds: u64,
    wrong: impl Fn(&str) -> Option<String>,
) -> Result<()> {
    let give_up = tokio::time::Instant::now() + bench.bound(seconds);
    loop {
        let text = scrape(address).await?;
        let Some(wrong) = wrong(&text) else {
            return Ok(());
        };
        ensure!(tokio::time::Instant::now() < give_up, "{wrong}:\n{text}");
        tokio::time::sleep(POLL).await;
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
