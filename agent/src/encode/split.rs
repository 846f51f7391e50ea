//! Splits a request that is too large for the collector in two.

use bytes::Bytes;

use super::encoded::EncodedBatch;
use super::wire::{FieldValue, Fields, Malformed, push_bytes};
use crate::span::SpanKind;

impl EncodedBatch {
    /// Splits into two requests with half of the spans each; `None` for fewer
    /// than two spans.
    ///
    /// # Errors
    /// [`Malformed`] bytes, for example from a damaged disk.
    pub fn split(&self) -> Result<Option<(Self, Self)>, Malformed> {
        halves(&self.bytes)
    }

    /// Splits into two requests with half of the processes each; `None` for one
    /// process.
    ///
    /// # Errors
    /// [`Malformed`] bytes.
    pub fn split_processes(&self) -> Result<Option<(Self, Self)>, Malformed> {
        process_halves(self)
    }
}

/// One `ScopeSpans` taken apart.
struct Group<'a> {
    /// All fields of its `ResourceSpans` except the scopes.
    resource: Vec<u8>,
    /// All its fields except the spans.
    scope: Vec<u8>,
    /// Its spans, each with tag and length.
    spans: Vec<&'a [u8]>,
}

/// Counts the spans of calls in a request.
///
/// # Errors
/// [`Malformed`] bytes.
pub fn count_spans(request: &[u8]) -> Result<u32, Malformed> {
    let groups = groups(request)?;
    let spans: usize = groups.iter().map(|group| calls(&group.spans)).sum();
    u32::try_from(spans).map_err(|_| Malformed)
}

/// How many of these are spans of calls. Processing is a `CONSUMER`, and no call is.
fn calls(spans: &[&[u8]]) -> usize {
    spans.iter().filter(|span| !is_consumer(span)).count()
}

/// Looks for `Span.kind` in a span with tag and length.
fn is_consumer(span: &[u8]) -> bool {
    let message = Fields::new(span).next();
    let Some(Ok(message)) = message else {
        return false;
    };
    let kind = Fields::new(message.value.bytes())
        .map_while(Result::ok)
        .find(|field| field.number == 6);
    kind.is_some_and(
        |kind| matches!(kind.value, FieldValue::Varint(kind) if kind == SpanKind::Consumer as u64),
    )
}

/// Splits a request into the first and the second half of its spans, in order;
/// `None` for fewer than two spans.
///
/// # Errors
/// [`Malformed`] bytes.
pub fn halves(request: &[u8]) -> Result<Option<(EncodedBatch, EncodedBatch)>, Malformed> {
    let groups = groups(request)?;
    let total: usize = groups.iter().map(|group| group.spans.len()).sum();
    if total < 2 {
        return Ok(None);
    }
    let mut first = Half::default();
    let mut second = Half::default();
    let mut room = total / 2;
    for group in &groups {
        let (left, right) = group.spans.split_at(group.spans.len().min(room));
        room -= left.len();
        first.push(group, left);
        second.push(group, right);
    }
    Ok(Some((first.into(), second.into())))
}

/// Splits a request into the first and the second half of its processes, in
/// order; `None` for fewer than two. Both share the bytes of the original.
///
/// # Errors
/// [`Malformed`] bytes.
pub fn process_halves(
    request: &EncodedBatch,
) -> Result<Option<(EncodedBatch, EncodedBatch)>, Malformed> {
    let mut ends = Vec::new();
    let mut end = 0;
    for field in Fields::new(&request.bytes) {
        let field = field?;
        end += field.raw.len();
        if field.number == 1 {
            ends.push(end);
        }
    }
    let Some(&middle) = ends
        .len()
        .checked_sub(2)
        .and_then(|_| ends.get(ends.len() / 2 - 1))
    else {
        return Ok(None);
    };
    let first = request.bytes.slice(..middle);
    let spans = count_spans(&first)?;
    let second = EncodedBatch {
        bytes: request.bytes.slice(middle..),
        spans: request.spans.saturating_sub(spans),
    };
    Ok(Some((
        EncodedBatch {
            bytes: first,
            spans,
        },
        second,
    )))
}

fn groups(request: &[u8]) -> Result<Vec<Group<'_>>, Malformed> {
    let mut groups = Vec::new();
    for field in Fields::new(request) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let mut resource = Vec::new();
        let mut scopes = Vec::new();
        for field in Fields::new(field.value.bytes()) {
            let field = field?;
            match field.number {
                2 => scopes.push(field.value.bytes()),
                _ => resource.extend_from_slice(field.raw),
            }
        }
        for scope in scopes {
            groups.push(group(&resource, scope)?);
        }
    }
    Ok(groups)
}

fn group<'a>(resource: &[u8], message: &'a [u8]) -> Result<Group<'a>, Malformed> {
    let mut scope = Vec::new();
    let mut spans = Vec::new();
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            2 => spans.push(field.raw),
            _ => scope.extend_from_slice(field.raw),
        }
    }
    Ok(Group {
        resource: resource.to_vec(),
        scope,
        spans,
    })
}

/// A request being built.
#[derive(Default)]
struct Half {
    bytes: Vec<u8>,
    spans: usize,
}

impl Half {
    fn push(&mut self, group: &Group<'_>, spans: &[&[u8]]) {
        if spans.is_empty() {
            return;
        }
        let mut scope = group.scope.clone();
        for span in spans {
            scope.extend_from_slice(span);
        }
        let mut resource = group.resource.clone();
        push_bytes(&mut resource, 2, &scope);
        push_bytes(&mut self.bytes, 1, &resource);
        self.spans += calls(spans);
    }
}

impl From<Half> for EncodedBatch {
    fn from(half: Half) -> Self {
        Self {
            bytes: Bytes::from(half.bytes),
            spans: u32::try_from(half.spans).unwrap_or(u32::MAX),
        }
    }
}
