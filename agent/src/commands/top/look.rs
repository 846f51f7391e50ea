//! How it looks: with colours or without, with the signs of Unicode or in
//! ASCII. What a colour says is written as well.

use ratatui::style::{Color, Modifier, Style};

use crate::commands::text::Escaped;

/// What the terminal can show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: bool,
    pub(super) unicode: bool,
}

/// Eighths of a cell, from one to eight, as bars that grow to the right.
const ACROSS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
/// The same as bars that grow upwards.
const UP: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Look {
    /// As the environment says: `NO_COLOR` (no-color.org), and the locale,
    /// whose variables count in this order (locale(7)).
    pub(super) fn from_env(env: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |name: &str| env(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(is_set);
        let locale = locale.unwrap_or_default().to_lowercase();
        Self {
            colour: is_set("NO_COLOR").is_none(),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    fn coloured(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.colour { style.fg(colour) } else { style }
    }

    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    pub(super) fn title(self) -> Style {
        self.coloured(Color::Cyan, Modifier::BOLD)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn bad(self) -> Style {
        self.coloured(Color::Red, Modifier::BOLD)
    }

    /// Of a bar that is so full.
    pub(super) fn fill(self, share: f64) -> Style {
        if share >= 0.9 {
            self.bad()
        } else if share >= 0.7 {
            self.coloured(Color::Yellow, Modifier::empty())
        } else {
            self.coloured(Color::Green, Modifier::empty())
        }
    }

    pub(super) fn bars(self) -> Style {
        self.coloured(Color::Blue, Modifier::empty())
    }

    /// The sign for a millionth.
    pub(super) fn micro(self) -> &'static str {
        if self.unicode { "µ" } else { "u" }
    }

    /// Says that something is cut off.
    pub(super) fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// Marks the column that is sorted by.
    pub(super) fn order(self, reversed: bool) -> &'static str {
        match (self.unicode, reversed) {
            (true, false) => "▾",
            (true, true) => "▴",
            (false, false) => "v",
            (false, true) => "^",
        }
    }

    /// A bar of so many cells, of which a share is full.
    pub(super) fn bar(self, share: f64, cells: u16) -> String {
        let eighths = (share.clamp(0.0, 1.0) * f64::from(cells) * 8.0).round() as usize;
        // Something is never shown as nothing.
        let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
        (0..usize::from(cells))
            .map(|cell| self.eighths(eighths.saturating_sub(cell * 8), ACROSS))
            .collect()
    }

    /// The cell at this height of a column of eighths.
    pub(super) fn column(self, eighths: usize, height: usize) -> char {
        self.eighths(eighths.saturating_sub(height * 8), UP)
    }

    fn eighths(self, count: usize, bars: [char; 8]) -> char {
        match count {
            0 => ' ',
            _ if !self.unicode => '#',
            _ => bars.get(count.min(8) - 1).copied().unwrap_or(' '),
        }
    }

    /// A name from any program: nothing in it can steer the terminal.
    pub(super) fn name(self, name: &str) -> String {
        let name = Escaped(name).to_string();
        if self.unicode {
            return name;
        }
        let escape = |c: char| -> String {
            if c.is_ascii() {
                c.to_string()
            } else {
                c.escape_unicode().to_string()
            }
        };
        name.chars().map(escape).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        for (env, colour, unicode) in [
            (vec![("LANG", "C.UTF-8")], true, true),
            (vec![("LANG", "en_US.utf8"), ("NO_COLOR", "1")], false, true),
            (vec![("LANG", "C.UTF-8"), ("LC_ALL", "C")], true, false),
            (vec![("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8")], true, true),
            (vec![("NO_COLOR", "")], true, false),
        ] {
            let look = Look::from_env(|name| {
                let pair = env.iter().find(|(key, _)| *key == name);
                pair.map(|(_, value)| (*value).to_owned())
            });
            assert_eq!((look.colour, look.unicode), (colour, unicode), "{env:?}");
        }
    }

    #[test]
    fn bars() {
        let unicode = Look {
            colour: true,
            unicode: true,
        };
        let ascii = Look {
            unicode: false,
            ..unicode
        };
        for (share, text, plain) in [
            (0.0, "    ", "    "),
            (0.0001, "▏   ", "#   "),
            (0.5, "██  ", "##  "),
            (0.6, "██▍ ", "### "),
            (1.0, "████", "####"),
            (7.0, "████", "####"),
        ] {
            assert_eq!(unicode.bar(share, 4), text);
            assert_eq!(ascii.bar(share, 4), plain);
        }
        assert_eq!((unicode.column(12, 0), unicode.column(12, 1)), ('█', '▄'));
        assert_eq!(unicode.column(12, 2), ' ');
    }

    #[test]
    fn names_are_escaped() {
        let mut look = Look {
            colour: true,
            unicode: true,
        };
        assert_eq!(look.name("/é\x1b[0m"), "/é\\u{1b}[0m");
        look.unicode = false;
        assert_eq!(look.name("/é"), "/\\u{e9}");
    }
}
