//! The terminal as a screen, and back as it was, whatever ends it.

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

/// A screenful is written at once.
const BUFFER_BYTES: usize = 1 << 16;

/// Whether the terminal is ours: it is given back once.
static TAKEN: AtomicBool = AtomicBool::new(false);
static PANIC_HOOK: Once = Once::new();

/// The terminal while it is a screen; dropping it gives it back.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

/// Can standard output be a screen?
pub(super) fn is_capable() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    stdout().is_terminal() && !is_dumb
}

impl Screen {
    /// Takes the terminal. A panic in any thread gives it back before it says
    /// what it is.
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

    /// Writes the cells that differ from those before.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame.buffer_mut()))?;
        Ok(())
    }

    /// Forgets what is on the screen, so that all of it is drawn anew.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Gives the terminal back and stops the process as Ctrl-Z would, until
    /// somebody lets it go on.
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

/// Makes the terminal what it was before. Nobody is left to tell if it fails.
fn give_back() {
    if TAKEN.swap(false, Ordering::AcqRel) {
        // The mode first: it cannot block, and what follows can.
        drop(disable_raw_mode());
        drop(execute!(stdout(), LeaveAlternateScreen, Show));
        drop(stdout().flush());
    }
}

/// Lets go of a terminal that takes no more output, so that nothing that is
/// written can be waited for.
pub(super) fn abandon() {
    if TAKEN.swap(false, Ordering::AcqRel) {
        drop(disable_raw_mode());
    }
}

#[cfg(test)]
mod tests;
