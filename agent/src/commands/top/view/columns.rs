//! Which columns the table of queues has room for.

use crate::cli::SortKey;

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Namespace,
    Bar,
    Depth,
    Blocked,
    Sent,
    Received,
    WaitP50,
    WaitP99,
    InQueueP99,
    Errors,
    Timeouts,
}

impl Column {
    const ALL: [Self; 12] = [
        Self::Name,
        Self::Namespace,
        Self::Bar,
        Self::Depth,
        Self::Blocked,
        Self::Sent,
        Self::Received,
        Self::WaitP50,
        Self::WaitP99,
        Self::InQueueP99,
        Self::Errors,
        Self::Timeouts,
    ];

    /// Those that go first where there is no room for all.
    const DISPENSABLE: [Self; 3] = [Self::Blocked, Self::Bar, Self::WaitP50];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Name => "QUEUE",
            Self::Namespace => "NAMESPACE",
            Self::Bar => "",
            Self::Depth => "DEPTH",
            Self::Blocked => "BLKD",
            Self::Sent => "SEND/S",
            Self::Received => "RECV/S",
            Self::WaitP50 => "WAITp50",
            Self::WaitP99 => "WAITp99",
            Self::InQueueP99 => "INQp99",
            Self::Errors => "ERR/S",
            Self::Timeouts => "TMO/S",
        }
    }

    /// Columns of the terminal that it takes at least.
    fn width(self) -> u16 {
        match self {
            Self::Name => MIN_NAME,
            Self::Namespace => 10,
            Self::Bar | Self::Blocked | Self::Errors | Self::Timeouts => 5,
            Self::Depth => 9,
            Self::Sent | Self::Received | Self::InQueueP99 => 6,
            Self::WaitP50 | Self::WaitP99 => 7,
        }
    }

    /// What it is sorted by.
    pub(super) fn sort_key(self) -> Option<SortKey> {
        match self {
            Self::Name => Some(SortKey::Name),
            Self::Depth => Some(SortKey::Depth),
            Self::Blocked => Some(SortKey::Blocked),
            Self::Sent | Self::Received => Some(SortKey::Traffic),
            Self::WaitP99 => Some(SortKey::Wait),
            Self::InQueueP99 => Some(SortKey::Queued),
            Self::Errors | Self::Timeouts => Some(SortKey::Errors),
            Self::Namespace | Self::Bar | Self::WaitP50 => None,
        }
    }

    /// Text begins at the left; numbers end at the right.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Name | Self::Bar)
    }
}

/// Names are given so much at least, and the bar at most so much.
const MIN_NAME: u16 = 14;
const MAX_BAR: u16 = 20;
/// The mark of the selected row.
pub(super) const MARK: u16 = 1;

/// The columns with their widths, one blank in between, behind the mark.
pub(super) fn columns(room: u16, longest_name: u16, has_namespaces: bool) -> Vec<(Column, u16)> {
    let mut columns: Vec<(Column, u16)> = Column::ALL
        .into_iter()
        .filter(|column| has_namespaces || *column != Column::Namespace)
        .map(|column| (column, column.width()))
        .collect();
    for column in Column::DISPENSABLE {
        if taken(&columns) > room {
            columns.retain(|(other, _)| *other != column);
        }
    }
    let mut spare = room.saturating_sub(taken(&columns));
    for (column, most) in [(Column::Name, longest_name), (Column::Bar, MAX_BAR)] {
        if let Some((_, width)) = columns.iter_mut().find(|(other, _)| *other == column) {
            let more = most.saturating_sub(*width).min(spare);
            *width += more;
            spare -= more;
        }
    }
    columns
}

/// The width of all columns.
pub(super) fn taken(columns: &[(Column, u16)]) -> u16 {
    let sum: u16 = columns.iter().map(|(_, width)| width + 1).sum();
    sum.saturating_sub(1) + MARK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width_of(columns: &[(Column, u16)], column: Column) -> Option<u16> {
        let found = columns.iter().find(|(other, _)| *other == column);
        found.map(|(_, width)| *width)
    }

    #[test]
    fn columns_fit_and_names_grow() {
        for (room, longest, namespaces, name, bar, blocked) in [
            (80, 9, false, Some(14), Some(5), None),
            (80, 40, true, Some(17), None, None),
            (120, 9, false, Some(14), Some(20), Some(5)),
            (120, 60, false, Some(48), Some(5), Some(5)),
            (200, 60, true, Some(60), Some(20), Some(5)),
        ] {
            let columns = columns(room, longest, namespaces);
            assert!(taken(&columns) <= room, "{room} {longest}: {columns:?}");
            assert_eq!(width_of(&columns, Column::Name), name, "{columns:?}");
            assert_eq!(width_of(&columns, Column::Bar), bar, "{columns:?}");
            assert_eq!(width_of(&columns, Column::Blocked), blocked);
            let has = width_of(&columns, Column::Namespace).is_some();
            assert_eq!(has, namespaces);
        }
    }

    #[test]
    fn titles_fit() {
        for column in Column::ALL {
            assert!(column.title().len() <= column.width().into(), "{column:?}");
        }
    }
}
