//! Writes text into cells, and never beyond them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use crate::commands::top::look::Look;

/// Cells of a part of the screen, counted from its top left.
pub(super) struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    pub(super) look: Look,
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> u16 {
    u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX)
}

impl<'a> Pen<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, area: Rect, look: Look) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, area, look }
    }

    pub(super) fn width(&self) -> u16 {
        self.area.width
    }

    pub(super) fn height(&self) -> u16 {
        self.area.height
    }

    /// So many rows from `y` on, from column `x` on, at most `width` wide.
    pub(super) fn part(&mut self, x: u16, y: u16, width: u16, height: u16) -> Pen<'_> {
        let area = Rect {
            x: self.area.x.saturating_add(x),
            y: self.area.y.saturating_add(y),
            width,
            height,
        };
        Pen {
            area: area.intersection(self.area),
            buffer: self.buffer,
            look: self.look,
        }
    }

    /// Writes at `x` in row `y`, at most `room` columns, with a sign where it
    /// is cut off. Returns the column behind.
    pub(super) fn text(&mut self, x: u16, y: u16, room: u16, text: &str, style: Style) -> u16 {
        if x >= self.area.width || y >= self.area.height {
            return x;
        }
        let room = room.min(self.area.width - x);
        let (left, top) = (self.area.x + x, self.area.y + y);
        if width(text) <= room {
            let (end, _) = self.buffer.set_stringn(left, top, text, room.into(), style);
            return end - self.area.x;
        }
        let whole = room.saturating_sub(1);
        let (end, _) = self
            .buffer
            .set_stringn(left, top, text, whole.into(), style);
        let sign = self.look.ellipsis();
        let (end, _) = self
            .buffer
            .set_stringn(end, top, sign, (room - whole).into(), style);
        end - self.area.x
    }

    /// Writes so that the text ends with the `room`.
    pub(super) fn right(&mut self, x: u16, y: u16, room: u16, text: &str, style: Style) {
        let room = room.min(self.area.width.saturating_sub(x));
        let indent = room.saturating_sub(width(text));
        self.text(x.saturating_add(indent), y, room - indent, text, style);
    }

    /// Lays a style on a row as it is.
    pub(super) fn restyle(&mut self, y: u16, style: Style) {
        if y < self.area.height {
            let row = Rect {
                y: self.area.y + y,
                height: 1,
                ..self.area
            };
            self.buffer.set_style(row, style);
        }
    }

    /// Empties all.
    pub(super) fn clear(&mut self) {
        for y in 0..self.area.height {
            let blank = " ".repeat(self.area.width.into());
            self.text(0, y, self.area.width, &blank, Style::reset());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look {
        colour: false,
        unicode: true,
    };

    fn drawn(draw: impl FnOnce(&mut Pen<'_>)) -> Vec<String> {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 2));
        draw(&mut Pen::new(&mut buffer, Rect::new(1, 0, 7, 9), LOOK));
        let cells = buffer.content();
        cells
            .chunks(8)
            .map(|row| row.iter().map(|cell| cell.symbol()).collect())
            .collect()
    }

    #[test]
    fn text_stays_in_its_room() {
        let plain = Style::new();
        for (room, text, row) in [
            (5, "abc", "   abc  "),
            (3, "abc", "   abc  "),
            (2, "abc", "   a…   "),
            (99, "abcdefgh", "   abcd…"),
            (0, "abc", "        "),
            (3, "漢字", "   漢 …  "),
        ] {
            let rows = drawn(|pen| {
                pen.text(2, 0, room, text, plain);
            });
            assert_eq!(rows[0], row, "{text} in {room}");
        }
    }

    #[test]
    fn what_is_outside_is_not_drawn() {
        let rows = drawn(|pen| {
            pen.text(7, 0, 5, "x", Style::new());
            pen.text(0, 2, 5, "x", Style::new());
            pen.part(5, 1, 50, 50)
                .right(0, 0, 50, "right", Style::new());
            pen.restyle(5, Style::new());
        });
        assert_eq!(rows, ["        ", "      r…"]);
    }
}
