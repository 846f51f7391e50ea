//! `mqspan run`
use tokio::signal::unix::{SignalKind, signal};
use super::Failure;
use std::process::ExitCode;
use crate::kernel::AttachError;
pub(super) fn run(_args: &crate::cli::RunArgs) -> Result<ExitCode, Failure> { Ok(ExitCode::SUCCESS) }
/// Resolves at SIGTERM or SIGINT.
pub(super) async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
pub(super) fn explain(error: &AttachError) -> anyhow::Error { anyhow::anyhow!("{error}") }
