//! The selected queue: who uses it, and how long its calls take.

use std::cmp::Reverse;
use std::iter::repeat_n;

use ratatui::buffer::Buffer;
use ratatui::layout::{Layout, Rect, Size};
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Row, Sparkline, Table, Widget};

use crate::commands::durations::OCTAVES;
use crate::commands::top::format::{duration, number, whole};
use crate::commands::top::stats::{PeerStats, QueueStats, Stats};
use crate::commands::top::theme::{Theme, width};
use crate::commands::top::ui::{Chart, Ui};

/// Width of a table of processes, and of the rate in it.
const PEER: u16 = 22;
const RATE: u16 = 6;
const GAP: u16 = 2;
/// Minimum width that gives names more room.
const WIDE: u16 = 116;

/// Draws a title above producers, consumers and the chart.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, queue: &QueueStats, ui: &Ui, theme: Theme) {
    let block = Block::new().title(theme.fit(title(queue, theme).bold(), area.width));
    let inner = block.inner(area);
    block.render(area, buffer);
    let peer = if area.width >= WIDE { PEER + 4 } else { PEER };
    let widths = [peer, peer, area.width.saturating_sub(2 * (peer + GAP))];
    let [left, middle, right] = Layout::horizontal(widths).spacing(GAP).areas(inner);
    let peers = Peers {
        queue,
        stats: &ui.snapshot.stats,
        size: left.as_size(),
        theme,
    };
    let producers = peers.table("PRODUCERS", "SEND/S", |peer| {
        peer.sends.then_some(peer.sent)
    });
    producers.render(left, buffer);
    let consumers = peers.table("CONSUMERS", "RECV/S", |peer| {
        peer.receives.then_some(peer.received)
    });
    consumers.render(middle, buffer);
    draw_chart(buffer, right, ui.chart, queue, theme);
}

fn title(queue: &QueueStats, theme: Theme) -> String {
    let mut title = theme.name(&queue.id.name);
    if queue.unlinked {
        title += " (unlinked)";
    }
    if let Some(limits) = queue.limits {
        let (messages, bytes) = (limits.messages, limits.message_size_bytes);
        title += &format!(": takes {messages} messages of {bytes} bytes");
    }
    if let Some(last) = &queue.last_error {
        let comm = theme.name(&last.comm);
        title += &format!("; last error {} of {comm}/{}", last.error, last.tid);
    }
    if queue.is_crowded {
        title += "; more processes than are listed";
    }
    title
}

struct Peers<'a> {
    queue: &'a QueueStats,
    stats: &'a Stats,
    size: Size,
    theme: Theme,
}

impl Peers<'_> {
    /// The processes with a count, busiest first.
    fn table(
        &self,
        title: &'static str,
        unit: &'static str,
        count: impl Fn(&PeerStats) -> Option<u64>,
    ) -> Table<'static> {
        let peers = self.queue.peers.iter();
        let mut peers: Vec<_> = peers
            .filter_map(|peer| Some((count(peer)?, peer)))
            .collect();
        peers.sort_by_key(|(count, peer)| (Reverse(*count), peer.pid));
        let mut room = usize::from(self.size.height.saturating_sub(1));
        // The last row counts the processes that do not fit.
        if peers.len() > room {
            room = room.saturating_sub(1);
        }
        let rest = match peers.len() {
            0 => Some("none seen".to_owned()),
            all if all > room => Some(format!("and {} more", all - room)),
            _ => None,
        };
        let name_width = self.size.width.saturating_sub(RATE + 1);
        let rows = peers.iter().take(room).map(|(count, peer)| {
            let pid = format!("/{}", peer.pid);
            let program = self.theme.name(&peer.program);
            let program_width = name_width.saturating_sub(width(&pid));
            let name = Line::from(format!("{}{pid}", self.theme.fit(program, program_width)));
            let rate = number(self.stats.per_second(*count));
            Row::new([name, Line::from(rate).right_aligned()])
        });
        let rows = rows.chain(rest.map(|rest| Row::new([rest])));
        let titles = Row::new([Line::from(title), Line::from(unit).right_aligned()]);
        Table::new(rows, [name_width, RATE]).header(titles.style(self.theme.title()))
    }
}

/// Draws one bar per power of two, from 2^10 ns on, above an axis.
fn draw_chart(buffer: &mut Buffer, area: Rect, chart: Chart, queue: &QueueStats, theme: Theme) {
    let durations = chart.of(&queue.counts);
    let height = area.height.saturating_sub(2);
    let [head, bars, axis] = Layout::vertical([1, height, 1]).areas(area);
    let title = Span::styled(chart.title(), theme.title());
    let Some(max_ns) = durations.max_ns() else {
        return Line::from(vec![title, " none".into()]).render(head, buffer);
    };
    let count = whole(u32::try_from(durations.count()).unwrap_or(u32::MAX));
    let sums = format!(" n={count} max {}", duration(max_ns, theme.micro()));
    let line = theme.fit(vec![title, sums.into()], head.width);
    line.render(head, buffer);
    let octaves = durations.octaves();
    let most = octaves.iter().max().copied().unwrap_or(0).max(1);
    let across = usize::from(area.width / OCTAVES as u16).clamp(1, 2);
    let heights = octaves.iter().flat_map(|&count| {
        let eighths = theme.eighths(count as f64 / most as f64, height);
        repeat_n(eighths as u64, across)
    });
    let sparkline = Sparkline::default()
        .data(heights)
        .max(u64::from(height) * 8);
    let sparkline = sparkline.bar_set(theme.bars()).style(theme.chart());
    sparkline.render(bars, buffer);
    let (micro, width) = (format!("|1{}s", theme.micro()), 10 * across);
    Line::from(format!("{micro:width$}{:width$}|1s", "|1ms")).render(axis, buffer);
}
