//! Maps keys to actions.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The meaning of a key depends on what is on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Tables,
    /// A filter is being typed.
    Filter,
    Help,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    Suspend,
    Repaint,
    Move(Step),
    NextSort,
    PreviousSort,
    Reverse,
    NextChart,
    OnlySelected,
    Pause,
    Help,
    CloseHelp,
    EditFilter,
    Type(char),
    Erase,
    AcceptFilter,
    ClearFilter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

pub(super) fn action(key: KeyEvent, mode: Mode) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('z') => Some(Action::Suspend),
            KeyCode::Char('l') => Some(Action::Repaint),
            KeyCode::Char('u') if mode == Mode::Filter => Some(Action::ClearFilter),
            KeyCode::Char('h') if mode == Mode::Filter => Some(Action::Erase),
            _ => None,
        };
    }
    match mode {
        Mode::Tables => in_tables(key.code),
        Mode::Filter => in_filter(key.code),
        Mode::Help => Some(Action::CloseHelp),
    }
}

fn in_tables(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Up | KeyCode::Char('k') => Action::Move(Step::Up),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(Step::Down),
        KeyCode::PageUp => Action::Move(Step::PageUp),
        KeyCode::PageDown => Action::Move(Step::PageDown),
        KeyCode::Home | KeyCode::Char('g') => Action::Move(Step::First),
        KeyCode::End | KeyCode::Char('G') => Action::Move(Step::Last),
        KeyCode::Char('s') => Action::NextSort,
        KeyCode::Char('S') => Action::PreviousSort,
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('w') => Action::NextChart,
        KeyCode::Char('b') => Action::OnlySelected,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('h' | '?') | KeyCode::F(1) => Action::Help,
        KeyCode::Char('/') => Action::EditFilter,
        KeyCode::Esc => Action::ClearFilter,
        _ => return None,
    })
}

fn in_filter(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char(c) => Action::Type(c),
        KeyCode::Backspace => Action::Erase,
        KeyCode::Enter => Action::AcceptFilter,
        KeyCode::Esc => Action::ClearFilter,
        KeyCode::Up => Action::Move(Step::Up),
        KeyCode::Down => Action::Move(Step::Down),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(code: KeyCode, mode: Mode) -> Option<Action> {
        action(KeyEvent::new(code, KeyModifiers::NONE), mode)
    }

    #[test]
    fn keys_mean_what_the_screen_asks() {
        use KeyCode::{Char, Down, Esc};
        for (code, tables, filter, help) in [
            (
                Char('q'),
                Some(Action::Quit),
                Some(Action::Type('q')),
                Some(Action::CloseHelp),
            ),
            (
                Char('j'),
                Some(Action::Move(Step::Down)),
                Some(Action::Type('j')),
                Some(Action::CloseHelp),
            ),
            (
                Down,
                Some(Action::Move(Step::Down)),
                Some(Action::Move(Step::Down)),
                Some(Action::CloseHelp),
            ),
            (
                Esc,
                Some(Action::ClearFilter),
                Some(Action::ClearFilter),
                Some(Action::CloseHelp),
            ),
            (
                Char('x'),
                None,
                Some(Action::Type('x')),
                Some(Action::CloseHelp),
            ),
            (KeyCode::Tab, None, None, Some(Action::CloseHelp)),
        ] {
            assert_eq!(plain(code, Mode::Tables), tables, "{code:?}");
            assert_eq!(plain(code, Mode::Filter), filter, "{code:?}");
            assert_eq!(plain(code, Mode::Help), help, "{code:?}");
        }
    }

    #[test]
    fn control_c_ends_it_from_anywhere() {
        let key = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        for mode in [Mode::Tables, Mode::Filter, Mode::Help] {
            assert_eq!(action(key('c'), mode), Some(Action::Quit));
            assert_eq!(action(key('z'), mode), Some(Action::Suspend));
            assert_eq!(action(key('x'), mode), None);
        }
    }
}
