use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message as _;

use super::memory::{Memory, read_array};
use super::published::ProcessContext;
use super::*;

/// Memory that is made up: bytes from an address on.
struct Made {
    at: u64,
    bytes: Vec<u8>,
}

impl Memory for Made {
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Refused> {
        let from = at.checked_sub(self.at).ok_or(Refused::Unreadable)?;
        let from = usize::try_from(from).map_err(|_| Refused::Unreadable)?;
        let there = self
            .bytes
            .get(from..)
            .and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(there.ok_or(Refused::Unreadable)?);
        Ok(())
    }
}

const AT: u64 = 0x7000_0000_0000;

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

fn payload(schema: &str) -> Vec<u8> {
    ProcessContext {
        resource: Some(Resource {
            attributes: vec![
                pair("service.name", text("shop")),
                pair("replicas", Value::IntValue(3)),
                pair("share", Value::DoubleValue(f64::NAN)),
                pair("bytes", Value::BytesValue(vec![1])),
            ],
            ..Resource::default()
        }),
        attributes: vec![pair("threadlocal.schema_version", text(schema))],
    }
    .encode_to_vec()
}

/// A header, 32 bytes, and the payload behind it.
fn context(version: u32, size: u32, published_at_ns: u64, payload: &[u8]) -> Made {
    let mut bytes = b"OTEL_CTX".to_vec();
    bytes.extend(version.to_ne_bytes());
    bytes.extend(size.to_ne_bytes());
    bytes.extend(published_at_ns.to_ne_bytes());
    bytes.extend((AT + 32).to_ne_bytes());
    bytes.extend(payload);
    Made { at: AT, bytes }
}

fn read(memory: &Made) -> Result<Option<Published>, Refused> {
    Published::read(memory, AT, true)
}

#[test]
fn a_process_context_is_read_and_no_other() {
    let payload = payload("tls_v1");
    let size = u32::try_from(payload.len()).unwrap();
    let published = read(&context(2, size, 1, &payload)).unwrap().unwrap();
    assert!(published.threads_publish);
    assert_eq!(
        published.resource,
        [
            (
                "service.name".to_owned(),
                AttributeValue::String("shop".to_owned())
            ),
            ("replicas".to_owned(), AttributeValue::Int(3)),
        ]
    );
    // Of another version, or still being written.
    assert_eq!(read(&context(3, size, 1, &payload)), Ok(None));
    assert_eq!(read(&context(2, size, 0, &payload)), Ok(None));
    // Too large, cut, not there, no protobuf.
    let huge = context(2, u32::MAX, 1, &payload);
    assert_eq!(read(&huge), Err(Refused::TooMuch));
    let cut = context(2, size - 1, 1, &payload);
    assert_eq!(read(&cut), Err(Refused::Unreadable));
    let absent = context(2, size + 1, 1, &payload);
    assert_eq!(read(&absent), Err(Refused::Unreadable));
    let garbage = context(2, size, 1, &vec![0xff; payload.len()]);
    assert_eq!(read(&garbage), Err(Refused::Unreadable));
}

#[test]
fn threads_of_other_runtimes_have_no_variable() {
    let payload = payload("go_pprof_labels_v1");
    let size = u32::try_from(payload.len()).unwrap();
    let published = read(&context(2, size, 1, &payload)).unwrap().unwrap();
    assert!(!published.threads_publish);
}

#[test]
fn reads_are_bounded_by_number_bytes_and_time() {
    let pid = std::process::id();
    let byte = 7_u8;
    let at = (&raw const byte).addr() as u64;
    let memory = ProcessMemory::new(pid, Instant::now() + Duration::from_secs(60));
    let mut reads = 0;
    while read_array::<1>(&memory, at) == Ok([byte]) {
        reads += 1;
    }
    assert_eq!(reads, 20_000);
    let memory = ProcessMemory::new(pid, Instant::now() + Duration::from_secs(60));
    assert_eq!(
        memory.read(at, &mut vec![0; 17 << 20]),
        Err(Refused::TooMuch)
    );
    let memory = ProcessMemory::new(pid, Instant::now());
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(read_array::<1>(&memory, at), Err(Refused::TooMuch));
    let memory = ProcessMemory::new(pid, Instant::now() + Duration::from_secs(60));
    assert_eq!(read_array::<1>(&memory, 8), Err(Refused::Unreadable));
}

#[test]
fn this_process_publishes_nothing() {
    let found = discover(std::process::id(), Instant::now() + Duration::from_secs(10));
    assert_eq!(found, Ok(None));
}

/// Looks for the variable in what is at [`AT`], as a process of 64 and of 32 bits.
fn look(memory: &Made) {
    for is_64_bit in [true, false] {
        let maps = Maps {
            images: vec![AT],
            is_64_bit,
            ..Maps::default()
        };
        // What it finds does not matter, but that it ends.
        tls::find(memory, &maps, &[]).unwrap_or_default();
    }
}

#[test]
fn own_images_break_nothing_where_they_are_broken() {
    // The beginning of this program, with a byte changed or cut.
    let program = std::fs::read("/proc/self/exe").unwrap();
    let start = program.get(..4096).unwrap();
    for at in 0..512 {
        for change in [0, 1, 0x7f, 0xff] {
            let mut bytes = start.to_vec();
            bytes[at] = change;
            look(&Made { at: AT, bytes });
        }
        let bytes = start[..at].to_vec();
        look(&Made { at: AT, bytes });
    }
}

proptest! {
    #[test]
    fn any_bytes_end(
        mut bytes in prop::collection::vec(any::<u8>(), 0..4096),
        is_elf in any::<bool>(),
    ) {
        if is_elf && bytes.len() > 64 {
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            // Machine, and program headers behind the header.
            bytes[18..20].copy_from_slice(&62_u16.to_ne_bytes());
            bytes[32..40].copy_from_slice(&64_u64.to_ne_bytes());
            let headers = bytes[56] % 64;
            bytes[54..58].copy_from_slice(&[56, 0, headers, 0]);
        }
        look(&Made { at: AT, bytes: bytes.clone() });
        drop(read(&Made { at: AT, bytes }));
    }

    #[test]
    fn any_payload_ends(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let size = u32::try_from(bytes.len()).unwrap_or(0);
        drop(read(&context(2, size, 1, &bytes)));
    }
}
