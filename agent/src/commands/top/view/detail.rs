//! The selected queue: who uses it, and how long its calls take.

use super::pen::Pen;
use crate::commands::durations::{Durations, OCTAVES};
use crate::commands::top::figures::{Figures, PeerFigures, QueueFigures};
use crate::commands::top::format::{duration, number, whole};
use crate::commands::top::ui::Chart;

/// Columns of one kind of processes: the name with the id, and the rate.
const PEER: u16 = 22;
const RATE: u16 = 6;
const GAP: u16 = 2;
/// From this width on names get more room and bars are wider.
const WIDE: u16 = 116;

/// Draws a title, producers and consumers at the left, the chart at the right.
pub(super) fn draw(pen: &mut Pen<'_>, queue: &QueueFigures, figures: &Figures, chart: Chart) {
    let style = pen.look.strong();
    let title = title(pen, queue);
    pen.text(0, 0, u16::MAX, &title, style);
    let width = if pen.width() >= WIDE { PEER + 4 } else { PEER };
    let height = pen.height().saturating_sub(1);
    let producers = peers(&queue.peers, |peer| (peer.sends, peer.sent));
    let consumers = peers(&queue.peers, |peer| (peer.receives, peer.received));
    let mut left = pen.part(0, 1, width, height);
    draw_peers(&mut left, "PRODUCERS", "SEND/S", &producers, figures);
    let mut middle = pen.part(width + GAP, 1, width, height);
    draw_peers(&mut middle, "CONSUMERS", "RECV/S", &consumers, figures);
    let x = 2 * (width + GAP);
    let room = pen.width().saturating_sub(x);
    draw_chart(&mut pen.part(x, 1, room, height), queue, chart);
}

fn title(pen: &Pen<'_>, queue: &QueueFigures) -> String {
    let mut title = pen.look.name(&queue.id.name);
    if queue.unlinked {
        title += " (unlinked)";
    }
    if let Some(limits) = queue.limits {
        title += &format!(
            ": takes {} messages of {} bytes",
            limits.messages, limits.message_size_bytes
        );
    }
    if let Some(last) = &queue.last_error {
        let comm = pen.look.name(&last.comm);
        title += &format!("; last error {} of {comm}/{}", last.error, last.tid);
    }
    if queue.is_crowded {
        title += "; more processes than are listed";
    }
    title
}

/// Those who do this, the busiest first, with what they did.
fn peers(
    peers: &[PeerFigures],
    role: impl Fn(&PeerFigures) -> (bool, u64),
) -> Vec<(&PeerFigures, u64)> {
    let mut all: Vec<_> = peers
        .iter()
        .map(|peer| (peer, role(peer)))
        .filter(|(_, (is_one, _))| *is_one)
        .map(|(peer, (_, count))| (peer, count))
        .collect();
    all.sort_by_key(|(peer, count)| (std::cmp::Reverse(*count), peer.pid));
    all
}

fn draw_peers(
    pen: &mut Pen<'_>,
    title: &str,
    unit: &str,
    peers: &[(&PeerFigures, u64)],
    figures: &Figures,
) {
    let look = pen.look;
    let name_room = pen.width().saturating_sub(RATE + 1);
    pen.text(0, 0, name_room, title, look.title());
    pen.right(name_room + 1, 0, RATE, unit, look.title());
    let room = usize::from(pen.height().saturating_sub(1));
    // The last row says how many there is no room for.
    let shown = if peers.len() > room {
        room.saturating_sub(1)
    } else {
        room
    };
    let mut y = 1;
    for (peer, count) in peers.iter().take(shown) {
        let rate = number(figures.per_second(*count));
        let id = format!("/{}", peer.pid);
        let name = look.name(&peer.program);
        let name_width = name_room.saturating_sub(super::pen::width(&id));
        let end = pen.text(0, y, name_width, &name, look.plain());
        pen.text(end, y, name_room, &id, look.plain());
        pen.right(name_room + 1, y, RATE, &rate, look.plain());
        y += 1;
    }
    if peers.len() > shown {
        let more = format!("and {} more", peers.len() - shown);
        pen.text(0, y, name_room, &more, look.plain());
    } else if peers.is_empty() {
        pen.text(0, y, name_room, "none seen", look.plain());
    }
}

fn draw_chart(pen: &mut Pen<'_>, queue: &QueueFigures, chart: Chart) {
    let look = pen.look;
    let durations = chart.of(queue);
    let what = match chart {
        Chart::Receive => "RECEIVES WAITED",
        Chart::Send => "SENDS TOOK",
        Chart::InQueue => "TIME IN QUEUE",
    };
    let end = pen.text(0, 0, u16::MAX, what, look.title());
    let Some(max_ns) = durations.max_ns() else {
        pen.text(end + 1, 0, u16::MAX, "none", look.plain());
        return;
    };
    let max = format!(
        "n={} max {}",
        whole(u32::try_from(durations.count()).unwrap_or(u32::MAX)),
        duration(max_ns, look.micro())
    );
    pen.text(end + 1, 0, u16::MAX, &max, look.plain());
    draw_bars(pen, durations);
}

/// A bar for each power of two nanoseconds, from a microsecond on, and what
/// they stand for below.
fn draw_bars(pen: &mut Pen<'_>, durations: &Durations) {
    let look = pen.look;
    let octaves = durations.octaves();
    let most = octaves.iter().max().copied().unwrap_or(0).max(1);
    let rows = pen.height().saturating_sub(2);
    let across = (pen.width() / OCTAVES as u16).clamp(1, 2);
    for (at, count) in (0..).zip(octaves) {
        let full = usize::from(rows) * 8;
        let scaled = (count as f64 / most as f64 * full as f64).round() as usize;
        let eighths = if count == 0 { 0 } else { scaled.max(1) };
        for height in 0..rows {
            let cell = look.column(eighths, height.into());
            let bar = cell.to_string().repeat(across.into());
            pen.text(at * across, rows - height, across, &bar, look.bars());
        }
    }
    let micro = format!("1{}s", look.micro());
    for (octave, label) in [(0, micro.as_str()), (10, "1ms"), (20, "1s")] {
        let x = octave * across;
        pen.text(x, rows + 1, 9 * across, &format!("|{label}"), look.plain());
    }
}
