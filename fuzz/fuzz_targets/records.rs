//! Takes made-up ring buffer records all the way: decodes them, makes spans of them, encodes those,
//! and reads the result back with opentelemetry-proto. It must equal what opentelemetry-proto's own
//! types would have made, in protobuf and in JSON.
#![no_main]

#[path = "../../agent/tests/reference/mod.rs"]
mod reference;

use libfuzzer_sys::fuzz_target;
use mqspan::internals::encode::{json, split};
use mqspan::internals::event::{Call, Event};
use mqspan::internals::config::Correlation;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message as _;

/// Parses repeated records, each after its length in two bytes, little-endian.
fn calls(mut bytes: &[u8]) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let len = rest.len().min(u16::from_le_bytes(*len).into());
        let (record, rest) = rest.split_at(len);
        bytes = rest;
        if let Ok(Event::Call(mut call)) = Event::parse(record) {
            call.process.pid %= reference::PROCESSES;
            calls.push(call);
        }
    }
    calls
}

fuzz_target!(|bytes: &[u8]| {
    let Some((settings, records)) = bytes.split_first() else {
        return;
    };
    let correlation = match settings % 3 {
        0 => Correlation::Parent,
        1 => Correlation::Link,
        _ => Correlation::None,
    };
    let max_bytes = if settings & 0x80 == 0 { 1 << 20 } else { 1_500 };
    for (encoded, built) in reference::encode_all(&calls(records), correlation, max_bytes) {
        let read = ExportTraceServiceRequest::decode(encoded.bytes.clone()).expect("protobuf");
        assert_eq!(read, built);
        assert_eq!(split::count_spans(&encoded.bytes), Ok(encoded.spans));
        let mut line = Vec::new();
        json::traces_data_line(&mut line, &encoded.bytes).expect("what we have encoded");
        let read: TracesData = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(read.resource_spans, built.resource_spans);
    }
});
