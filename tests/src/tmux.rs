//! A terminal as a person uses it: tmux with a server of its own.

use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::Bench;
use crate::spawn::cannot_run;

/// How often to look at the screen.
const LOOK: Duration = Duration::from_millis(50);

/// A shell on a terminal. It ends when dropped.
pub(crate) struct Terminal {
    socket: PathBuf,
    bound: Duration,
    dir: TempDir,
}

impl Terminal {
    /// Starts a shell on a terminal of this size, with these variables.
    pub(crate) async fn start(
        bench: &Bench,
        (columns, rows): (u16, u16),
        variables: &[(&str, &str)],
    ) -> Result<Terminal> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = TempDir::with_prefix("mqspan-tmux")?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let terminal = Terminal {
            socket: dir.path().join(format!("socket{number}")),
            bound: bench.bound(60),
            dir,
        };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut line = vec!["-u", "-f", "/dev/null", "new-session", "-d"];
        line.extend(["-x", &columns, "-y", &rows]);
        let variables: Vec<_> = [("LC_ALL", "C.UTF-8")]
            .iter()
            .chain(variables)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        for variable in &variables {
            line.extend(["-e", variable]);
        }
        // Without its status line, the terminal has all rows.
        line.extend(["sh", ";", "set-option", "-g", "status", "off"]);
        terminal.tmux(&line).await?;
        terminal
            .wait_for("a prompt", |screen| !screen.trim().is_empty())
            .await?;
        Ok(terminal)
    }

    async fn tmux(&self, line: &[&str]) -> Result<Output> {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(line)
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .kill_on_drop(true)
            .output()
            .await
            .map_err(cannot_run("tmux"))?;
        ensure!(
            output.status.success(),
            "tmux {line:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output)
    }

    /// Presses keys, by the names that tmux has for them.
    pub(crate) async fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys", "--"], keys].concat()).await?;
        Ok(())
    }

    /// Types a line and presses Enter.
    pub(crate) async fn type_line(&self, line: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", "--", line]).await?;
        self.press(&["Enter"]).await
    }

    /// The text on the screen, line by line.
    pub(crate) async fn screen(&self) -> Result<String> {
        self.capture(&[]).await
    }

    /// Like [`Terminal::screen`], with escape sequences for colours and the like.
    pub(crate) async fn screen_with_escapes(&self) -> Result<String> {
        self.capture(&["-e"]).await
    }

    async fn capture(&self, options: &[&str]) -> Result<String> {
        let output = self
            .tmux(&[&["capture-pane", "-p"], options].concat())
            .await?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits for a screen for which `is_so` holds, and returns it.
    pub(crate) async fn wait_for(
        &self,
        what: &str,
        is_so: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let give_up = tokio::time::Instant::now() + self.bound;
        loop {
            let screen = self.screen().await?;
            if is_so(&screen) {
                return Ok(screen);
            }
            ensure!(
                tokio::time::Instant::now() < give_up,
                "no {what} on the screen:\n{screen}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The path of a file in this terminal's own directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Takes the terminal away from the shell and from what runs in it.
    pub(crate) async fn close(&self) -> Result<()> {
        self.tmux(&["kill-server"]).await?;
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The server may have ended already.
        drop(
            std::process::Command::new("tmux")
                .arg("-S")
                .arg(&self.socket)
                .arg("kill-server")
                .output(),
        );
    }
}
