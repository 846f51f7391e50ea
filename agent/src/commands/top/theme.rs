//! The look of the screen: with or without colours, in Unicode or in ASCII. The
//! text says everything that the colours say.

use ratatui::buffer::CellWidth;
use ratatui::style::{Color, Style};
use ratatui::symbols::bar;
use ratatui::text::{Line, Span};

use crate::commands::text::Escaped;

/// What the terminal can show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) colour: bool,
    pub(super) unicode: bool,
}

/// Part of a cell, in eighths from the left.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

impl Theme {
    /// From the environment: `NO_COLOR` (no-color.org), and the locale
    /// variables in their order of precedence (locale(7)).
    pub(super) fn from_env(env: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |name: &str| env(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(is_set);
        let locale = locale.unwrap_or_default().to_lowercase();
        Self {
            colour: is_set("NO_COLOR").is_none(),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    fn colour(self, colour: Color) -> Style {
        Style {
            fg: self.colour.then_some(colour),
            ..Style::new()
        }
    }

    pub(super) fn title(self) -> Style {
        self.colour(Color::Cyan).bold()
    }

    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red).bold()
    }

    /// For a bar filled to `share`.
    pub(super) fn fill(self, share: f64) -> Style {
        if share >= 0.9 {
            self.bad()
        } else if share >= 0.7 {
            self.colour(Color::Yellow)
        } else {
            self.colour(Color::Green)
        }
    }

    pub(super) fn chart(self) -> Style {
        self.colour(Color::Blue)
    }

    pub(super) fn micro(self) -> &'static str {
        if self.unicode { "µ" } else { "u" }
    }

    /// Marks the column that the table is sorted by.
    pub(super) fn order(self, is_up: bool) -> &'static str {
        match (self.unicode, is_up) {
            (true, false) => "▾",
            (true, true) => "▴",
            (false, false) => "v",
            (false, true) => "^",
        }
    }

    /// Eighths of a cell in a bar of `cells` cells filled to `share`. A share
    /// above 0 always shows, and ASCII has whole cells only.
    pub(super) fn eighths(self, share: f64, cells: u16) -> usize {
        let eighths = (share.clamp(0.0, 1.0) * f64::from(cells) * 8.0).round() as usize;
        let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
        eighths.next_multiple_of(if self.unicode { 1 } else { 8 })
    }

    /// Symbols for bars that grow upwards.
    pub(super) fn bars(self) -> bar::Set<'static> {
        let full = if self.unicode { "█" } else { "#" };
        bar::Set {
            full,
            ..bar::NINE_LEVELS
        }
    }

    /// A bar that grows to the right.
    pub(super) fn bar(self, share: f64, cells: u16) -> String {
        let (eighths, width) = (self.eighths(share, cells), usize::from(cells));
        let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
        format!("{:width$}", self.bars().full.repeat(eighths / 8) + rest)
    }

    /// Escapes a name, which comes from any program. Drops characters without a
    /// width, because they would combine with the one before.
    pub(super) fn name(self, name: &str) -> String {
        let name = Escaped(name).to_string();
        if self.unicode {
            let name = Span::raw(&name);
            let signs = name.styled_graphemes(Style::new()).map(|sign| sign.symbol);
            return signs.filter(|sign| sign.cell_width() > 0).collect();
        }
        let escape = |c: char| match c {
            '\0'..='\x7f' => String::from(c),
            c => c.escape_unicode().to_string(),
        };
        name.chars().map(escape).collect()
    }

    /// Cuts a line to `room` columns, with an ellipsis.
    pub(super) fn fit<'a>(self, line: impl Into<Line<'a>>, room: u16) -> Line<'a> {
        let line = line.into();
        if line.width() <= room.into() {
            return line;
        }
        let ellipsis = match (room, self.unicode) {
            (0, _) => "",
            (_, true) => "…",
            (_, false) => "~",
        };
        let mut width = ellipsis.cell_width();
        let mut cut = Line::default();
        for sign in line.styled_graphemes(Style::new()) {
            width += sign.symbol.cell_width();
            let symbol = if width > room { ellipsis } else { sign.symbol };
            match cut.spans.last_mut() {
                Some(span) if span.style == sign.style => span.content.to_mut().push_str(symbol),
                _ => cut.push_span(Span::styled(symbol.to_owned(), sign.style)),
            }
            if width > room {
                break;
            }
        }
        cut
    }
}

/// Width in columns of the terminal.
pub(super) fn width(text: &str) -> u16 {
    u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Theme = Theme {
        colour: true,
        unicode: true,
    };
    const ASCII: Theme = Theme {
        unicode: false,
        ..UNICODE
    };

    #[test]
    fn the_environment_decides() {
        for (env, colour, unicode) in [
            (vec![("LANG", "C.UTF-8")], true, true),
            (vec![("LANG", "en_US.utf8"), ("NO_COLOR", "1")], false, true),
            (vec![("LANG", "C.UTF-8"), ("LC_ALL", "C")], true, false),
            (vec![("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8")], true, true),
            (vec![("NO_COLOR", "")], true, false),
        ] {
            let theme = Theme::from_env(|name| {
                let pair = env.iter().find(|(key, _)| *key == name);
                pair.map(|(_, value)| (*value).to_owned())
            });
            assert_eq!((theme.colour, theme.unicode), (colour, unicode), "{env:?}");
        }
    }

    #[test]
    fn bars() {
        for (share, text, plain) in [
            (0.0, "    ", "    "),
            (0.0001, "▏   ", "#   "),
            (0.5, "██  ", "##  "),
            (0.6, "██▍ ", "### "),
            (1.0, "████", "####"),
            (7.0, "████", "####"),
        ] {
            assert_eq!(UNICODE.bar(share, 4), text);
            assert_eq!(ASCII.bar(share, 4), plain);
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(UNICODE.name("/é\x1b[0m"), "/é\\u{1b}[0m");
        assert_eq!(ASCII.name("/é"), "/\\u{e9}");
        assert_eq!(UNICODE.name("/e\u{301}\u{200b}x"), "/e\u{301}x");
    }

    #[test]
    fn text_stays_in_its_room() {
        for (room, text, cut) in [
            (5, "abc", "abc"),
            (3, "abc", "abc"),
            (2, "abc", "a…"),
            (5, "abcdefgh", "abcd…"),
            (0, "abc", ""),
            (3, "漢字", "漢…"),
        ] {
            let line = UNICODE.fit(text, room);
            assert_eq!(line.to_string(), cut, "{text} in {room}");
        }
        assert_eq!(ASCII.fit("abc", 2).to_string(), "a~");
    }
}
