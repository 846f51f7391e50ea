//! What the user has chosen to see: order, filter, selection.

use super::blocked::Blocked;
use super::figures::{QueueFigures, QueueId};
use super::keys::{Action, Mode, Step};
use super::picture::Picture;
use crate::cli::SortKey;
use crate::commands::durations::Durations;
use crate::config::Globs;

/// What the chart of the selected queue shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Chart {
    #[default]
    Receive,
    Send,
    InQueue,
}

impl Chart {
    fn next(self) -> Self {
        match self {
            Self::Receive => Self::Send,
            Self::Send => Self::InQueue,
            Self::InQueue => Self::Receive,
        }
    }

    pub(super) fn of(self, queue: &QueueFigures) -> &Durations {
        match self {
            Self::Receive => &queue.receive,
            Self::Send => &queue.send,
            Self::InQueue => &queue.in_queue,
        }
    }
}

const SORT_KEYS: [SortKey; 7] = [
    SortKey::Traffic,
    SortKey::Name,
    SortKey::Depth,
    SortKey::Blocked,
    SortKey::Wait,
    SortKey::Queued,
    SortKey::Errors,
];

/// The choices, and the picture that they are about.
#[derive(Debug, Clone, Default)]
pub(super) struct Ui {
    pub(super) picture: Picture,
    pub(super) sort: SortKey,
    pub(super) reversed: bool,
    /// Text that names contain, or a glob.
    pub(super) filter: String,
    pub(super) editing: bool,
    pub(super) help: bool,
    pub(super) paused: bool,
    pub(super) chart: Chart,
    /// Blocked callers of the selected queue alone.
    pub(super) only_selected: bool,
    selected: Option<QueueId>,
    /// Where the selected queue was last, for when it is gone.
    place: usize,
}

impl Ui {
    pub(super) fn new(sort: SortKey) -> Self {
        Self {
            sort,
            ..Self::default()
        }
    }

    pub(super) fn mode(&self) -> Mode {
        if self.help {
            Mode::Help
        } else if self.editing {
            Mode::Filter
        } else {
            Mode::Tables
        }
    }

    /// Takes a new picture, unless paused.
    pub(super) fn show(&mut self, picture: Picture) {
        if !self.paused {
            self.picture = picture;
        }
    }

    /// Does what a key asks of the tables; `page` is how many queues fit.
    pub(super) fn act(&mut self, action: Action, page: usize) {
        match action {
            Action::Move(step) => self.go(step, page),
            Action::NextSort => self.sort = neighbour(self.sort, 1),
            Action::PreviousSort => self.sort = neighbour(self.sort, SORT_KEYS.len() - 1),
            Action::Reverse => self.reversed = !self.reversed,
            Action::NextChart => self.chart = self.chart.next(),
            Action::OnlySelected => self.only_selected = !self.only_selected,
            Action::Pause => self.paused = !self.paused,
            Action::Help => self.help = true,
            Action::CloseHelp => self.help = false,
            Action::EditFilter => self.editing = true,
            Action::Type(c) => self.filter.push(c),
            Action::Erase => drop(self.filter.pop()),
            Action::AcceptFilter => self.editing = false,
            Action::ClearFilter => {
                self.filter.clear();
                self.editing = false;
            }
            Action::Quit | Action::Suspend | Action::Repaint => {}
        }
    }

    fn go(&mut self, step: Step, page: usize) {
        let rows = self.rows();
        let last = rows.len().saturating_sub(1);
        let at = self.selected_at(&rows);
        let to = match step {
            Step::Up => at.saturating_sub(1),
            Step::Down => at + 1,
            Step::PageUp => at.saturating_sub(page),
            Step::PageDown => at + page,
            Step::First => 0,
            Step::Last => last,
        };
        let to = to.min(last);
        let selected = rows.get(to).map(|queue| queue.id.clone());
        self.selected = selected;
        self.place = to;
    }

    /// The queues that pass the filter, in order.
    pub(super) fn rows(&self) -> Vec<&QueueFigures> {
        let filter = NameFilter::new(&self.filter);
        let queues = self.picture.figures.queues.iter();
        let mut rows: Vec<(f64, &QueueFigures)> = queues
            .filter(|queue| filter.matches(&queue.id.name))
            .map(|queue| (weight(queue, self.sort), queue))
            .collect();
        // The heaviest first; names from a to z.
        rows.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.id.cmp(&other.id)));
        if self.reversed {
            rows.reverse();
        }
        rows.into_iter().map(|(_, queue)| queue).collect()
    }

    /// Which of these rows is selected.
    pub(super) fn selected_at(&self, rows: &[&QueueFigures]) -> usize {
        let selected = self.selected.as_ref();
        let at = rows.iter().position(|queue| Some(&queue.id) == selected);
        let gone = if selected.is_some() { self.place } else { 0 };
        at.unwrap_or_else(|| gone.min(rows.len().saturating_sub(1)))
    }

    /// The blocked callers that the choices leave.
    pub(super) fn blocked(&self, selected: Option<&QueueId>) -> Vec<&Blocked> {
        let filter = NameFilter::new(&self.filter);
        let is_of = |blocked: &Blocked, id: &QueueId| {
            blocked.ipc_namespace == id.ipc_namespace && blocked.queue.as_deref() == Some(&*id.name)
        };
        self.picture
            .blocked
            .iter()
            .filter(|blocked| filter.matches(blocked.queue.as_deref().unwrap_or_default()))
            .filter(|blocked| !self.only_selected || selected.is_some_and(|id| is_of(blocked, id)))
            .collect()
    }
}

fn neighbour(sort: SortKey, steps: usize) -> SortKey {
    let at = SORT_KEYS.iter().position(|key| *key == sort).unwrap_or(0);
    let next = SORT_KEYS.get((at + steps) % SORT_KEYS.len());
    next.copied().unwrap_or_default()
}

fn weight(queue: &QueueFigures, sort: SortKey) -> f64 {
    let p99 = |durations: &Durations| durations.percentile(99).map_or(-1.0, |ns| ns as f64);
    match sort {
        SortKey::Traffic => (queue.sent + queue.received) as f64,
        SortKey::Name => 0.0,
        SortKey::Depth => queue.fill().unwrap_or(-1.0),
        SortKey::Blocked => queue.blocked.into(),
        SortKey::Wait => p99(&queue.receive),
        SortKey::Queued => p99(&queue.in_queue),
        SortKey::Errors => (queue.errors + queue.timeouts) as f64,
    }
}

/// What the user typed: a glob if it has one's signs, else a part of the name.
enum NameFilter {
    Part(String),
    Glob(Globs),
}

impl NameFilter {
    fn new(text: &str) -> Self {
        if text.contains(['*', '?', '[', '{'])
            && let Ok(globs) = Globs::new(&[text])
        {
            return Self::Glob(globs);
        }
        Self::Part(text.to_lowercase())
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Part(part) => part.is_empty() || name.to_lowercase().contains(part),
            Self::Glob(globs) => globs.matches_queue(name),
        }
    }
}

#[cfg(test)]
#[path = "ui_tests.rs"]
mod tests;
