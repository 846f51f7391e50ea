//! The help that lies over the tables.

use super::pen::{Pen, width};

const LINES: [(&str, &str); 19] = [
    ("q, Ctrl-C", "end"),
    (
        "up, down, k, j",
        "select a queue; also PgUp, PgDn, Home, End",
    ),
    (
        "s, S",
        "sort by the next or the previous of: traffic, name, depth,",
    ),
    ("", "blocked, wait (p99), queued (p99), errors"),
    ("r", "reverse the order"),
    ("/", "show only names that contain a text or match a glob"),
    ("Esc", "show all names again"),
    ("b", "blocked callers: of the selected queue, or of all"),
    (
        "w",
        "chart: waits of receives, durations of sends, time in queue",
    ),
    ("p, space", "pause: the screen stays, counting goes on"),
    ("Ctrl-Z, Ctrl-L", "suspend; draw anew"),
    ("", ""),
    (
        "DEPTH",
        "messages in the queue / its limit, at the last call",
    ),
    (
        "WAITp50, p99",
        "how long receives waited that got a message",
    ),
    (
        "INQp99",
        "how long messages were in the queue; - on tracepoint",
    ),
    ("ERR/S, TMO/S", "calls that failed; that timed out"),
    ("FOR >5s", "blocked already when this began, 5 s ago"),
    ("", "Rates and quantiles are those of the last 10 seconds,"),
    ("", "quantiles right to an eighth. Times are UTC."),
];

/// Width of the keys.
const KEYS: u16 = 16;

/// Draws the help in the middle.
pub(super) fn draw(pen: &mut Pen<'_>) {
    let text = LINES.iter().map(|(_, text)| width(text)).max();
    let wide = (KEYS + text.unwrap_or(0) + 2).min(pen.width());
    let high = LINES.len() as u16 + 1;
    let x = (pen.width() - wide) / 2;
    let y = pen.height().saturating_sub(high) / 2;
    let mut pen = pen.part(x, y, wide, high);
    pen.clear();
    let (title, strong, plain) = (pen.look.selected(), pen.look.strong(), pen.look.plain());
    pen.text(1, 0, u16::MAX, "HELP - any key closes it", title);
    pen.restyle(0, title);
    for (y, (key, text)) in (1..).zip(LINES) {
        pen.text(1, y, KEYS - 1, key, strong);
        pen.text(1 + KEYS, y, u16::MAX, text, plain);
    }
}
