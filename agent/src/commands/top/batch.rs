//! Plain tables, one per interval, without escape sequences.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use ratatui::buffer::Buffer;

use super::source::Source;
use super::ui::Ui;
use super::view::View;

/// Longest time until a signal is noticed.
const TURN: Duration = Duration::from_millis(100);

/// Prints `tables` tables, or fewer if `stop` is set before.
pub(super) fn print(
    source: &Source,
    mut ui: Ui,
    view: &View,
    tables: u32,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut printed = 0;
    while printed < tables && !stop.load(Ordering::Relaxed) {
        let Some(snapshot) = source.next(TURN)? else {
            continue;
        };
        ui.show(snapshot);
        let separator = if printed == 0 { "" } else { "\n" };
        let text = format!("{separator}{}", text(&view.plain(&ui)));
        printed += 1;
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // The reader has seen enough (`| head`).
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            outcome => outcome.context("cannot write to standard output")?,
        }
    }
    Ok(())
}

/// The cells as lines, without trailing blanks.
pub(super) fn text(cells: &Buffer) -> String {
    let mut text = String::new();
    for row in cells.content().chunks(usize::from(cells.area.width).max(1)) {
        let mut line = String::new();
        let mut covered = 0;
        for cell in row {
            // A wide character covers the cells after it.
            if covered == 0 {
                line.push_str(cell.symbol());
                covered = ratatui::text::Span::raw(cell.symbol()).width().max(1);
            }
            covered -= 1;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
