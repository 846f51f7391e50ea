//! The user's choices: order, filter, selection.

use clap::ValueEnum;

use super::blocked::Blocked;
use super::keys::{Action, Mode, Step};
use super::snapshot::Snapshot;
use super::stats::{Counts, QueueId, QueueStats};
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

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Receive => "RECEIVES WAITED",
            Self::Send => "SENDS TOOK",
            Self::InQueue => "TIME IN QUEUE",
        }
    }

    pub(super) fn of(self, counts: &Counts) -> &Durations {
        match self {
            Self::Receive => &counts.receive,
            Self::Send => &counts.send,
            Self::InQueue => &counts.in_queue,
        }
    }
}

/// The choices, and the snapshot that they apply to.
#[derive(Debug, Clone, Default)]
pub(super) struct Ui {
    pub(super) snapshot: Snapshot,
    pub(super) sort: SortKey,
    pub(super) reversed: bool,
    /// Part of a queue name, or a glob.
    pub(super) filter: String,
    pub(super) editing: bool,
    pub(super) help: bool,
    pub(super) paused: bool,
    pub(super) chart: Chart,
    /// List only the blocked callers of the selected queue.
    pub(super) only_selected: bool,
    selected: Option<QueueId>,
    /// The row in which the selected queue was last, for when it is gone.
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

    /// Takes a new snapshot, unless paused.
    pub(super) fn show(&mut self, snapshot: Snapshot) {
        if !self.paused {
            self.snapshot = snapshot;
        }
    }

    /// Applies an action to the tables. `page` is how many queues fit.
    pub(super) fn act(&mut self, action: Action, page: usize) {
        match action {
            Action::Move(step) => self.go(step, page),
            Action::NextSort => self.sort = neighbour(self.sort, 1),
            Action::PreviousSort => {
                self.sort = neighbour(self.sort, SortKey::value_variants().len() - 1)
            }
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
        self.selected = rows.get(to).map(|queue| queue.id.clone());
        self.place = to;
    }

    /// The queues that pass the filter, sorted.
    pub(super) fn rows(&self) -> Vec<&QueueStats> {
        let filter = NamePattern::new(&self.filter);
        let queues = self.snapshot.stats.queues.iter();
        let mut rows: Vec<(f64, &QueueStats)> = queues
            .filter(|queue| filter.matches(&queue.id.name))
            .map(|queue| (weight(queue, self.sort), queue))
            .collect();
        // Heaviest first; names from a to z.
        rows.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.id.cmp(&other.id)));
        if self.reversed {
            rows.reverse();
        }
        rows.into_iter().map(|(_, queue)| queue).collect()
    }

    /// Index of the selected row.
    pub(super) fn selected_at(&self, rows: &[&QueueStats]) -> usize {
        let selected = self.selected.as_ref();
        let at = rows.iter().position(|queue| Some(&queue.id) == selected);
        let gone = if selected.is_some() { self.place } else { 0 };
        at.unwrap_or_else(|| gone.min(rows.len().saturating_sub(1)))
    }

    /// The blocked callers that pass the filter and the choice of queue.
    pub(super) fn blocked(&self, selected: Option<&QueueId>) -> Vec<&Blocked> {
        let filter = NamePattern::new(&self.filter);
        let is_selected =
            |blocked: &Blocked| selected.is_some_and(|id| blocked.queue_id().as_ref() == Some(id));
        let blocked = self.snapshot.blocked.iter();
        blocked
            .filter(|blocked| filter.matches(blocked.queue.as_deref().unwrap_or_default()))
            .filter(|blocked| !self.only_selected || is_selected(blocked))
            .collect()
    }
}

/// The sort key that is `steps` further on, wrapping around.
fn neighbour(sort: SortKey, steps: usize) -> SortKey {
    let keys = SortKey::value_variants();
    let at = keys.iter().position(|key| *key == sort).unwrap_or(0);
    let next = keys.iter().cycle().nth(at + steps);
    next.copied().unwrap_or_default()
}

fn weight(queue: &QueueStats, sort: SortKey) -> f64 {
    let p99 = |durations: &Durations| durations.percentile(99).map_or(-1.0, |ns| ns as f64);
    let counts = &queue.counts;
    match sort {
        SortKey::Traffic => (counts.sent + counts.received) as f64,
        SortKey::Name => 0.0,
        SortKey::Depth => queue.fill().unwrap_or(-1.0),
        SortKey::Blocked => queue.blocked.into(),
        SortKey::Wait => p99(&counts.receive),
        SortKey::Queued => p99(&counts.in_queue),
        SortKey::Errors => (counts.errors + counts.timeouts) as f64,
    }
}

/// What the user typed: a glob if it has wildcard characters, else part of a name.
enum NamePattern {
    Part(String),
    Glob(Globs),
}

impl NamePattern {
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
            Self::Part(part) => name.to_lowercase().contains(part),
            Self::Glob(globs) => globs.matches_queue(name),
        }
    }
}

#[cfg(test)]
mod tests;
