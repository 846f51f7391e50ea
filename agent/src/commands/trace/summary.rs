//! Output of `trace --summary`, in the style of `strace -c`: the number and
//! duration of calls, by queue and operation.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::time::Instant;

use crate::commands::durations::Durations;
use crate::commands::text::{Escaped, Nanoseconds};
use crate::logs;
use crate::process::Process;
use crate::sink::SpanSink;
use crate::span::Span;

/// Queues with rows of their own. All others share one set.
const MAX_QUEUES: usize = 1_000;
const OTHERS: &str = "(others)";

/// Passes spans on and counts them.
pub(super) struct Summary<S> {
    sink: S,
    table: Table,
}

impl<S> Summary<S> {
    pub(super) fn new(sink: S) -> Self {
        Self {
            sink,
            table: Table::default(),
        }
    }
}

impl<S: SpanSink> SpanSink for Summary<S> {
    fn span(&mut self, process: &Process, span: &Span<'_>) {
        self.sink.span(process, span);
        if !span.is_process {
            self.table.add(span);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.sink.tick(now);
    }

    fn finish(&mut self) {
        self.sink.finish();
        logs::print(format_args!("{}", self.table));
    }
}

#[derive(Debug, Default)]
struct Row {
    operation: &'static str,
    calls: u64,
    errors: u64,
    durations: Durations,
}

/// A list of rows per queue is enough, because few operations are called on a queue.
#[derive(Debug, Default)]
struct Table {
    by_queue: HashMap<String, Vec<Row>>,
}

impl Table {
    fn add(&mut self, span: &Span<'_>) {
        let operation = span.call.operation.name();
        let queue = span.call.name.as_deref().unwrap_or("?");
        let Some(rows) = self.rows(queue) else {
            return;
        };
        let row = match rows.iter_mut().position(|row| row.operation == operation) {
            Some(at) => rows.get_mut(at),
            None => {
                rows.push(Row {
                    operation,
                    ..Row::default()
                });
                rows.last_mut()
            }
        };
        if let Some(row) = row {
            row.calls += 1;
            row.errors += u64::from(span.failure.is_some());
            let ns = span
                .times
                .end_unix_ns
                .saturating_sub(span.call_start_unix_ns());
            row.durations.record(ns);
        }
    }

    /// Allocates only for a new queue.
    fn rows(&mut self, queue: &str) -> Option<&mut Vec<Row>> {
        let queue = if self.by_queue.len() < MAX_QUEUES || self.by_queue.contains_key(queue) {
            queue
        } else {
            OTHERS
        };
        if !self.by_queue.contains_key(queue) {
            self.by_queue.insert(queue.to_owned(), Vec::new());
        }
        self.by_queue.get_mut(queue)
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<(&str, &Row)> = self
            .by_queue
            .iter()
            .flat_map(|(queue, rows)| rows.iter().map(move |row| (queue.as_str(), row)))
            .collect();
        rows.sort_by_key(|(queue, row)| (std::cmp::Reverse(row.calls), *queue, row.operation));
        writeln!(
            f,
            "{:>9} {:>8} {:>9} {:>9} {:>9} {:>9}  operation and queue",
            "calls", "errors", "p50", "p95", "p99", "max"
        )?;
        let (mut calls, mut errors) = (0, 0);
        for (queue, row) in rows {
            calls += row.calls;
            errors += row.errors;
            write!(f, "{:>9} {:>8}", row.calls, row.errors)?;
            let percentiles = [50, 95, 99].map(|percent| row.durations.percentile(percent));
            for ns in percentiles.into_iter().chain([row.durations.max_ns()]) {
                let text = Nanoseconds(ns.unwrap_or(0)).to_string();
                write!(f, " {text:>9}")?;
            }
            writeln!(f, "  {} {}", row.operation, Escaped(queue))?;
        }
        writeln!(f, "{calls:>9} {errors:>8} {:>40} total", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Traces;
    use crate::ids::Ids;
    use crate::span::SpanSettings;
    use crate::test_calls::receive;

    fn settings() -> SpanSettings {
        SpanSettings::new(Ids::new(7), Traces::default())
    }

    fn add(table: &mut Table, queue: &'static str, ret: i64, ns: u64) {
        let mut call = receive();
        call.name = Some(queue.into());
        call.ret = ret;
        table.add(&Span::new(&call, &settings(), (1_000, 1_000 + ns)));
    }

    #[test]
    fn rows_are_sorted_by_calls_and_summed() {
        let mut table = Table::default();
        add(&mut table, "/b", 5, 2_000_000);
        add(&mut table, "/a", 5, 1_000_000);
        add(&mut table, "/a", -110, 3_000_000);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[1].starts_with("        2        1 "), "{text}");
        assert!(
            lines[1].ends_with("3.0 ms  mq_timedreceive_time32 /a"),
            "{text}"
        );
        assert!(lines[2].ends_with("mq_timedreceive_time32 /b"), "{text}");
        assert!(lines[3].starts_with("        3        1 "), "{text}");
        assert!(lines[3].ends_with(" total"), "{text}");
    }

    #[test]
    fn names_cannot_steer_the_terminal_and_queues_are_bounded() {
        let mut table = Table::default();
        add(&mut table, "/\x1b[2J", 5, 10);
        assert!(!table.to_string().contains('\x1b'));
        for number in 0..MAX_QUEUES + 10 {
            let mut call = receive();
            call.name = Some(format!("/{number}").into());
            table.add(&Span::new(&call, &settings(), (0, 1)));
        }
        assert_eq!(table.by_queue.len(), MAX_QUEUES + 1);
        assert_eq!(table.by_queue[OTHERS][0].calls, 11);
    }
}
