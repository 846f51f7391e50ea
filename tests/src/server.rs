//! A program of others that spans are sent to.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::Bench;
use crate::agent::POLL;
use crate::spawn::cannot_run;

/// A running server. It is killed when dropped.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    directory: TempDir,
}

impl Server {
    /// Starts the program in a directory of its own, and returns once it listens on all these
    /// addresses.
    pub(crate) async fn start(
        bench: &Bench,
        name: &'static str,
        command: &mut Command,
        addresses: &[SocketAddr],
    ) -> Result<Server> {
        let directory = TempDir::with_prefix("mqspan-server")?;
        let log = std::fs::File::create(directory.path().join("log"))?;
        let child = command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot_run(command.as_std().get_program()))
            .context(name)?;
        let mut server = Server {
            name,
            child,
            directory,
        };
        for address in addresses {
            server.wait_listening(bench, *address).await?;
        }
        Ok(server)
    }

    async fn wait_listening(&mut self, bench: &Bench, address: SocketAddr) -> Result<()> {
        let give_up = tokio::time::Instant::now() + bench.bound(30);
        while TcpStream::connect(address).await.is_err() {
            let ended = self.child.try_wait()?;
            ensure!(
                ended.is_none(),
                "{} ended, {ended:?}: {}",
                self.name,
                self.log()?
            );
            ensure!(
                tokio::time::Instant::now() < give_up,
                "{} does not listen on {address}: {}",
                self.name,
                self.log()?
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    pub(crate) fn log(&self) -> Result<String> {
        self.read("log")
    }

    /// Reads a file that it has written into its directory.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let path = self.directory.path().join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child
            .id()
            .with_context(|| format!("{} has ended", self.name))
    }
}
