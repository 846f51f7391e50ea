//! `mqspan-bench`: what mqspan costs, compared with its rivals, in one run.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    mqspan_tests::bench().await
}
