//! The table of blocked callers.

use ratatui::layout::Size;
use ratatui::style::Stylize;
use ratatui::widgets::{Block, Row, Table};

use crate::commands::top::blocked::Blocked;
use crate::commands::top::format::{deadline, duration};
use crate::commands::top::theme::{Theme, width};

/// Rows of the title and of the column heads.
pub(super) const HEAD: u16 = 2;
/// Minimum width that has room for the time left.
const WIDE: u16 = 100;
const TITLES: [&str; 7] = ["PROCESS", "PID/TID", "ABI", "CALL", "QUEUE", "FOR", "UNTIL"];
const MIN_QUEUE: u16 = 9;
const UNTIL: u16 = 8;
const WIDE_UNTIL: u16 = 18;

/// Widths of the columns. Two depend on the screen.
fn widths(queue: u16, until: u16) -> [u16; 7] {
    [15, 15, 7, 14, queue, 6, until]
}

/// Width of all columns, with a blank between them.
fn taken(queue: u16, until: u16) -> u16 {
    let widths = widths(queue, until);
    widths.iter().sum::<u16>() + widths.len() as u16 - 1
}

/// Rows of a table of `callers` callers. Without callers it has only a title.
pub(super) fn height(callers: usize) -> u16 {
    match u16::try_from(callers) {
        Ok(0) => 1,
        Ok(callers) => callers.saturating_add(HEAD),
        Err(_) => u16::MAX,
    }
}

/// The width at which no name is cut.
pub(super) fn natural_width(blocked: &[&Blocked]) -> u16 {
    let names = blocked.iter().filter_map(|one| one.queue.as_deref());
    let longest = names.map(width).max().unwrap_or(0);
    taken(longest.max(MIN_QUEUE), WIDE_UNTIL)
}

/// The callers that fit; the title counts all of them. `only` is the queue's
/// name if only its callers are listed.
pub(super) fn table(
    size: Size,
    blocked: &[&Blocked],
    only: Option<&str>,
    now_unix_ns: u64,
    theme: Theme,
) -> Table<'static> {
    let is_wide = size.width >= WIDE;
    let until = if is_wide { WIDE_UNTIL } else { UNTIL };
    let queue = size.width.saturating_sub(taken(0, until)).max(MIN_QUEUE);
    let widths = widths(queue, until);
    let room = usize::from(size.height.saturating_sub(HEAD));
    let rows = blocked.iter().take(room).map(|one| {
        let cells = cells(one, now_unix_ns, is_wide, theme)
            .into_iter()
            .zip(widths);
        Row::new(cells.map(|(cell, width)| theme.fit(cell, width)))
    });
    let only = only.map(|name| format!(" on {}", theme.name(name)));
    let title = title(blocked, room, &only.unwrap_or_default()).bold();
    let block = Block::new().title(theme.fit(title, size.width));
    let table = Table::new(rows, widths).block(block);
    if blocked.is_empty() {
        return table;
    }
    table.header(Row::new(TITLES).style(theme.title()))
}

fn title(blocked: &[&Blocked], room: usize, only: &str) -> String {
    if blocked.is_empty() {
        return format!("BLOCKED NOW{only}: nobody");
    }
    let is_send = |one: &&&Blocked| one.operation.is_send();
    let senders = blocked.iter().filter(is_send).count();
    let receivers = blocked.len() - senders;
    let plural = |count| if count == 1 { "" } else { "s" };
    let (r, s) = (plural(receivers), plural(senders));
    let title = format!("BLOCKED NOW{only}: {receivers} receiver{r}, {senders} sender{s}");
    if blocked.len() > room {
        return format!("{title}; the {room} that have waited longest");
    }
    title
}

fn cells(blocked: &Blocked, now_unix_ns: u64, is_wide: bool, theme: Theme) -> [String; 7] {
    let id = match (blocked.pid, blocked.tid) {
        (pid, tid) if pid == tid => pid.to_string(),
        (pid, tid) => format!("{pid}/{tid}"),
    };
    // Strip the prefix that all of them have.
    let operation = blocked.operation.name();
    let operation = operation.strip_prefix("mq_timed").unwrap_or(operation);
    let longer = if blocked.since_before { ">" } else { "" };
    let waited = duration(blocked.waited_ns, theme.micro());
    [
        theme.name(&blocked.comm),
        id,
        blocked.abi.name().to_owned(),
        operation.to_owned(),
        theme.name(blocked.queue.as_deref().unwrap_or("?")),
        format!("{longer}{waited}"),
        deadline(blocked.deadline, now_unix_ns, is_wide),
    ]
}
