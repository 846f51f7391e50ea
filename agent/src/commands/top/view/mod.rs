//! Draws the screen. Pure: the same input makes the same cells.

mod callers;
mod detail;
mod help;
mod queues;

use clap::ValueEnum;
use ratatui::buffer::Buffer;
use ratatui::layout::{Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::Widget;

use super::blocked::Blocked;
use super::format::{clock, number};
use super::stats::QueueStats;
use super::theme::Theme;
use super::ui::Ui;

/// The smallest screen with room for all parts. It fits into 80x24 less a
/// status line of tmux or screen.
const MIN_WIDTH: u16 = 80;
const MIN_HEIGHT: u16 = 20;

const HEAD: u16 = 2;
const FOOT: u16 = 1;
/// Rows of the selected queue, including its title.
const DETAIL: u16 = 7;
const MAX_DETAIL: u16 = 14;

const KEYS: &str = "q end  h help  arrows select  s sort  r reverse  / filter  p pause  w chart";

/// Divides the rows among queues, callers and detail. Every part gets some;
/// spare rows go to the chart first, then to the queues.
fn heights(rows: u16, queues: usize, callers: usize) -> [u16; 3] {
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
    [room - callers - more, callers, detail + more]
}

/// What does not change between two drawings.
pub(super) struct View {
    pub(super) host: String,
    pub(super) backend: &'static str,
    pub(super) theme: Theme,
}

impl View {
    /// Draws the screen. Returns how many queues fit, for PgUp and PgDn.
    pub(super) fn draw(&self, buffer: &mut Buffer, ui: &Ui) -> usize {
        let area = buffer.area;
        let (width, height) = (area.width, area.height);
        if width < MIN_WIDTH || height < MIN_HEIGHT {
            let text = format!(
                "mqspan top needs {MIN_WIDTH}x{MIN_HEIGHT} cells.\nThis one is {width}x{height}.\n\
                 Make it larger, or end\nwith q."
            );
            Text::from(text).render(area, buffer);
            return 1;
        }
        let rows = ui.rows();
        let at = ui.selected_at(&rows);
        let selected = rows.get(at).copied();
        let blocked = ui.blocked(selected.map(|queue| &queue.id));
        let [queues, callers, detail] = heights(height, rows.len(), blocked.len());
        let heights = [HEAD, queues, callers, detail, FOOT];
        let [head, queues, callers, detail, foot] = Layout::vertical(heights).areas(area);
        let areas = [head, queues, callers];
        self.tables(buffer, areas, ui, &rows, &blocked, selected.map(|_| at));
        if let Some(queue) = selected {
            detail::draw(buffer, detail, queue, ui, self.theme);
        }
        self.theme.fit(self.foot(ui), width).render(foot, buffer);
        if ui.help {
            help::draw(buffer);
        }
        usize::from(queues.height.saturating_sub(1)).max(1)
    }

    /// The tables alone, in as many cells as they need.
    pub(super) fn plain(&self, ui: &Ui) -> Buffer {
        let rows = ui.rows();
        let blocked = ui.blocked(None);
        let width = queues::natural_width(ui, &rows, self.theme)
            .max(callers::natural_width(&blocked))
            .max(MIN_WIDTH);
        let queues = u16::try_from(rows.len().max(1)).unwrap_or(u16::MAX - 9) + 1;
        let callers = callers::height(blocked.len());
        let height = HEAD.saturating_add(queues).saturating_add(callers);
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let areas = Layout::vertical([HEAD, queues, callers]).areas(buffer.area);
        self.tables(&mut buffer, areas, ui, &rows, &blocked, None);
        buffer
    }

    fn tables(
        &self,
        buffer: &mut Buffer,
        [head, queues, callers]: [Rect; 3],
        ui: &Ui,
        rows: &[&QueueStats],
        blocked: &[&Blocked],
        selected: Option<usize>,
    ) {
        let lines = [self.status(ui), order(ui, rows.len(), self.theme)];
        Text::from_iter(lines.map(|line| self.theme.fit(line, head.width))).render(head, buffer);
        queues::draw(buffer, queues, ui, rows, selected, self.theme);
        let only = selected.filter(|_| ui.only_selected);
        let only = only.and_then(|at| Some(&*rows.get(at)?.id.name));
        let (size, now_unix_ns) = (callers.as_size(), ui.snapshot.unix_ns);
        let table = callers::table(size, blocked, only, now_unix_ns, self.theme);
        table.render(callers, buffer);
    }

    /// Host, backend, rate and time.
    fn status(&self, ui: &Ui) -> Line<'_> {
        let stats = &ui.snapshot.stats;
        let rest = format!(
            "  {}  by {}  {} calls/s  {} UTC",
            self.theme.name(&self.host),
            self.backend,
            number(stats.per_second(stats.calls)),
            clock(ui.snapshot.unix_ns)
        );
        let mut line = Line::from(vec!["mqspan top".bold(), rest.into()]);
        if ui.paused {
            line.extend(["  ".into(), "PAUSED, p goes on".reversed()]);
        }
        line
    }

    fn foot(&self, ui: &Ui) -> Line<'_> {
        let filter = self.theme.name(&ui.filter);
        if ui.editing {
            let end = "_  Enter keeps it, Esc shows all";
            Line::from(vec!["names with: ".bold(), filter.into(), end.into()])
        } else if filter.is_empty() {
            Line::from(KEYS)
        } else {
            let text = format!("names with: {filter}  Esc shows all  ");
            Line::from(vec![text.bold(), KEYS.into()])
        }
    }
}

/// Number and order of the queues, and how many calls were lost.
fn order(ui: &Ui, shown: usize, theme: Theme) -> Line<'static> {
    let queues = match (shown, ui.snapshot.stats.queues.len()) {
        (1, 1) => "1 queue".to_owned(),
        (shown, all) if shown == all => format!("{all} queues"),
        (shown, all) => format!("{shown} of {all} queues"),
    };
    let key = ui.sort.to_possible_value();
    let key = key.as_ref().map_or("", |key| key.get_name());
    let reversed = if ui.reversed { ", reversed" } else { "" };
    let (calls, reasons) = (ui.snapshot.lost.total(), ui.snapshot.lost.reasons());
    let lost = format!("{calls} CALLS LOST, so numbers are too low: {reasons}");
    let lost = match calls {
        0 => "no call lost".into(),
        _ => Span::styled(lost, theme.bad()),
    };
    Line::from(vec![format!("{queues} by {key}{reversed}  ").into(), lost])
}

#[cfg(test)]
mod tests;
