//! `sdk-path ENDPOINT SPANS`: makes spans with the attributes of one receive by mqspan, and sends them over OTLP/gRPC
//! by the SDK's own batch processor and exporter, as fast as that goes without losing one.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use opentelemetry::trace::{Span as _, SpanKind, Tracer as _, TracerProvider as _};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};

/// As many as mqspan has in a request of 1 MiB.
const BATCH: usize = 1_600;

fn resource() -> Resource {
    let command: Vec<_> = ["mqwork", "flood", "100000"].map(Into::into).into();
    Resource::builder()
        .with_service_name("mqwork-x86_64")
        .with_attributes([
            KeyValue::new("process.pid", 4_242),
            KeyValue::new("process.executable.name", "mqwork-x86_64"),
            KeyValue::new("process.command_args", Value::Array(Array::String(command))),
            KeyValue::new("process.creation.time", "2026-11-24T05:58:30.120Z"),
            KeyValue::new("host.name", "node-1"),
            KeyValue::new("host.arch", "amd64"),
            KeyValue::new("os.type", "linux"),
        ])
        .build()
}

fn attributes(call: i64) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "posix_mq"),
        KeyValue::new("messaging.operation.name", "mq_timedreceive"),
        KeyValue::new("messaging.operation.type", "receive"),
        KeyValue::new("messaging.destination.name", "/bench.flood"),
        KeyValue::new("messaging.message.body.size", 64),
        KeyValue::new("posix_mq.mqdes", 3),
        KeyValue::new("posix_mq.msg_len", 64),
        KeyValue::new("posix_mq.priority", 1),
        KeyValue::new("posix_mq.return", 64),
        KeyValue::new("posix_mq.queue.depth", call % 2),
        KeyValue::new("posix_mq.queue.max_messages", 2),
        KeyValue::new("posix_mq.queue.max_message_size", 64),
        KeyValue::new("posix_mq.ipc_namespace", 4_026_531_839_i64),
        KeyValue::new("posix_mq.abi", "x86_64"),
        KeyValue::new("thread.id", 4_243),
        KeyValue::new("thread.name", "mqwork-x86_64"),
    ]
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let endpoint = args.next().context("usage: sdk-path ENDPOINT SPANS")?;
    let spans: usize = args.next().context("how many spans?")?.parse()?;
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()?;
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(spans)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(Duration::from_millis(200))
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(config)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_span_processor(processor)
        .build();
    let tracer = provider.tracer("mqspan");
    for call in 0..i64::try_from(spans)? {
        let start = SystemTime::now();
        tracer
            .span_builder("mq_timedreceive /bench.flood")
            .with_kind(SpanKind::Client)
            .with_start_time(start)
            .with_attributes(attributes(call))
            .start(&tracer)
            .end_with_timestamp(start + Duration::from_micros(1));
    }
    // Blocks until all are sent: not on a thread of the runtime, which sends.
    tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(Duration::from_secs(60)))
        .await??;
    Ok(())
}
