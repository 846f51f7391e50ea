//! Turns the bytes that [`super::otlp`] and [`super::Batch`] write into
//! OTLP/JSON.
//!
//! Source: "JSON Protobuf Encoding" of the OTLP specification (ids in lower
//! case hexadecimal, enums as numbers, 64-bit integers as decimal strings) and
//! the "OpenTelemetry Protocol File Exporter" specification (one `TracesData`
//! object per line). The input is bytes rather than spans, so that only one
//! place says what a span consists of.

use std::io::Write as _;

use crate::span::Span;

use super::otlp;
use super::resource::EncodedResource;
use super::wire::{Field, FieldValue, Fields, Malformed, WireWriter};

/// Appends a request as one line, a `TracesData` object, which the Collector's
/// `otlpjsonfile` receiver reads.
///
/// # Errors
/// [`Malformed`] if the bytes are not a request; `out` then holds part of a
/// line.
pub fn traces_data_line(out: &mut Vec<u8>, request: &[u8]) -> Result<(), Malformed> {
    out.extend_from_slice(b"{\"resourceSpans\":[");
    each(out, request, 1, resource_spans)?;
    out.extend_from_slice(b"]}\n");
    Ok(())
}

/// Appends a span as one flat line: the fields of OTLP's `Span`, then
/// `resource` and `scope`. This is the format of `mqspan trace --output json`.
///
/// # Errors
/// None for spans that this crate encodes.
pub fn span_line(
    out: &mut Vec<u8>,
    resource: &EncodedResource,
    span: &Span<'_>,
) -> Result<(), Malformed> {
    let mut room = vec![0; 4 << 10];
    let written = loop {
        match otlp::span(WireWriter::new(&mut room), span).finish() {
            Some(written) => break written,
            None => room.resize(room.len() * 2, 0),
        }
    };
    let message = first(room.get(..written).unwrap_or_default(), 2)?;
    out.push(b'{');
    span_fields(out, message)?;
    out.extend_from_slice(b",\"resource\":");
    let body = resource.head().get(5..).unwrap_or_default();
    resource_object(out, first(body, 1)?)?;
    out.extend_from_slice(b",\"scope\":");
    let scope_at = resource.scope_len_at() + 4;
    let scope = resource.head().get(scope_at..).unwrap_or_default();
    scope_object(out, first(scope, 1)?)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// The bytes of the first field with this number.
fn first(message: &[u8], number: u32) -> Result<&[u8], Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        if field.number == number {
            return Ok(field.value.bytes());
        }
    }
    Err(Malformed)
}

/// Writes the elements of a repeated field, separated by commas.
fn each(
    out: &mut Vec<u8>,
    message: &[u8],
    number: u32,
    write: fn(&mut Vec<u8>, &[u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut any = false;
    for field in Fields::new(message) {
        let field = field?;
        if field.number == number {
            if any {
                out.push(b',');
            }
            any = true;
            write(out, field.value.bytes())?;
        }
    }
    Ok(())
}

/// Writes `"key":`, after a comma unless it is the first of an object.
fn key(out: &mut Vec<u8>, key: &str) {
    if !out.ends_with(b"{") {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn has(message: &[u8], number: u32) -> bool {
    Fields::new(message)
        .filter_map(Result::ok)
        .any(|field| field.number == number)
}

fn resource_spans(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.extend_from_slice(b"{\"resource\":");
    resource_object(out, first(message, 1)?)?;
    key(out, "scopeSpans");
    out.push(b'[');
    each(out, message, 2, scope_spans)?;
    out.push(b']');
    schema_url(out, message)
}

fn scope_spans(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.extend_from_slice(b"{\"scope\":");
    scope_object(out, first(message, 1)?)?;
    key(out, "spans");
    out.push(b'[');
    each(out, message, 2, span_object)?;
    out.push(b']');
    schema_url(out, message)
}

/// Writes the schema, the last field of both containers, and closes their
/// object.
fn schema_url(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    if has(message, 3) {
        key(out, "schemaUrl");
        text(out, first(message, 3)?);
    }
    out.push(b'}');
    Ok(())
}

fn scope_object(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.push(b'{');
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => key(out, "name"),
            2 => key(out, "version"),
            _ => continue,
        }
        text(out, field.value.bytes());
    }
    out.push(b'}');
    Ok(())
}

/// `{"attributes": [...], "entityRefs": [...]}`.
fn resource_object(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.push(b'{');
    attributes(out, message, 1)?;
    if has(message, 3) {
        key(out, "entityRefs");
        out.push(b'[');
        each(out, message, 3, entity_ref)?;
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}

fn entity_ref(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.push(b'{');
    for (number, name) in [(1, "schemaUrl"), (2, "type")] {
        key(out, name);
        text(out, first(message, number)?);
    }
    for (number, name) in [(3, "idKeys"), (4, "descriptionKeys")] {
        key(out, name);
        out.push(b'[');
        each(out, message, number, |out, bytes| {
            text(out, bytes);
            Ok(())
        })?;
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}

fn attributes(out: &mut Vec<u8>, message: &[u8], number: u32) -> Result<(), Malformed> {
    key(out, "attributes");
    out.push(b'[');
    each(out, message, number, key_value)?;
    out.push(b']');
    Ok(())
}

fn span_object(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.push(b'{');
    span_fields(out, message)?;
    out.push(b'}');
    Ok(())
}

fn span_fields(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => hex(out, "traceId", field),
            2 => hex(out, "spanId", field),
            3 => {
                key(out, "traceState");
                text(out, field.value.bytes());
            }
            4 => hex(out, "parentSpanId", field),
            5 => {
                key(out, "name");
                text(out, field.value.bytes());
            }
            6 => number(out, "kind", field),
            7 => decimal(out, "startTimeUnixNano", field),
            8 => decimal(out, "endTimeUnixNano", field),
            16 => number(out, "flags", field),
            _ => {}
        }
    }
    attributes(out, message, 9)?;
    if has(message, 13) {
        key(out, "links");
        out.push(b'[');
        each(out, message, 13, link)?;
        out.push(b']');
    }
    if has(message, 15) {
        key(out, "status");
        status(out, first(message, 15)?)?;
    }
    Ok(())
}

fn link(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.push(b'{');
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => hex(out, "traceId", field),
            2 => hex(out, "spanId", field),
            6 => number(out, "flags", field),
            _ => {}
        }
    }
    attributes(out, message, 4)?;
    out.push(b'}');
    Ok(())
}

fn status(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.push(b'{');
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            2 => {
                key(out, "message");
                text(out, field.value.bytes());
            }
            3 => number(out, "code", field),
            _ => {}
        }
    }
    out.push(b'}');
    Ok(())
}

fn key_value(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.push(b'{');
    key(out, "key");
    text(out, first(message, 1)?);
    key(out, "value");
    out.push(b'{');
    for field in Fields::new(first(message, 2)?) {
        let field = field?;
        if field.number == 5 {
            key(out, "arrayValue");
            out.extend_from_slice(b"{\"values\":[");
            each(out, field.value.bytes(), 1, element)?;
            out.extend_from_slice(b"]}");
        } else {
            scalar(out, field);
        }
    }
    out.extend_from_slice(b"}}");
    Ok(())
}

/// An element of an array, which is no array itself.
fn element(out: &mut Vec<u8>, message: &[u8]) -> Result<(), Malformed> {
    out.push(b'{');
    for field in Fields::new(message) {
        scalar(out, field?);
    }
    out.push(b'}');
    Ok(())
}

fn scalar(out: &mut Vec<u8>, field: Field<'_>) {
    match field.number {
        1 => {
            key(out, "stringValue");
            text(out, field.value.bytes());
        }
        2 => {
            key(out, "boolValue");
            let value = field.value.number() != 0;
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
        3 => {
            key(out, "intValue");
            let value = field.value.number().cast_signed();
            write_all(out, format_args!("\"{value}\""));
        }
        4 => {
            key(out, "doubleValue");
            double(out, f64::from_bits(field.value.number()));
        }
        7 => {
            key(out, "bytesValue");
            base64(out, field.value.bytes());
        }
        _ => {}
    }
}

/// Writes a number, or the string that the Protobuf JSON mapping has for one
/// that is not finite.
fn double(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        // `Display` gives 1.0 as `1`, which would read as an integer. `Debug`
        // keeps the point and is also the shortest text that reads back the
        // same.
        write_all(out, format_args!("{value:?}"));
    } else if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value > 0.0 {
        out.extend_from_slice(b"\"Infinity\"");
    } else {
        out.extend_from_slice(b"\"-Infinity\"");
    }
}

fn number(out: &mut Vec<u8>, name: &str, field: Field<'_>) {
    key(out, name);
    write_all(out, format_args!("{}", field.value.number()));
}

fn decimal(out: &mut Vec<u8>, name: &str, field: Field<'_>) {
    key(out, name);
    write_all(out, format_args!("\"{}\"", field.value.number()));
}

fn hex(out: &mut Vec<u8>, name: &str, field: Field<'_>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    key(out, name);
    out.push(b'"');
    if let FieldValue::Len(bytes) = field.value {
        out.extend(
            bytes
                .iter()
                .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]),
        );
    }
    out.push(b'"');
}

/// Writes an escaped string. Bytes that are not UTF-8 become U+FFFD.
fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // Writing to a vector does not fail, and a string is always valid JSON.
    if serde_json::to_writer(&mut *out, &text).is_err() {
        out.extend_from_slice(b"\"\"");
    }
}

/// Standard base64 with padding (RFC 4648 section 4).
fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at) & 63) as usize;
            out.push(match DIGITS.get(digit) {
                Some(&digit) if at <= chunk.len() => digit,
                _ => b'=',
            });
        }
    }
    out.push(b'"');
}

fn write_all(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector does not fail.
    out.write_fmt(text).unwrap_or_default();
}
