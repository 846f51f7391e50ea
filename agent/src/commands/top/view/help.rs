//! The help that covers the tables.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::Stylize;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Clear, Widget};

const TITLE: &str = "HELP - any key closes it";

/// Width of the left column.
const KEYS: usize = 16;
const TEXT: &str = "\
q, Ctrl-C       end
up, down, k, j  select a queue; also PgUp, PgDn, Home, End
s, S            sort by the next or the previous of: traffic, name, depth,
                blocked, wait (p99), queued (p99), errors
r               reverse the order
/               show only names that contain a text or match a glob
Esc             show all names again
b               blocked callers: of the selected queue, or of all
w               chart: waits of receives, durations of sends, time in queue
p, space        pause: the screen stays, counting goes on
Ctrl-Z, Ctrl-L  suspend; draw anew

DEPTH           messages in the queue / its limit, at the last call
WAITp50, p99    how long receives waited that got a message
INQp99          how long messages were in the queue; - on tracepoint
ERR/S, TMO/S    calls that failed; that timed out
FOR >5s         blocked already when this began, 5 s ago
                Rates and quantiles are those of the last 10 seconds,
                quantiles right to an eighth. Times are UTC.";

pub(super) fn draw(buffer: &mut Buffer) {
    let text = Text::from_iter(TEXT.lines().map(|line| {
        let (key, text) = line.split_at_checked(KEYS).unwrap_or((line, ""));
        Line::from(vec![" ".into(), key.bold(), text.into()])
    }));
    let (width, height) = (text.width() as u16 + 1, text.height() as u16 + 1);
    let area = buffer.area;
    let area = area.centered(Constraint::Length(width), Constraint::Length(height));
    Clear.render(area, buffer);
    let [title, below] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let line = format!(" {TITLE:width$}", width = usize::from(title.width));
    line.reversed().render(title, buffer);
    text.render(below, buffer);
}
