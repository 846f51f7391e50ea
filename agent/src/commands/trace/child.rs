//! The command that `trace` runs.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

use anyhow::Context;
use rustix::pipe::pipe;
use tokio::signal::unix::{SignalKind, signal};

/// A process that waits to become the command.
pub(super) struct Child {
    process: std::process::Child,
    go: OwnedFd,
}

impl Child {
    /// Starts the process. It executes the command when [`Child::run`] lets it.
    pub(super) fn prepare(command: &[OsString]) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find this program")?;
        // Without O_CLOEXEC, because the child inherits the reading end.
        let (wait, go) = pipe().context("cannot make a pipe")?;
        rustix::io::fcntl_setfd(&go, rustix::io::FdFlags::CLOEXEC)
            .context("cannot prepare the pipe")?;
        let process = std::process::Command::new(own)
            .arg("launch")
            .arg(wait.as_raw_fd().to_string())
            .arg("--")
            .args(command)
            .spawn()
            .context("cannot start a process")?;
        Ok(Self { process, go })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Lets the command run and waits for its end. Signals from the terminal
    /// reach the command too, and it decides what they mean.
    pub(super) async fn run(self) -> anyhow::Result<u8> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let pid = self.pid();
        let mut process = self.process;
        std::fs::File::from(self.go)
            .write_all(b"!")
            .context("the command is gone before it began")?;
        let mut end = tokio::task::spawn_blocking(move || process.wait());
        let status = loop {
            tokio::select! {
                status = &mut end => break status??,
                _ = interrupt.recv() => {}
                _ = quit.recv() => {}
                _ = terminate.recv() => forward_termination(pid),
            }
        };
        // As in a shell: 128 plus the signal.
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(1);
        Ok(u8::try_from(code).unwrap_or(1))
    }
}

fn forward_termination(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
    {
        tracing::warn!(%error, "cannot pass SIGTERM on to the command");
    }
}
