//! Compares what happened with what was traced, field by field.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use mqspan_testkit::semconv;
use mqspan_testkit::span::{Origin, Traced, Value, attributes};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::Backend;
use crate::expect::{CLOCK_TOLERANCE_NS, Expected, Want};
use crate::truth::{self, Call};

/// A report stops after this many spans with differences.
const REPORTED_SPANS: usize = 8;

/// How a receive relates to the send of its message: `traces.correlation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Correlation {
    Parent,
    Link,
    None,
}

/// A process that makes calls for this long is still there when the agent looks it up.
const LONG_LIFE_NS: i64 = 400_000_000;

/// Where the spans were read, which determines what comes with them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    /// The agent's OTLP requests.
    Export,
    /// Jaeger, which keeps no schema URL.
    Jaeger,
    /// The output of `mqspan trace`: no scope, no schema URL.
    Trace,
}

pub(crate) struct Comparison<'a> {
    pub(crate) backend: Backend,
    /// The workload's executable, from which the resource's names come.
    pub(crate) program: &'a Path,
    /// Another executable that it runs, whose file is named after its ABI.
    pub(crate) other_program: Option<&'a Path>,
    pub(crate) read_from: ReadFrom,
    pub(crate) correlation: Correlation,
    /// How many bytes of a message its spans carry at most.
    pub(crate) payload_max_bytes: Option<usize>,
}

/// Collects differences, to report them together.
#[derive(Default)]
struct Report {
    text: String,
    spans: usize,
}

impl Report {
    fn add(&mut self, title: &str, differences: &[String]) {
        if differences.is_empty() {
            return;
        }
        self.spans += 1;
        if self.spans > REPORTED_SPANS {
            return;
        }
        self.text.push_str(&format!("{title}\n"));
        for difference in differences {
            self.text.push_str(&format!("  {difference}\n"));
        }
    }

    fn result(self) -> Result<()> {
        match self.spans {
            0 => Ok(()),
            n if n > REPORTED_SPANS => {
                bail!("{}and {} more that differ", self.text, n - REPORTED_SPANS)
            }
            _ => bail!("{}", self.text),
        }
    }
}

fn ipc_namespace() -> Result<i64> {
    let inode = std::fs::metadata("/proc/self/ns/ipc")
        .context("/proc/self/ns/ipc")?
        .ino();
    Ok(i64::try_from(inode)?)
}

/// Whether a span is of one of these processes, or would be if its resource were correct.
pub(crate) fn is_of(calls: &[Call]) -> impl Fn(&Traced) -> bool + use<> {
    let pids = truth::pids(calls);
    let tids: BTreeSet<i64> = calls.iter().map(|call| call.tid).collect();
    move |traced| match traced.pid() {
        Some(pid) => pids.contains(&pid),
        None => traced.tid().is_some_and(|tid| tids.contains(&tid)),
    }
}

pub(crate) fn start_ns(traced: &Traced) -> i64 {
    i64::try_from(traced.span.start_time_unix_nano).unwrap_or(i64::MAX)
}

pub(crate) fn end_ns(traced: &Traced) -> i64 {
    i64::try_from(traced.span.end_time_unix_nano).unwrap_or(i64::MAX)
}

/// Whether a span is not of a call, but of what its thread did with a message.
pub(crate) fn is_process(traced: &Traced) -> bool {
    traced.span.kind() == SpanKind::Consumer
}

/// Each call with its span: the first of a thread with its first, and so on.
///
/// # Errors
/// If a thread has another number of spans than of calls.
pub(crate) fn pairs<'a>(
    calls: &'a [Call],
    spans: &'a [Traced],
) -> Result<Vec<(&'a Call, &'a Traced)>> {
    let mut report = Report::default();
    let pairs = paired(calls, spans, &mut report);
    report.result().map(|()| pairs)
}

fn paired<'a>(
    calls: &'a [Call],
    spans: &'a [Traced],
    report: &mut Report,
) -> Vec<(&'a Call, &'a Traced)> {
    let ours = is_of(calls);
    let mut by_thread: BTreeMap<i64, (Vec<&Call>, Vec<&Traced>)> = BTreeMap::new();
    for call in calls {
        by_thread.entry(call.tid).or_default().0.push(call);
    }
    let of_calls = |traced: &&Traced| ours(traced) && !is_process(traced);
    for traced in spans.iter().filter(of_calls) {
        let tid = traced.tid().unwrap_or(-1);
        by_thread.entry(tid).or_default().1.push(traced);
    }
    let mut pairs = Vec::new();
    for (tid, (mut calls, mut spans)) in by_thread {
        // The truth of a thread that died in its call comes later than that of others.
        calls.sort_by_key(|call| call.realtime_start_ns);
        spans.sort_by_key(|traced| start_ns(traced));
        if calls.len() != spans.len() {
            report.add(
                &format!("thread {tid}: {} calls, {} spans", calls.len(), spans.len()),
                &first_divergence(&calls, &spans),
            );
            continue;
        }
        pairs.extend(calls.into_iter().zip(spans));
    }
    pairs
}

impl Comparison<'_> {
    /// Checks that each call has exactly one span of its thread, in order, and that there are no
    /// others.
    pub(crate) fn check(&self, calls: &[Call], spans: &[Traced]) -> Result<()> {
        let ipc_namespace = ipc_namespace()?;
        let mut report = Report::default();
        let pairs = paired(calls, spans, &mut report);
        for (call, traced) in &pairs {
            let mut expected = Expected::new(call, self.backend, end_ns(traced), ipc_namespace);
            let mut differences = compare_span(call, traced, &expected);
            if let Some(max_bytes) = self.payload_max_bytes {
                expected.may_carry_payload();
                differences.extend(wrong_payload(call, traced, max_bytes));
            }
            differences.extend(compare_attributes(traced, &expected));
            report.add(&title(call), &differences);
        }
        self.identities(&pairs, &mut report);
        self.relations(&pairs, &received(spans), &mut report);
        self.origins(&pairs, &mut report);
        report.result()
    }

    /// Checks that ids are set and no two spans share one.
    fn identities(&self, pairs: &[(&Call, &Traced)], report: &mut Report) {
        let mut seen = HashSet::new();
        for (call, traced) in pairs {
            let span = &traced.span;
            let mut differences = Vec::new();
            for (what, id, size) in [
                ("trace id", &span.trace_id, 16),
                ("span id", &span.span_id, 8),
            ] {
                if id.len() != size || id.iter().all(|&byte| byte == 0) {
                    differences.push(format!("{what}: {id:02x?}"));
                }
            }
            if !seen.insert(&span.span_id) {
                differences.push(format!("span id {:02x?}: another span's too", span.span_id));
            }
            report.add(&title(call), &differences);
        }
    }

    /// Checks that receives relate to the sends of their messages as the correlation says, that
    /// restarted calls link to what they continue, and that nothing else is related.
    ///
    /// A send that is the child of a process span counts as the child of the receive that
    /// `received` has for it.
    fn relations(
        &self,
        pairs: &[(&Call, &Traced)],
        received: &HashMap<&[u8], &[u8]>,
        report: &mut Report,
    ) {
        let senders: HashMap<i64, &Traced> = pairs
            .iter()
            .filter(|(call, _)| call.is_send())
            .filter_map(|(call, traced)| Some((call.message?, *traced)))
            .collect();
        let mut last_of_thread: HashMap<i64, &Traced> = HashMap::new();
        let mut last_received: HashMap<i64, &Traced> = HashMap::new();
        for (call, traced) in pairs {
            let mut differences = Vec::new();
            let previous = last_of_thread.insert(call.tid, traced);
            if call.is_receive() && call.ret >= 0 {
                last_received.insert(call.tid, traced);
            }
            let delivers = call.is_receive() && call.ret >= 0 && self.backend.sees_messages();
            let sender = call
                .message
                .filter(|_| delivers)
                .and_then(|message| senders.get(&message));
            // A message that the truth cannot tell from others still has a sender. One that was
            // lost on its way to the caller may have one or not.
            let lost = call.is_receive() && call.ret < 0 && call.message.is_some();
            if lost || delivers && sender.is_none() {
                continue;
            }
            if let Some(sender) = sender.filter(|_| self.correlation != Correlation::None) {
                differences.extend(time_in_queue(sender, traced));
                if start_ns(traced) < start_ns(sender) - CLOCK_TOLERANCE_NS {
                    differences.push("starts before its message was sent".to_owned());
                }
            }
            // A send comes of the last receive of its thread, or may come of it.
            let before = last_received.get(&call.tid).filter(|_| call.is_send());
            let is_child = !traced.span.parent_span_id.is_empty();
            let parent = sender
                .filter(|_| self.correlation == Correlation::Parent)
                .or(before.filter(|_| is_child));
            let linked = sender
                .filter(|_| self.correlation != Correlation::None)
                .or(before.filter(|_| !is_child));
            differences.extend(wrong_parent(traced, parent.copied(), received));
            let interrupted = previous.filter(|_| call.restarted);
            differences.extend(wrong_links(
                traced,
                linked.copied().into_iter().chain(interrupted),
            ));
            differences.extend(wrong_cause(traced, before.is_some() && !is_child));
            report.add(&title(call), &differences);
        }
    }

    /// Checks that what the spans of a process share says whose they are.
    fn origins(&self, pairs: &[(&Call, &Traced)], report: &mut Report) {
        let mut lives: HashMap<i64, (i64, i64)> = HashMap::new();
        for (call, _) in pairs {
            let (from, to) = lives.entry(call.pid).or_insert((i64::MAX, i64::MIN));
            // A call becomes visible when it returns.
            *from = call.realtime_end_ns.min(*from);
            *to = call.realtime_end_ns.max(*to);
        }
        let mut seen = HashSet::new();
        let mut seen_text = HashSet::new();
        for (call, traced) in pairs {
            // A resource may come once for many spans, or once per span.
            if seen.insert((call.pid, std::sync::Arc::as_ptr(&traced.origin)))
                && seen_text.insert((call.pid, format!("{:?}", traced.origin)))
            {
                let lived_ns = lives.get(&call.pid).map_or(0, |(from, to)| to - from);
                let differences = self.compare_origin(call, &traced.origin, lived_ns);
                report.add(&format!("resource of {}", title(call)), &differences);
            }
        }
    }

    fn compare_origin(&self, call: &Call, origin: &Origin, lived_ns: i64) -> Vec<String> {
        let named_after_abi = |program: &&Path| program.to_string_lossy().ends_with(&call.abi);
        let program = self
            .other_program
            .filter(named_after_abi)
            .unwrap_or(self.program);
        let executable = program
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let is = |value: &str| Want::Is(value.into());
        let required = [
            ("service.name", is(&executable)),
            ("process.pid", Want::Is(call.pid.into())),
            ("process.executable.name", is(&executable)),
            ("process.creation.time", Want::Any),
            ("service.instance.id", Want::Any),
            ("host.name", is(host.trim())),
            ("host.arch", is(arch)),
            ("os.type", is("linux")),
            ("telemetry.distro.name", is("mqspan")),
            ("telemetry.distro.version", Want::Any),
        ];
        let mut differences: Vec<_> = required
            .iter()
            .filter_map(|(key, want)| difference(key, want, origin.resource.get(*key)))
            .collect();
        if let Some(Value::Str(owner)) = origin.resource.get("process.owner")
            && owner.bytes().all(|byte| byte.is_ascii_digit())
        {
            differences.push(format!("process.owner: {owner:?} is no name"));
        }
        // Only /proc has the path, and only while the process is there.
        let path = origin.resource.get("process.executable.path");
        if path.is_some() || lived_ns >= LONG_LIFE_NS {
            differences.extend(difference(
                "process.executable.path",
                &is(&program.to_string_lossy()),
                path,
            ));
        }
        differences.extend(
            origin
                .resource
                .iter()
                .filter_map(|(key, value)| semconv::attribute_problem(key, value)),
        );
        if self.read_from != ReadFrom::Trace {
            let scope = origin.scope.clone().unwrap_or_default();
            if scope.name != "mqspan" || scope.version.is_empty() {
                differences.push(format!("scope: {:?} {:?}", scope.name, scope.version));
            }
        }
        if self.read_from == ReadFrom::Export && origin.schema_url != semconv::schema_url() {
            differences.push(format!("schema_url: {:?}", origin.schema_url));
        }
        differences
    }
}

fn title(call: &Call) -> String {
    format!(
        "{} {} = {} by thread {} ({})",
        call.op,
        call.queue.as_deref().unwrap_or("(no queue)"),
        call.ret,
        call.tid,
        call.comm
    )
}

/// Where two sequences of different lengths diverge.
fn first_divergence(calls: &[&Call], spans: &[&Traced]) -> Vec<String> {
    let want = |i: usize| calls.get(i).map(|call| title(call));
    let got = |i: usize| {
        spans.get(i).map(|traced| {
            let (attributes, _) = attributes(&traced.span.attributes);
            let ret = attributes
                .get("posix_mq.return")
                .map_or("nothing".to_owned(), Value::to_string);
            format!("{} = {ret}", traced.span.name)
        })
    };
    let same = |i: usize| match (calls.get(i), spans.get(i)) {
        (Some(call), Some(traced)) => {
            let (attributes, _) = attributes(&traced.span.attributes);
            attributes.get("messaging.operation.name") == Some(&call.op.as_str().into())
                && attributes.get("posix_mq.return") == Some(&call.ret.into())
        }
        (None, None) => true,
        _ => false,
    };
    let longest = calls.len().max(spans.len());
    let parts = (0..longest).find(|&i| !same(i)).unwrap_or(longest);
    (parts..longest.min(parts + 3))
        .map(|i| {
            format!(
                "number {i}: {}, traced {}",
                want(i).unwrap_or_else(|| "no call".to_owned()),
                got(i).unwrap_or_else(|| "nothing".to_owned())
            )
        })
        .collect()
}

fn difference(key: &str, want: &Want, got: Option<&Value>) -> Option<String> {
    match got {
        None => Some(format!("{key}: missing, must be {want}")),
        Some(value) if !want.accepts(value) => Some(format!("{key}: {value}, must be {want}")),
        Some(_) => None,
    }
}

/// The receives that process spans link to, by the process spans.
fn received(spans: &[Traced]) -> HashMap<&[u8], &[u8]> {
    let receive = |traced: &Traced, link: &Link| link.trace_id == traced.span.trace_id;
    spans
        .iter()
        .filter(|traced| is_process(traced))
        .filter_map(|traced| {
            let mut links = traced.span.links.iter();
            let link = links.rfind(|link| receive(traced, link))?;
            Some((traced.span.span_id.as_slice(), link.span_id.as_slice()))
        })
        .collect()
}

fn wrong_parent(
    traced: &Traced,
    parent: Option<&Traced>,
    received: &HashMap<&[u8], &[u8]>,
) -> Option<String> {
    let span = &traced.span;
    let id = span.parent_span_id.as_slice();
    let id = received.get(id).copied().unwrap_or(id);
    match parent.map(|parent| &parent.span) {
        None if span.parent_span_id.is_empty() => None,
        None => Some(format!("parent: {:02x?}, not none", span.parent_span_id)),
        Some(parent) if id == parent.span_id && span.trace_id == parent.trace_id => None,
        Some(parent) => Some(format!(
            "parent: trace {:02x?} span {:02x?}, not the sender's, trace {:02x?} span {:02x?}",
            span.trace_id, span.parent_span_id, parent.trace_id, parent.span_id
        )),
    }
}

fn wrong_links<'a>(traced: &Traced, targets: impl Iterator<Item = &'a Traced>) -> Option<String> {
    let got: BTreeSet<_> = traced
        .span
        .links
        .iter()
        .map(|link| (&link.trace_id, &link.span_id))
        .collect();
    let want: BTreeSet<_> = targets
        .map(|target| (&target.span.trace_id, &target.span.span_id))
        .collect();
    (got != want || traced.span.links.len() != want.len())
        .then(|| format!("links: to {got:02x?}, not {want:02x?}"))
}

/// Checks that a send that may come of a receive says on what grounds.
fn wrong_cause(traced: &Traced, must_be_there: bool) -> Option<String> {
    let (got, _) = attributes(&traced.span.attributes);
    let cause = got.get("posix_mq.cause");
    let want = must_be_there.then(|| Value::from("same_thread"));
    (cause != want.as_ref()).then(|| format!("posix_mq.cause: {cause:?}, must be {want:?}"))
}

/// Checks the beginning of a message, of which the truth knows the first eight bytes.
fn wrong_payload(call: &Call, traced: &Traced, max_bytes: usize) -> Option<String> {
    let (got, _) = attributes(&traced.span.attributes);
    let message = call.message?;
    let size = call.msg_len.filter(|_| call.is_send()).unwrap_or(call.ret);
    let size = usize::try_from(size).unwrap_or(0).min(max_bytes);
    match got.get("posix_mq.payload") {
        Some(Value::Bytes(bytes))
            if bytes.len() == size && bytes.starts_with(&message.to_le_bytes()) =>
        {
            None
        }
        other => Some(format!(
            "posix_mq.payload: {}, must be {size} bytes that begin with {:02x?}",
            other.map_or("missing".to_owned(), Value::to_string),
            message.to_le_bytes()
        )),
    }
}

fn compare_span(call: &Call, traced: &Traced, expected: &Expected) -> Vec<String> {
    let span = &traced.span;
    let mut differences = Vec::new();
    if span.name != expected.name {
        differences.push(format!(
            "name: {:?}, must be {:?}",
            span.name, expected.name
        ));
    }
    if span.kind() != expected.kind {
        differences.push(format!(
            "kind: {:?}, must be {:?}",
            span.kind(),
            expected.kind
        ));
    }
    let status = span.status.clone().unwrap_or_default();
    let is_right = if expected.is_error {
        status.code() == StatusCode::Error && !status.message.is_empty()
    } else {
        status.code() == StatusCode::Unset && status.message.is_empty()
    };
    if !is_right {
        let must = if expected.is_error {
            "Error with a description"
        } else {
            "Unset"
        };
        differences.push(format!(
            "status: {:?} {:?}, must be {must}",
            status.code(),
            status.message
        ));
    }
    let earliest = call.realtime_start_ns - CLOCK_TOLERANCE_NS;
    let latest = call.realtime_end_ns + CLOCK_TOLERANCE_NS;
    let (start, end) = (start_ns(traced), end_ns(traced));
    let idle = match attributes(&span.attributes).0.get("posix_mq.idle") {
        #[allow(clippy::cast_possible_truncation)]
        Some(Value::Double(seconds)) => (seconds * 1e9) as i64,
        _ => 0,
    };
    if start - idle < earliest || start > end || end > latest {
        differences.push(format!(
            "times: starts {} µs after the call began, ends {} µs before it was over",
            (start - call.realtime_start_ns) / 1000,
            (call.realtime_end_ns - end) / 1000
        ));
    }
    differences
}

fn compare_attributes(traced: &Traced, expected: &Expected) -> Vec<String> {
    let (got, repeated) = attributes(&traced.span.attributes);
    let mut differences: Vec<_> = repeated
        .iter()
        .map(|key| format!("{key}: more than once"))
        .collect();
    for (key, want) in &expected.required {
        differences.extend(difference(key, want, got.get(*key)));
    }
    for (key, value) in &got {
        differences.extend(semconv::attribute_problem(key, value));
        if expected.required.contains_key(key.as_str()) || key == "posix_mq.time_in_queue" {
            continue;
        }
        match expected.optional.get(key.as_str()) {
            Some(want) if want.accepts(value) => {}
            Some(want) => differences.push(format!("{key}: {value}, must be {want} or missing")),
            None => differences.push(format!("{key}: {value}, must not be there")),
        }
    }
    differences
}

/// Checks the time from a message's creation, inside the send, to its delivery, inside the receive.
fn time_in_queue(sender: &Traced, receiver: &Traced) -> Option<String> {
    #[allow(clippy::cast_precision_loss)]
    let seconds = |ns: i64| ns as f64 / 1e9;
    let least = seconds((start_ns(receiver) - end_ns(sender)).max(0));
    let most = seconds(end_ns(receiver) - start_ns(sender));
    let (got, _) = attributes(&receiver.span.attributes);
    difference(
        "posix_mq.time_in_queue",
        &Want::Between((least - 1e-6).max(0.0), most + 1e-6),
        got.get("posix_mq.time_in_queue"),
    )
}

#[cfg(test)]
mod tests;
