//! The table of queues, and which columns it has room for.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, HighlightSpacing, Row, StatefulWidget, Table, TableState};

use crate::cli::SortKey;
use crate::commands::durations::Durations;
use crate::commands::top::format::{duration, number, whole};
use crate::commands::top::stats::{QueueStats, Stats};
use crate::commands::top::theme::{self, Theme};
use crate::commands::top::ui::Ui;

/// The columns: the title, the minimum width, and the key that sorts by it.
const COLUMNS: [(&str, u16, Option<SortKey>); 12] = [
    ("QUEUE", 14, Some(SortKey::Name)),
    ("NAMESPACE", 10, None),
    ("", 5, None),
    ("DEPTH", 9, Some(SortKey::Depth)),
    ("BLKD", 5, Some(SortKey::Blocked)),
    ("SEND/S", 6, Some(SortKey::Traffic)),
    ("RECV/S", 6, Some(SortKey::Traffic)),
    ("WAITp50", 7, None),
    ("WAITp99", 7, Some(SortKey::Wait)),
    ("INQp99", 6, Some(SortKey::Queued)),
    ("ERR/S", 5, Some(SortKey::Errors)),
    ("TMO/S", 5, Some(SortKey::Errors)),
];
const NAME: usize = 0;
const NAMESPACE: usize = 1;
const BAR: usize = 2;
const BLOCKED: usize = 4;
const WAIT_P50: usize = 7;
const MAX_BAR: u16 = 20;

/// Draws the titles and the rows that fit, including the selected one. Without
/// a selection the rows start at the first.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    ui: &Ui,
    rows: &[&QueueStats],
    selected: Option<usize>,
    theme: Theme,
) {
    let stats = &ui.snapshot.stats;
    let widths = widths(area.width, ui, rows, theme);
    let titles = COLUMNS.iter().zip(0..).map(|((title, _, sort), column)| {
        // Names sort from a to z, numbers from the heaviest down.
        let is_up = ui.reversed != (column == NAME);
        let is_sorted = *sort == Some(ui.sort);
        match if is_sorted { theme.order(is_up) } else { "" } {
            order if column == NAME => Line::from(format!("{title}{order}")),
            order => Line::from(format!("{order}{title}")).right_aligned(),
        }
    });
    let row = |queue: &&QueueStats| {
        let cells = cells(queue, stats, widths[BAR], theme).into_iter();
        let lines = cells
            .zip(widths)
            .map(|(cell, width)| theme.fit(cell, width));
        Row::new(lines.zip(0..).map(|(line, column)| match column {
            NAME => line,
            _ => line.right_aligned(),
        }))
    };
    let nothing = if stats.queues.is_empty() {
        "No call on a queue yet."
    } else {
        "No queue's name matches the filter; Esc clears it."
    };
    let nothing = Row::new([Cell::new(nothing).column_span(COLUMNS.len() as u16)]);
    let room = usize::from(area.height.saturating_sub(1));
    let first = selected.map_or(0, |at| first_row(at, room, rows.len()));
    let shown = rows.iter().skip(first).take(room).map(row);
    let shown = shown.chain(rows.is_empty().then_some(nothing));
    // Each column includes the blank before it. The sort mark goes there if the
    // title fills the column.
    let room_of = |(width, column)| match (width, column) {
        (width, NAME) | (width @ 0, _) => width,
        (width, _) => width + 1,
    };
    let table = Table::new(shown, widths.into_iter().zip(0..).map(room_of))
        .column_spacing(0)
        .header(Row::new(titles).style(theme.title()))
        .highlight_symbol(">")
        .highlight_spacing(HighlightSpacing::Always)
        .row_highlight_style(Style::new().reversed());
    let mut state = TableState::new().with_selected(selected.map(|at| at - first));
    table.render(area, buffer, &mut state);
}

/// The width at which nothing is cut.
pub(super) fn natural_width(ui: &Ui, rows: &[&QueueStats], theme: Theme) -> u16 {
    taken(widths(u16::MAX, ui, rows, theme))
}

/// Keeps the selected row in the middle of a table that is longer than the room.
fn first_row(selected: usize, room: usize, rows: usize) -> usize {
    selected
        .saturating_sub(room / 2)
        .min(rows.saturating_sub(room))
}

fn widths(room: u16, ui: &Ui, rows: &[&QueueStats], theme: Theme) -> [u16; 12] {
    let names = rows.iter().map(|queue| theme::width(&name(queue, theme)));
    let longest_name = names.max().unwrap_or(0);
    fitting(room, longest_name, ui.snapshot.has_namespaces())
}

/// Widths of the columns beside the selection mark, with a blank between them;
/// 0 for columns that do not fit. Spare room goes to the names first, then to
/// the bar.
fn fitting(room: u16, longest_name: u16, has_namespaces: bool) -> [u16; 12] {
    let mut widths = COLUMNS.map(|(_, width, _)| width);
    if !has_namespaces {
        widths[NAMESPACE] = 0;
    }
    for column in [BLOCKED, BAR, WAIT_P50] {
        if taken(widths) > room
            && let Some(width) = widths.get_mut(column)
        {
            *width = 0;
        }
    }
    let spare = room.saturating_sub(taken(widths));
    let more = longest_name.saturating_sub(widths[NAME]).min(spare);
    widths[NAME] += more;
    if widths[BAR] != 0 {
        widths[BAR] = MAX_BAR.min(widths[BAR] + spare - more);
    }
    widths
}

/// Width of the selection mark and all columns, with a blank between them.
fn taken(widths: [u16; 12]) -> u16 {
    let shown = widths.iter().filter(|width| **width != 0);
    shown.map(|width| width + 1).sum()
}

/// The cells of a queue, in the order of [`COLUMNS`].
fn cells(queue: &QueueStats, stats: &Stats, bar: u16, theme: Theme) -> [Span<'static>; 12] {
    let counts = &queue.counts;
    let rate = |count| Span::raw(number(stats.per_second(count)));
    let percentile = |durations: &Durations, percent| {
        let ns = durations.percentile(percent);
        ns.map_or("-".into(), |ns| duration(ns, theme.micro()).into())
    };
    let share = queue.fill().unwrap_or(0.0);
    let is_bad = counts.errors != 0;
    [
        name(queue, theme).into(),
        queue.id.ipc_namespace.to_string().into(),
        Span::styled(theme.bar(share, bar), theme.fill(share)),
        depth(queue).into(),
        whole(queue.blocked).into(),
        rate(counts.sent),
        rate(counts.received),
        percentile(&counts.receive, 50),
        percentile(&counts.receive, 99),
        percentile(&counts.in_queue, 99),
        rate(counts.errors).style(if is_bad { theme.bad() } else { Style::new() }),
        rate(counts.timeouts),
    ]
}

fn name(queue: &QueueStats, theme: Theme) -> String {
    let unlinked = if queue.unlinked { " (unlinked)" } else { "" };
    theme.name(&queue.id.name) + unlinked
}

/// `3/10`, with `-` for an unknown number.
fn depth(queue: &QueueStats) -> String {
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
    fn columns_fit_and_names_grow() {
        for (room, longest, namespaces, name, bar, blocked) in [
            (80, 9, false, 14, 5, 0),
            (80, 40, true, 17, 0, 0),
            (120, 9, false, 14, 20, 5),
            (120, 60, false, 48, 5, 5),
            (200, 60, true, 60, 20, 5),
        ] {
            let widths = fitting(room, longest, namespaces);
            assert!(taken(widths) <= room, "{room} {longest}: {widths:?}");
            assert_eq!(widths[NAME], name, "{widths:?}");
            assert_eq!(widths[BAR], bar, "{widths:?}");
            assert_eq!(widths[BLOCKED], blocked);
            assert_eq!(widths[NAMESPACE] != 0, namespaces);
        }
    }

    #[test]
    fn titles_fit() {
        for (title, width, _) in COLUMNS {
            assert!(title.len() <= width.into(), "{title}");
        }
    }

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
