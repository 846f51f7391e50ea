//! `mqspan-pipeline`: see the library's documentation.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    mqspan_tests::pipeline().await
}
