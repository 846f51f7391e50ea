//! Spans by trace: each chain of messages as a tree, once nothing is added to it any more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::io::Write;
use std::time::{Duration, Instant};

use super::LineOutput;
use super::colours::Colours;
use super::pretty::{Thread, date_and_clock, write_outcome};
use crate::commands::text::{Escaped, Nanoseconds};
use crate::ids::{SpanId, TraceId};
use crate::logs::say;
use crate::process::Process;
use crate::rfc3339::Rfc3339;
use crate::sink::SpanSink;
use crate::span::Span;

/// How long a chain must have rested to be printed.
const REST: Duration = Duration::from_secs(1);
/// Spans held. With more, the half of the chains that has rested longest is printed.
const MAX_SPANS: usize = 16_384;
/// Shorter calls are padded to this column behind their offset.
const RESULT_COLUMN: usize = 64;

pub(super) struct Chains<W> {
    out: LineOutput<W>,
    colours: Colours,
    chains: HashMap<TraceId, Chain>,
    /// Sum of the lengths of `chains`, for [`MAX_SPANS`].
    spans: usize,
    /// Calls that had their trace for themselves.
    alone: u64,
    now: Instant,
}

struct Chain {
    last: Instant,
    nodes: Vec<Node>,
}

/// One call of a chain, as text.
struct Node {
    id: SpanId,
    parent: Option<SpanId>,
    start_unix_ns: u64,
    end_unix_ns: u64,
    call: String,
    result: String,
}

impl<W: Write> Chains<W> {
    pub(super) fn new(out: W, colours: Colours) -> Self {
        Self {
            out: LineOutput::new(out),
            colours,
            chains: HashMap::new(),
            spans: 0,
            alone: 0,
            now: Instant::now(),
        }
    }

    fn add(&mut self, span: &Span<'_>) {
        let Ok(node) = Node::new(span, self.colours) else {
            return;
        };
        let now = self.now;
        let chain = self.chains.entry(span.trace_id).or_insert_with(|| Chain {
            last: now,
            nodes: Vec::new(),
        });
        chain.last = now;
        chain.nodes.push(node);
        self.spans += 1;
        if self.spans > MAX_SPANS {
            self.print_older_half();
        }
    }

    fn print(&mut self, ids: Vec<TraceId>) {
        let mut chains: Vec<Chain> = ids.iter().filter_map(|id| self.chains.remove(id)).collect();
        for chain in &mut chains {
            self.spans -= chain.nodes.len();
            chain.nodes.sort_by_key(|node| node.start_unix_ns);
        }
        chains.sort_by_key(Chain::start_unix_ns);
        for chain in &chains {
            if chain.nodes.len() < 2 {
                self.alone += 1;
                continue;
            }
            let mut text = String::new();
            if chain.write(&mut text, self.colours).is_ok() {
                self.out.line(text.as_bytes());
            }
        }
    }

    fn print_older_half(&mut self) {
        let mut ids: Vec<_> = self
            .chains
            .iter()
            .map(|(id, chain)| (chain.last, *id))
            .collect();
        ids.sort_unstable();
        ids.truncate(ids.len().div_ceil(2));
        self.print(ids.into_iter().map(|(_, id)| id).collect());
    }
}

impl<W: Write> SpanSink for Chains<W> {
    fn span(&mut self, _process: &Process, span: &Span<'_>) {
        self.add(span);
    }

    fn tick(&mut self, now: Instant) {
        self.now = now;
        let rested = self
            .chains
            .iter()
            .filter(|(_, chain)| now.saturating_duration_since(chain.last) >= REST)
            .map(|(id, _)| *id)
            .collect();
        self.print(rested);
        self.out.flush();
    }

    fn finish(&mut self) {
        self.print(self.chains.keys().copied().collect());
        self.out.flush();
        if self.alone > 0 {
            say!("{} calls belong to no chain", self.alone);
        }
    }
}

impl Node {
    fn new(span: &Span<'_>, colours: Colours) -> Result<Self, fmt::Error> {
        let call = span.call;
        let (operation, _) = span.name();
        let queue = Escaped(call.name.as_deref().unwrap_or("?"));
        let mut result = String::new();
        if !span.is_process {
            result.push_str("= ");
            write_outcome(&mut result, span, colours)?;
            result.push_str("  ");
        }
        let length_ns = span
            .times
            .end_unix_ns
            .saturating_sub(span.times.start_unix_ns);
        write!(result, "{}", Nanoseconds(length_ns))?;
        if !span.is_process
            && let Some(seconds) = span.time_in_queue()
        {
            let waited = Nanoseconds((seconds * 1e9) as u64);
            let (colour, plain) = (colours.of_journey(), colours.plain());
            write!(result, "  {colour}in the queue {waited}{plain}")?;
        }
        Ok(Self {
            id: span.span_id,
            parent: span.parent_span_id,
            start_unix_ns: span.times.start_unix_ns,
            end_unix_ns: span.times.end_unix_ns,
            call: format!("{} {operation}({queue})", Thread(&call.comm, call.tid)),
            result,
        })
    }
}

impl Chain {
    /// Start of the first span; `nodes` must be sorted.
    fn start_unix_ns(&self) -> u64 {
        self.nodes.first().map_or(0, |node| node.start_unix_ns)
    }

    fn write(&self, text: &mut String, colours: Colours) -> fmt::Result {
        let start = self.start_unix_ns();
        let end = self.nodes.iter().map(|node| node.end_unix_ns).max();
        let length = Nanoseconds(end.unwrap_or(start).saturating_sub(start));
        let mut time = Rfc3339::default();
        let (_, clock) = date_and_clock(&mut time, start);
        let (dim, plain) = (colours.dim(), colours.plain());
        let calls = self.nodes.len();
        writeln!(text, "{dim}{clock}{plain}  {calls} calls in {length}")?;

        let ids: HashSet<SpanId> = self.nodes.iter().map(|node| node.id).collect();
        let mut children: BTreeMap<Option<SpanId>, Vec<&Node>> = BTreeMap::new();
        for node in &self.nodes {
            // The parent may have been printed before, as the end of another tree.
            let parent = node.parent.filter(|parent| ids.contains(parent));
            children.entry(parent).or_default().push(node);
        }
        // Depth first, without recursion: a chain can have as many calls as it likes.
        let roots = children.remove(&None).unwrap_or_default();
        let mut open = vec![(String::new(), roots.into_iter())];
        while let Some((indent, siblings)) = open.last_mut() {
            let Some(node) = siblings.next() else {
                open.pop();
                continue;
            };
            let is_last = siblings.as_slice().is_empty();
            let indent = indent.clone();
            let is_root = open.len() == 1;
            let branch = match (is_root, is_last) {
                (true, _) => "",
                (false, true) => "\u{2514}\u{2500} ",
                (false, false) => "\u{251c}\u{2500} ",
            };
            let offset = Nanoseconds(node.start_unix_ns.saturating_sub(start)).to_string();
            write!(text, "{offset:>12}  {indent}{branch}{}", node.call)?;
            let width = [&indent, branch, &node.call].map(|part| part.chars().count());
            for _ in width.iter().sum()..RESULT_COLUMN {
                text.push(' ');
            }
            writeln!(text, " {}", node.result)?;
            let below = match (is_root, is_last) {
                (true, _) => "",
                (false, true) => "   ",
                (false, false) => "\u{2502}  ",
            };
            let next = children.remove(&Some(node.id)).unwrap_or_default();
            open.push((format!("{indent}{below}"), next.into_iter()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Traces;
    use crate::event::{Call, CallKey, Cause, Operation, SendFate, Sender};
    use crate::ids::Ids;
    use crate::span::SpanSettings;
    use crate::test_calls::receive;

    const SETTINGS_SEED: u128 = 7;

    fn key(tid: u32, start_ns: u64) -> CallKey {
        CallKey { tid, start_ns }
    }

    fn send(tid: u32, start_ns: u64, cause: Option<(CallKey, CallKey)>) -> Call<'static> {
        let mut call = receive();
        call.operation = Operation::MqTimedsend;
        (call.tid, call.start_ns, call.end_ns) = (tid, start_ns, start_ns + 2_000);
        (call.ret, call.sender) = (0, None);
        call.made_message = true;
        call.receive_before = cause.map(|(call, root)| Cause {
            call,
            root,
            is_parent: true,
            application_trace: None,
        });
        call
    }

    fn received(tid: u32, start_ns: u64, (call, root): (CallKey, CallKey)) -> Call<'static> {
        let mut received = receive();
        (received.tid, received.start_ns, received.end_ns) = (tid, start_ns, start_ns + 3_000);
        received.sender = Some(Sender {
            cause: Cause {
                call,
                root,
                is_parent: true,
                application_trace: None,
            },
            created_ns: start_ns - 1_000,
            fate: SendFate::Told,
        });
        received
    }

    fn printed(calls: &[Call<'_>]) -> (String, u64) {
        let settings = SpanSettings::new(Ids::new(SETTINGS_SEED), Traces::default());
        let mut chains = Chains::new(Vec::new(), Colours(false));
        for call in calls {
            let span = Span::new(call, &settings, (call.start_ns, call.end_ns));
            chains.add(&span);
        }
        chains.print(chains.chains.keys().copied().collect());
        assert_eq!(chains.spans, 0);
        (String::from_utf8(chains.out.out).unwrap(), chains.alone)
    }

    #[test]
    fn a_chain_is_a_tree_and_others_are_counted() {
        let root = key(1, 1_000_000);
        let (first, second) = (key(2, 1_010_000), key(3, 1_020_000));
        let calls = [
            // The order of returns.
            received(2, first.start_ns, (root, root)),
            send(1, root.start_ns, None),
            send(3, 1_050_000, Some((second, root))),
            received(3, second.start_ns, (root, root)),
            send(2, 1_030_000, Some((first, root))),
            send(9, 1_000_000, None),
        ];
        let (text, alone) = printed(&calls);
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "00:00:00.001000 5 calls in 52.0 µs",
                "0 ns orders/1 mq_timedsend(/orders) = 0 2.0 µs",
                "10.0 µs ├─ orders/2 mq_timedreceive_time32(/orders) = 5 3.0 µs in the queue 4.0 µs",
                "30.0 µs │ └─ orders/2 mq_timedsend(/orders) = 0 2.0 µs",
                "20.0 µs └─ orders/3 mq_timedreceive_time32(/orders) = 5 3.0 µs in the queue 4.0 µs",
                "50.0 µs └─ orders/3 mq_timedsend(/orders) = 0 2.0 µs",
            ]
        );
        assert_eq!(alone, 1);
    }

    #[test]
    fn a_chain_without_its_beginning_is_printed_too() {
        let root = key(1, 1_000_000);
        let parent = key(2, 1_010_000);
        let calls = [
            send(2, 1_030_000, Some((parent, root))),
            send(2, 1_040_000, Some((parent, root))),
        ];
        let (text, _) = printed(&calls);
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn the_number_of_spans_held_is_bounded() {
        let settings = SpanSettings::new(Ids::new(SETTINGS_SEED), Traces::default());
        let mut chains = Chains::new(Vec::new(), Colours(false));
        for start_ns in 0..3 * MAX_SPANS as u64 {
            let call = send(1, start_ns, None);
            let span = Span::new(&call, &settings, (0, 0));
            chains.add(&span);
            assert!(chains.spans <= MAX_SPANS);
        }
    }
}
