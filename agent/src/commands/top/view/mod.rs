//! Draws the screen from what is known and chosen. Pure: the same input makes
//! the same cells.

mod callers;
mod columns;
mod detail;
mod help;
mod pen;
mod queues;

use clap::ValueEnum;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::pen::Pen;
use super::format::{clock, number};
use super::look::Look;
use super::picture::{Picture, Setting};
use super::ui::Ui;

/// What it takes at least; 80x24 with a status line of tmux or screen is less.
const MIN_WIDTH: u16 = 80;
const MIN_HEIGHT: u16 = 20;

/// The rows at the top and at the bottom.
const HEAD: u16 = 2;
const FOOT: u16 = 1;
/// Rows of the selected queue: its title and what is below.
const DETAIL: u16 = 7;
const MAX_DETAIL: u16 = 14;

/// How many rows each part has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heights {
    queues: u16,
    callers: u16,
    detail: u16,
}

/// Shares the rows: every part has some, and what nobody needs goes to the
/// chart and then to the queues.
fn heights(rows: u16, queues: usize, callers: usize) -> Heights {
    let rows = rows.saturating_sub(HEAD + FOOT);
    let for_queues = u16::try_from(queues.max(1)).unwrap_or(u16::MAX);
    let for_queues = for_queues.saturating_add(1);
    let for_callers = callers::height(callers);
    let detail = DETAIL.min(rows / 3 + 1);
    let room = rows - detail;
    let least = (room / 3).max(callers::HEAD + 1);
    let callers = for_callers.min(least.max(room.saturating_sub(for_queues)));
    let spare = room.saturating_sub(callers.saturating_add(for_queues));
    let more = spare.min(MAX_DETAIL - DETAIL);
    Heights {
        queues: room - callers - more,
        callers,
        detail: detail + more,
    }
}

/// Draws all of it.
pub(super) fn draw(buffer: &mut Buffer, ui: &Ui, setting: &Setting, look: Look) {
    let area = buffer.area;
    let mut pen = Pen::new(buffer, area, look);
    if pen.width() < MIN_WIDTH || pen.height() < MIN_HEIGHT {
        draw_too_small(&mut pen);
        return;
    }
    let rows = ui.rows();
    let at = ui.selected_at(&rows);
    let selected = rows.get(at).copied();
    let blocked = ui.blocked(selected.map(|queue| &queue.id));
    let heights = heights(area.height, rows.len(), blocked.len());
    draw_head(&mut pen, ui, setting, rows.len());
    let mut y = HEAD;
    let width = area.width;
    queues::draw(
        &mut pen.part(0, y, width, heights.queues),
        ui,
        &rows,
        Some(at),
    );
    y += heights.queues;
    let only = selected.filter(|_| ui.only_selected);
    let only = only.map(|queue| look.name(&queue.id.name));
    callers::draw(
        &mut pen.part(0, y, width, heights.callers),
        &blocked,
        only.as_deref(),
        ui.picture.unix_ns,
    );
    y += heights.callers;
    if let Some(queue) = selected {
        let figures = &ui.picture.figures;
        let mut part = pen.part(0, y, width, heights.detail);
        detail::draw(&mut part, queue, figures, ui.chart);
    }
    draw_foot(&mut pen, ui);
    if ui.help {
        help::draw(&mut pen);
    }
}

/// How many queues there is room for: a page.
pub(super) fn page(rows: u16, ui: &Ui) -> usize {
    let queues = ui.rows();
    let at = ui.selected_at(&queues);
    let blocked = ui.blocked(queues.get(at).map(|queue| &queue.id));
    let heights = heights(rows, queues.len(), blocked.len());
    usize::from(heights.queues.saturating_sub(1)).max(1)
}

/// The tables without what is for keys, as large as they need to be.
pub(super) fn draw_plain(ui: &Ui, setting: &Setting, look: Look) -> Buffer {
    let rows = ui.rows();
    let blocked = ui.blocked(None);
    let queues_high = u16::try_from(rows.len().max(1)).unwrap_or(u16::MAX - 9) + 1;
    let callers_high = callers::height(blocked.len());
    let mut probe = Buffer::empty(Rect::new(0, 0, 1, 1));
    let area = probe.area;
    let wide = queues::natural_width(&Pen::new(&mut probe, area, look), ui, &rows)
        .max(callers::natural_width(&blocked))
        .max(MIN_WIDTH);
    let high = HEAD
        .saturating_add(queues_high)
        .saturating_add(callers_high);
    let mut buffer = Buffer::empty(Rect::new(0, 0, wide, high));
    let area = buffer.area;
    let mut pen = Pen::new(&mut buffer, area, look);
    draw_head(&mut pen, ui, setting, rows.len());
    queues::draw(&mut pen.part(0, HEAD, wide, queues_high), ui, &rows, None);
    callers::draw(
        &mut pen.part(0, HEAD + queues_high, wide, callers_high),
        &blocked,
        None,
        ui.picture.unix_ns,
    );
    buffer
}

fn draw_too_small(pen: &mut Pen<'_>) {
    let style = pen.look.plain();
    let size = format!("This one is {}x{}.", pen.width(), pen.height());
    let needed = format!("mqspan top needs {MIN_WIDTH}x{MIN_HEIGHT} cells.");
    for (y, line) in (0..).zip([needed.as_str(), &size, "Make it larger, or end", "with q."]) {
        pen.text(0, y, u16::MAX, line, style);
    }
}

/// Where, how, when, how much; and whether anything is missing.
fn draw_head(pen: &mut Pen<'_>, ui: &Ui, setting: &Setting, shown: usize) {
    let look = pen.look;
    let Picture {
        figures,
        lost,
        unix_ns,
        ..
    } = &ui.picture;
    let mut x = pen.text(0, 0, u16::MAX, "mqspan top", look.strong());
    let rate = number(figures.per_second(figures.calls));
    let rest = format!(
        "  {}  by {}  {rate} calls/s  {} UTC",
        look.name(&setting.host),
        setting.backend,
        clock(*unix_ns)
    );
    x = pen.text(x, 0, u16::MAX, &rest, look.plain());
    if ui.paused {
        pen.text(x + 2, 0, u16::MAX, "PAUSED, p goes on", look.selected());
    }
    let count = queue_count(shown, figures.queues.len()) + &order(ui);
    x = pen.text(0, 1, u16::MAX, &count, look.plain()) + 2;
    if lost.total() == 0 {
        pen.text(x, 1, u16::MAX, "no call lost", look.plain());
    } else {
        let text = format!(
            "{} CALLS LOST, so numbers are too low: {}",
            lost.total(),
            lost.reasons()
        );
        pen.text(x, 1, u16::MAX, &text, look.bad());
    }
}

fn queue_count(shown: usize, all: usize) -> String {
    match (shown, all) {
        (1, 1) => "1 queue".to_owned(),
        (shown, all) if shown == all => format!("{all} queues"),
        (shown, all) => format!("{shown} of {all} queues"),
    }
}

/// What they are sorted by, in words.
fn order(ui: &Ui) -> String {
    let key = ui.sort.to_possible_value();
    let key = key.as_ref().map_or("", |key| key.get_name());
    let reversed = if ui.reversed { ", reversed" } else { "" };
    format!(" by {key}{reversed}")
}

fn draw_foot(pen: &mut Pen<'_>, ui: &Ui) {
    let look = pen.look;
    let y = pen.height() - 1;
    if ui.editing {
        let x = pen.text(0, y, u16::MAX, "names with: ", look.strong());
        let x = pen.text(x, y, u16::MAX, &look.name(&ui.filter), look.plain());
        let x = pen.text(x, y, 1, "_", look.plain());
        let text = "Enter keeps it, Esc shows all";
        pen.text(x + 2, y, u16::MAX, text, look.plain());
        return;
    }
    let keys = "q end  h help  arrows select  s sort  r reverse  / filter  p pause  w chart";
    if ui.filter.is_empty() {
        pen.text(0, y, u16::MAX, keys, look.plain());
    } else {
        let text = format!("names with: {}  Esc shows all  ", look.name(&ui.filter));
        let x = pen.text(0, y, u16::MAX, &text, look.strong());
        pen.text(x, y, u16::MAX, keys, look.plain());
    }
}

#[cfg(test)]
#[path = "../view_tests.rs"]
mod tests;
