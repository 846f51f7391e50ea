//! The process context of OTEP 4719: a header in a mapping of its own, and a
//! payload in protobuf.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::memory::{Memory, Refused, read_array};
use crate::resource::AttributeValue;

const SIGNATURE: &[u8; 8] = b"OTEL_CTX";
const VERSION: u32 = 2;
/// Keys of 256 thread attributes and some dozens of resource attributes.
const MAX_PAYLOAD: usize = 64 << 10;
/// Attributes that are read at all. What a resource takes of them is less.
const MAX_ATTRIBUTES: usize = 1024;
/// How often to read a context that changes meanwhile.
const ATTEMPTS: usize = 3;

/// Which layout the records of threads have, in the attributes beside the
/// resource. Others are for runtimes without a TLS variable.
const SCHEMA_KEY: &str = "threadlocal.schema_version";
const SCHEMAS: [&str; 3] = ["tls_v1", "tlsdesc_v1", "tlsdesc_v1_dev"];

#[derive(Debug, PartialEq)]
pub(super) struct Published {
    pub(super) resource: Vec<(String, AttributeValue)>,
    /// Threads have their spans in a TLS variable.
    pub(super) threads_publish: bool,
}

/// `ProcessContext` of OTEP 4719.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ProcessContext {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    payload_size: u32,
    /// 0 while it changes.
    published_at_ns: u64,
    payload: u64,
}

impl Header {
    /// `None` if there is none, or of a version that is not known.
    fn read(memory: &impl Memory, at: u64, is_64_bit: bool) -> Result<Option<Self>, Refused> {
        let bytes: [u8; 32] = read_array(memory, at)?;
        let word = |from: usize| -> u64 {
            let word = bytes
                .get(from..from + 8)
                .and_then(|word| word.try_into().ok());
            word.map_or(0, u64::from_ne_bytes)
        };
        let half = |from: usize| -> u32 {
            let half = bytes
                .get(from..from + 4)
                .and_then(|half| half.try_into().ok());
            half.map_or(0, u32::from_ne_bytes)
        };
        if bytes.get(..8) != Some(SIGNATURE) || half(8) != VERSION {
            return Ok(None);
        }
        Ok(Some(Self {
            payload_size: half(12),
            published_at_ns: word(16),
            payload: if is_64_bit { word(24) } else { half(24).into() },
        }))
    }
}

impl Published {
    /// Reads the context whose mapping starts at `at`. `None` if there is none, or
    /// one that is not finished.
    pub(super) fn read(
        memory: &impl Memory,
        at: u64,
        is_64_bit: bool,
    ) -> Result<Option<Self>, Refused> {
        for _ in 0..ATTEMPTS {
            let Some(header) = Header::read(memory, at, is_64_bit)? else {
                return Ok(None);
            };
            if header.published_at_ns == 0 {
                continue;
            }
            let size = header.payload_size as usize;
            if size > MAX_PAYLOAD {
                return Err(Refused::TooMuch);
            }
            let mut payload = vec![0; size];
            let read = memory.read(header.payload, &mut payload);
            // A payload that is replaced meanwhile may be gone.
            if Header::read(memory, at, is_64_bit)? == Some(header) {
                return read.and_then(|()| Self::decode(&payload)).map(Some);
            }
        }
        Ok(None)
    }

    fn decode(payload: &[u8]) -> Result<Self, Refused> {
        let context = ProcessContext::decode(payload).map_err(|_| Refused::Unreadable)?;
        let schema = context
            .attributes
            .into_iter()
            .find(|pair| pair.key == SCHEMA_KEY)
            .and_then(|pair| pair.value?.value);
        let threads_publish = matches!(
            schema,
            Some(Value::StringValue(schema)) if SCHEMAS.contains(&&*schema)
        );
        let attributes = context.resource.unwrap_or_default().attributes;
        Ok(Self {
            resource: attributes
                .into_iter()
                .take(MAX_ATTRIBUTES)
                .filter_map(|pair| Some((pair.key, value_of(pair.value?)?)))
                .collect(),
            threads_publish,
        })
    }
}

/// Lists and maps are left out.
fn value_of(value: AnyValue) -> Option<AttributeValue> {
    Some(match value.value? {
        Value::StringValue(text) => AttributeValue::String(text),
        Value::BoolValue(value) => AttributeValue::Bool(value),
        Value::IntValue(value) => AttributeValue::Int(value),
        Value::DoubleValue(value) if value.is_finite() => AttributeValue::Double(value),
        _ => return None,
    })
}
