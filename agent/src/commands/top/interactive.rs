//! The loop of the screen: pictures and keys in, cells out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::feed::Feed;
use super::keys::{self, Action};
use super::look::Look;
use super::picture::Setting;
use super::terminal::Screen;
use super::ui::Ui;
use super::view;

/// How long a picture or a signal can wait for its turn; keys do not wait.
const TURN: Duration = Duration::from_millis(100);

/// Shows the screen until the user or `stop` ends it.
pub(super) fn show(
    feed: &Feed,
    mut ui: Ui,
    setting: &Setting,
    look: Look,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut screen = Screen::enter().context("cannot use the terminal")?;
    let mut is_stale = true;
    while !stop.load(Ordering::Relaxed) {
        if let Some(figures) = feed.handover.take() {
            ui.show(feed.picture(figures)?);
            is_stale |= !ui.paused;
        }
        if is_stale {
            screen
                .draw(|buffer| view::draw(buffer, &ui, setting, look))
                .context("cannot write to the terminal")?;
            is_stale = false;
        }
        if !event::poll(TURN).context("cannot read the keyboard")? {
            continue;
        }
        match event::read().context("cannot read the keyboard")? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let Some(action) = keys::action(key, ui.mode()) else {
                    continue;
                };
                match action {
                    Action::Quit => return Ok(()),
                    Action::Suspend => screen.suspend().context("cannot use the terminal")?,
                    Action::Repaint => screen.clear().context("cannot use the terminal")?,
                    action => {
                        let page = view::page(screen.rows(), &ui);
                        ui.act(action, page);
                    }
                }
                is_stale = true;
            }
            Event::Resize(..) => is_stale = true,
            _ => {}
        }
    }
    Ok(())
}
