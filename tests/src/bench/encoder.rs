//! Encodes spans to bytes: the results of agent/benches/encode.rs, in the same table.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::table::Table;
use crate::spawn::cannot_run;

/// The rows about one span of 16 attributes. `program` is the compiled benchmark.
pub(super) async fn of_span(program: &Path, table: &mut Table) -> Result<()> {
    eprintln!("encoder: one span of 16 attributes");
    let home = TempDir::with_prefix("mqspan-bench")?;
    let status = Command::new(program)
        .args(["--bench", "--noplot", "--quiet", "^receive/"])
        .env("CRITERION_HOME", home.path())
        .stdout(Stdio::null())
        .status()
        .await
        .map_err(cannot_run(program))?;
    ensure!(
        status.success(),
        "{} ended with {status}",
        program.display()
    );
    table.section(&["one span of 16 attributes, to OTLP's bytes", "median"]);
    for (name, of) in [
        ("mqspan, from the span on", "ours"),
        ("mqspan, from the call on", "ours, from the call"),
        (
            "opentelemetry-proto 0.33, its message built and encoded",
            "opentelemetry-proto, build and encode",
        ),
        (
            "opentelemetry-proto 0.33, its message encoded",
            "opentelemetry-proto, encode only",
        ),
    ] {
        let estimates = home
            .path()
            .join("receive")
            .join(of)
            .join("new/estimates.json");
        let text =
            std::fs::read_to_string(&estimates).with_context(|| estimates.display().to_string())?;
        let ns = median_ns(&text).with_context(|| estimates.display().to_string())?;
        table.row(vec![name.to_owned(), format!("{ns:.0} ns")]);
    }
    Ok(())
}

/// Reads the median from criterion's `estimates.json`.
fn median_ns(estimates: &str) -> Result<f64> {
    let estimates: Value = serde_json::from_str(estimates)?;
    estimates
        .pointer("/median/point_estimate")
        .and_then(Value::as_f64)
        .context("no median")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_read() -> Result<()> {
        let text = r#"{"mean": {"point_estimate": 3.0}, "median": {"point_estimate": 72.5}}"#;
        assert!((median_ns(text)? - 72.5).abs() < f64::EPSILON);
        assert!(median_ns("{}").is_err());
        Ok(())
    }
}
