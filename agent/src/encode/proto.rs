//! A resource as messages of `opentelemetry-proto`, for metrics and logs.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, EntityRef, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;

use super::SCHEMA_URL;
use super::entity::entities;
use crate::resource::{AttributeValue, Resource};

impl From<&Resource> for ProtoResource {
    fn from(resource: &Resource) -> Self {
        let attributes = resource.attributes.iter().map(|(key, value)| KeyValue {
            key: key.clone().into_owned(),
            value: Some(any(value)),
            ..KeyValue::default()
        });
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let entities = entities(resource.keys()).map(|entity| EntityRef {
            schema_url: SCHEMA_URL.to_owned(),
            r#type: entity.kind.to_owned(),
            id_keys: owned(entity.id_keys),
            description_keys: owned(&entity.description_keys),
        });
        Self {
            attributes: attributes.collect(),
            entity_refs: entities.collect(),
            ..Self::default()
        }
    }
}

fn any(value: &AttributeValue) -> AnyValue {
    let text = |text: &String| Value::StringValue(text.clone());
    let value = match value {
        AttributeValue::String(value) => text(value),
        AttributeValue::Int(number) => Value::IntValue(*number),
        AttributeValue::Double(number) => Value::DoubleValue(*number),
        AttributeValue::Bool(yes) => Value::BoolValue(*yes),
        AttributeValue::Strings(texts) => {
            let values = texts.iter().map(|value| AnyValue {
                value: Some(text(value)),
            });
            Value::ArrayValue(ArrayValue {
                values: values.collect(),
            })
        }
    };
    AnyValue { value: Some(value) }
}
