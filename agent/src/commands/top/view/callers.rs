//! The table of blocked callers.

use super::pen::Pen;
use crate::commands::top::blocked::Blocked;
use crate::commands::top::format::{deadline, duration};

/// Title and heads of the columns.
pub(super) const HEAD: u16 = 2;
/// Rows that so many callers take; nobody is a title alone.
pub(super) fn height(callers: usize) -> u16 {
    match u16::try_from(callers) {
        Ok(0) => 1,
        Ok(callers) => callers.saturating_add(HEAD),
        Err(_) => u16::MAX,
    }
}

/// From this width on there is room for the time that is left.
const WIDE: u16 = 100;

const PROCESS: u16 = 15;
const ID: u16 = 15;
const ABI: u16 = 7;
const OPERATION: u16 = 14;
const MIN_QUEUE: u16 = 9;
const FOR: u16 = 6;
const UNTIL: u16 = 8;
const WIDE_UNTIL: u16 = 18;

/// Where the columns begin and how wide they are.
struct Layout {
    queue: u16,
    until: u16,
    is_wide: bool,
}

/// Draws those for whom there is room; the title counts all.
pub(super) fn draw(pen: &mut Pen<'_>, blocked: &[&Blocked], of: Option<&str>, now_unix_ns: u64) {
    let is_wide = pen.width() >= WIDE;
    let until = if is_wide { WIDE_UNTIL } else { UNTIL };
    let fixed = PROCESS + ID + ABI + OPERATION + FOR + until + 6;
    let layout = Layout {
        queue: pen.width().saturating_sub(fixed).max(MIN_QUEUE),
        until,
        is_wide,
    };
    let room = usize::from(pen.height().saturating_sub(HEAD));
    let title = title(blocked, room, of);
    let style = pen.look.strong();
    pen.text(0, 0, u16::MAX, &title, style);
    if blocked.is_empty() {
        return;
    }
    let heads = ["PROCESS", "PID/TID", "ABI", "CALL", "QUEUE", "FOR", "UNTIL"];
    let style = pen.look.title();
    draw_cells(pen, 1, &heads.map(str::to_owned), &layout, style);
    for (y, blocked) in (HEAD..).zip(blocked.iter().take(room)) {
        let cells = cells(pen, blocked, now_unix_ns, layout.is_wide);
        let style = pen.look.plain();
        draw_cells(pen, y, &cells, &layout, style);
    }
}

/// The whole width that the names of queues would like to have.
pub(super) fn natural_width(blocked: &[&Blocked]) -> u16 {
    let names = blocked.iter().filter_map(|one| one.queue.as_deref());
    let longest = names.map(super::pen::width).max().unwrap_or(0);
    PROCESS + ID + ABI + OPERATION + FOR + WIDE_UNTIL + 6 + longest.max(MIN_QUEUE)
}

fn title(blocked: &[&Blocked], room: usize, of: Option<&str>) -> String {
    let of = of.map(|name| format!(" on {name}")).unwrap_or_default();
    if blocked.is_empty() {
        return format!("BLOCKED NOW{of}: nobody");
    }
    let senders = blocked.iter().filter(|one| one.operation.is_send());
    let senders = senders.count();
    let receivers = blocked.len() - senders;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let mut title = format!(
        "BLOCKED NOW{of}: {receivers} receiver{}, {senders} sender{}",
        plural(receivers),
        plural(senders)
    );
    if blocked.len() > room {
        title += &format!("; the {room} that have waited longest");
    }
    title
}

fn cells(pen: &Pen<'_>, blocked: &Blocked, now_unix_ns: u64, is_wide: bool) -> [String; 7] {
    let look = pen.look;
    let id = if blocked.pid == blocked.tid {
        blocked.pid.to_string()
    } else {
        format!("{}/{}", blocked.pid, blocked.tid)
    };
    // Without the part that all of them have.
    let operation = blocked.operation.name();
    let operation = operation.strip_prefix("mq_timed").unwrap_or(operation);
    let waited = duration(blocked.waited_ns, look.micro());
    [
        look.name(&blocked.comm),
        id,
        blocked.abi.name().to_owned(),
        operation.to_owned(),
        look.name(blocked.queue.as_deref().unwrap_or("?")),
        if blocked.since_before {
            format!(">{waited}")
        } else {
            waited
        },
        deadline(blocked.deadline, now_unix_ns, is_wide),
    ]
}

fn draw_cells(
    pen: &mut Pen<'_>,
    y: u16,
    cells: &[String; 7],
    layout: &Layout,
    style: ratatui::style::Style,
) {
    let widths = [PROCESS, ID, ABI, OPERATION, layout.queue, FOR, layout.until];
    let mut x = 0;
    for (cell, width) in cells.iter().zip(widths) {
        pen.text(x, y, width, cell, style);
        x += width + 1;
    }
}
