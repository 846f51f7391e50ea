//! The screen loop: snapshots and keys in, cells out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::keys::{self, Action};
use super::source::Source;
use super::terminal::Screen;
use super::ui::Ui;
use super::view::View;

/// Longest time until a snapshot or a signal is noticed. Keys do not wait.
const TURN: Duration = Duration::from_millis(100);

/// Shows the screen until the user quits or `stop` is set.
pub(super) fn show(
    source: &Source,
    mut ui: Ui,
    view: &View,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut screen = Screen::enter().context("cannot use the terminal")?;
    let mut is_stale = true;
    let mut page = 1;
    while !stop.load(Ordering::Relaxed) {
        if let Some(snapshot) = source.next(Duration::ZERO)? {
            ui.show(snapshot);
            is_stale |= !ui.paused;
        }
        if is_stale {
            screen
                .draw(|buffer| page = view.draw(buffer, &ui))
                .context("cannot write to the terminal")?;
            is_stale = false;
        }
        if !event::poll(TURN).context("cannot read the keyboard")? {
            continue;
        }
        match event::read().context("cannot read the keyboard")? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                match keys::action(key, ui.mode()) {
                    None => continue,
                    Some(Action::Quit) => return Ok(()),
                    Some(Action::Suspend) => {
                        screen.suspend().context("cannot use the terminal")?;
                    }
                    Some(Action::Repaint) => screen.clear().context("cannot use the terminal")?,
                    Some(action) => ui.act(action, page),
                }
                is_stale = true;
            }
            Event::Resize(..) => is_stale = true,
            _ => {}
        }
    }
    Ok(())
}
