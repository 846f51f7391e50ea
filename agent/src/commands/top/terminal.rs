//! Turns the terminal into a screen, and restores it however the program ends.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::prelude::{CrosstermBackend, Terminal};

/// Room for a screenful, so that it is written at once.
const BUFFER_BYTES: usize = 1 << 16;

/// Whether the terminal is a screen, so that it is restored only once.
static TAKEN: AtomicBool = AtomicBool::new(false);
static PANIC_HOOK: Once = Once::new();

/// The terminal as a screen. Dropping it restores the terminal.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

/// Whether standard output can be a screen.
pub(super) fn is_capable() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    stdout().is_terminal() && !is_dumb
}

impl Screen {
    /// Takes the terminal. A panic in any thread restores it before the message
    /// is printed.
    pub(super) fn enter() -> io::Result<Self> {
        PANIC_HOOK.call_once(|| {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                give_back();
                hook(info);
            }));
        });
        take()?;
        let out = BufWriter::with_capacity(BUFFER_BYTES, stdout());
        let terminal = Terminal::new(CrosstermBackend::new(out)).inspect_err(|_| give_back())?;
        Ok(Self { terminal })
    }

    /// Writes the cells that have changed.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame.buffer_mut()))?;
        Ok(())
    }

    /// Forgets what is on the screen, so that the next draw writes all cells.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Restores the terminal and stops the process as Ctrl-Z would, until it is
    /// continued.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // SAFETY: raise() has no memory of ours to touch. It stops this thread
        // before it returns, unlike a signal to the process.
        unsafe {
            libc::raise(libc::SIGTSTP);
        }
        take()?;
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::Release);
    execute!(stdout(), EnterAlternateScreen).inspect_err(|_| give_back())
}

/// Restores the terminal. Ignores errors, because there is nowhere to report them.
fn give_back() {
    if TAKEN.swap(false, Ordering::AcqRel) {
        // Restore the mode first: it cannot block, and the writes can.
        drop(disable_raw_mode());
        drop(execute!(stdout(), LeaveAlternateScreen, Show));
        drop(stdout().flush());
    }
}

/// Gives up a terminal that accepts no output, so that the exit does not wait
/// for writes to it.
pub(super) fn abandon() {
    if TAKEN.swap(false, Ordering::AcqRel) {
        drop(disable_raw_mode());
    }
}

#[cfg(test)]
mod tests;
