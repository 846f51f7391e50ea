//! Reads OTLP's JSON encoding with opentelemetry-proto's own types.

use std::sync::Arc;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use serde_json::Value;

use crate::span::{Origin, Traced, attributes, flatten};

/// Parses what the file exporter writes: one `TracesData` per line.
pub fn traces_data_lines(text: &str) -> Result<Vec<Traced>> {
    let mut spans = Vec::new();
    for line in text.lines() {
        let context = || format!("not OTLP/JSON: {line}");
        let mut data: Value = serde_json::from_str(line).with_context(context)?;
        fill_entity_refs(&mut data);
        let data: TracesData = serde_json::from_value(data).with_context(context)?;
        spans.extend(flatten(data.resource_spans));
    }
    Ok(spans)
}

/// Writers may leave out what is empty; opentelemetry-proto wants the lists of an entity all the same.
fn fill_entity_refs(data: &mut Value) {
    let resources = data.get_mut("resourceSpans").and_then(Value::as_array_mut);
    let entities = resources
        .into_iter()
        .flatten()
        .filter_map(|resource| resource.pointer_mut("/resource/entityRefs"))
        .filter_map(Value::as_array_mut)
        .flatten();
    for entity in entities.filter_map(Value::as_object_mut) {
        for key in ["idKeys", "descriptionKeys"] {
            entity
                .entry(key)
                .or_insert_with(|| Value::Array(Vec::new()));
        }
    }
}

/// Parses the output of `mqspan trace --output json`: one span per line, with its `resource` next
/// to its fields.
pub fn span_lines(text: &str) -> Result<Vec<Traced>> {
    let mut spans = Vec::new();
    for line in text.lines() {
        let context = || format!("not a span with its resource: {line}");
        let mut object: serde_json::Map<String, Value> =
            serde_json::from_str(line).with_context(context)?;
        let resource = object.remove("resource").with_context(context)?;
        let resource: Resource = serde_json::from_value(resource).with_context(context)?;
        let span: Span = serde_json::from_value(Value::Object(object)).with_context(context)?;
        spans.push(Traced {
            span,
            origin: Arc::new(Origin {
                resource: attributes(&resource.attributes).0,
                ..Origin::default()
            }),
        });
    }
    Ok(spans)
}
