//! The table of queues.

use super::columns::{self, Column};
use super::pen::{Pen, width};
use crate::commands::durations::Durations;
use crate::commands::top::figures::{Figures, QueueFigures};
use crate::commands::top::format::{duration, number, whole};
use crate::commands::top::ui::Ui;

/// Draws the titles and as many rows as there is room for, so that the
/// selected one is among them. Without a selection all begin at the first.
pub(super) fn draw(pen: &mut Pen<'_>, ui: &Ui, rows: &[&QueueFigures], selected: Option<usize>) {
    let longest = rows.iter().map(|queue| name_width(pen, queue)).max();
    let columns = columns::columns(
        pen.width(),
        longest.unwrap_or(0),
        ui.picture.has_namespaces(),
    );
    draw_titles(pen, ui, &columns);
    let room = usize::from(pen.height().saturating_sub(1));
    let first = selected.map_or(0, |at| first_row(at, room, rows.len()));
    for (y, (at, queue)) in (1..).zip(rows.iter().enumerate().skip(first).take(room)) {
        let is_selected = selected == Some(at);
        draw_row(pen, y, &ui.picture.figures, queue, &columns);
        if is_selected {
            let style = pen.look.selected();
            pen.text(0, y, 1, ">", style);
            pen.restyle(y, style);
        }
    }
    if rows.is_empty() {
        let text = if ui.picture.figures.queues.is_empty() {
            "No call on a queue yet."
        } else {
            "No queue's name matches the filter; Esc clears it."
        };
        let style = pen.look.plain();
        pen.text(columns::MARK, 1, u16::MAX, text, style);
    }
}

/// The whole width that the table would like to have.
pub(super) fn natural_width(pen: &Pen<'_>, ui: &Ui, rows: &[&QueueFigures]) -> u16 {
    let longest = rows.iter().map(|queue| name_width(pen, queue)).max();
    let has_namespaces = ui.picture.has_namespaces();
    columns::taken(&columns::columns(
        u16::MAX,
        longest.unwrap_or(0),
        has_namespaces,
    ))
}

/// The selected row stands in the middle where rows are left out.
fn first_row(selected: usize, room: usize, rows: usize) -> usize {
    selected
        .saturating_sub(room / 2)
        .min(rows.saturating_sub(room))
}

fn name(pen: &Pen<'_>, queue: &QueueFigures) -> String {
    let name = pen.look.name(&queue.id.name);
    if queue.unlinked {
        name + " (unlinked)"
    } else {
        name
    }
}

fn name_width(pen: &Pen<'_>, queue: &QueueFigures) -> u16 {
    width(&name(pen, queue))
}

fn draw_titles(pen: &mut Pen<'_>, ui: &Ui, columns: &[(Column, u16)]) {
    let mut x = columns::MARK;
    for &(column, width) in columns {
        let is_sorted = column.sort_key() == Some(ui.sort);
        let style = pen.look.title();
        if column.is_text() {
            let end = pen.text(x, 0, width, column.title(), style);
            if is_sorted {
                let mark = pen.look.order(!ui.reversed);
                pen.text(end, 0, 1, mark, style);
            }
        } else {
            pen.right(x, 0, width, column.title(), style);
            if is_sorted {
                // In the blank before it, or the one behind.
                let mark = pen.look.order(ui.reversed);
                let room = width.saturating_sub(column.title().len() as u16);
                pen.text((x + room).saturating_sub(1), 0, 1, mark, style);
            }
        }
        x += width + 1;
    }
}

fn draw_row(
    pen: &mut Pen<'_>,
    y: u16,
    figures: &Figures,
    queue: &QueueFigures,
    columns: &[(Column, u16)],
) {
    let look = pen.look;
    let rate = |count: u64| number(figures.per_second(count));
    let p = |durations: &Durations, percent| {
        let ns = durations.percentile(percent);
        ns.map_or("-".to_owned(), |ns| duration(ns, look.micro()))
    };
    let mut x = columns::MARK;
    for &(column, width) in columns {
        let (text, style) = match column {
            Column::Name => (name(pen, queue), look.plain()),
            Column::Namespace => (queue.id.ipc_namespace.to_string(), look.plain()),
            Column::Bar => {
                let share = queue.fill().unwrap_or(0.0);
                (look.bar(share, width), look.fill(share))
            }
            Column::Depth => (depth(queue), look.plain()),
            Column::Blocked => (whole(queue.blocked), look.plain()),
            Column::Sent => (rate(queue.sent), look.plain()),
            Column::Received => (rate(queue.received), look.plain()),
            Column::WaitP50 => (p(&queue.receive, 50), look.plain()),
            Column::WaitP99 => (p(&queue.receive, 99), look.plain()),
            Column::InQueueP99 => (p(&queue.in_queue, 99), look.plain()),
            Column::Errors if queue.errors != 0 => (rate(queue.errors), look.bad()),
            Column::Errors => (rate(queue.errors), look.plain()),
            Column::Timeouts => (rate(queue.timeouts), look.plain()),
        };
        if column.is_text() {
            pen.text(x, y, width, &text, style);
        } else {
            pen.right(x, y, width, &text, style);
        }
        x += width + 1;
    }
}

/// `3/10`, with `-` for what is not known.
fn depth(queue: &QueueFigures) -> String {
    let number = |number: Option<u32>| number.map_or("-".to_owned(), whole);
    let limit = queue.limits.map(|limits| limits.messages);
    match (queue.depth, limit) {
        (None, None) => "-".to_owned(),
        (depth, limit) => format!("{}/{}", number(depth), number(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_row_is_always_among_those_shown() {
        for rows in 0..30_usize {
            for room in 1..12 {
                for selected in 0..rows {
                    let first = first_row(selected, room, rows);
                    assert!((first..first + room).contains(&selected));
                    assert!(first == 0 || first + room <= rows);
                }
            }
        }
    }
}
