//! Compares our encoder with opentelemetry-proto's messages in one run.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../tests/reference/mod.rs"]
mod reference;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mqspan::internals::config::Compression;
use mqspan::internals::config::Correlation;
use mqspan::internals::encode::{self, Batch, Push, json, otlp, wire::WireWriter};
use mqspan::internals::event::Call;
use mqspan::internals::export::compress::Compressor;
use mqspan::internals::span::{AttributeSink, Span};
use prost::Message as _;

#[derive(Default)]
struct Count(usize);

impl AttributeSink for Count {
    fn text(&mut self, _: &'static str, _: &str) {
        self.0 += 1;
    }
    fn int(&mut self, _: &'static str, _: i64) {
        self.0 += 1;
    }
    fn double(&mut self, _: &'static str, _: f64) {
        self.0 += 1;
    }
    fn bool(&mut self, _: &'static str, _: bool) {
        self.0 += 1;
    }
    fn bytes(&mut self, _: &'static str, _: &[u8]) {
        self.0 += 1;
    }
}

fn span_bytes(c: &mut Criterion, name: &str, call: &Call<'_>) {
    let settings = reference::settings(Correlation::Parent);
    let span = Span::new(call, &settings, reference::unix_ns(call));
    let mut count = Count::default();
    span.attributes(&mut count);
    let mut room = vec![0; 1 << 12];
    let bytes = otlp::span(WireWriter::new(&mut room), &span)
        .finish()
        .unwrap();
    println!("{name}: {} attributes, {bytes} bytes a span", count.0);

    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group.bench_function("ours", |b| {
        b.iter(|| otlp::span(WireWriter::new(black_box(&mut room)), black_box(&span)).finish());
    });
    group.bench_function("ours, from the call", |b| {
        b.iter(|| {
            let span = Span::new(black_box(call), &settings, reference::unix_ns(call));
            otlp::span(WireWriter::new(black_box(&mut room)), &span).finish()
        });
    });
    let mut out = Vec::with_capacity(1 << 12);
    group.bench_function("opentelemetry-proto, build and encode", |b| {
        b.iter(|| {
            out.clear();
            reference::proto_span(black_box(&span))
                .encode(&mut out)
                .unwrap();
            out.len()
        });
    });
    let message = reference::proto_span(&span);
    group.bench_function("opentelemetry-proto, encode only", |b| {
        b.iter(|| {
            out.clear();
            black_box(&message).encode(&mut out).unwrap();
            out.len()
        });
    });
    group.finish();
}

fn spans(c: &mut Criterion) {
    span_bytes(c, "receive", &reference::receive());
    span_bytes(
        c,
        "receive with timeout and sender",
        &reference::full_receive(),
    );
}

fn batches(c: &mut Criterion) {
    let call = reference::receive();
    let settings = reference::settings(Correlation::Parent);
    let span = Span::new(&call, &settings, reference::unix_ns(&call));
    let mut group = c.benchmark_group("batch of 1 MiB, a span");
    for processes in [1_u32, 2, 1_000] {
        let resources: Vec<_> = (0..processes)
            .map(|pid| Arc::new(encode::resource(&reference::resource(pid))))
            .collect();
        let keys: Vec<_> = (0..processes).map(reference::process).collect();
        let mut batch = Batch::new(1 << 20);
        let mut fill = || {
            let mut at = 0;
            while batch.push(keys[at], &resources[at], &span) == Push::Added {
                at = (at + 1) % keys.len();
            }
            batch.take()
        };
        let spans = fill().spans;
        println!("{processes} processes: {spans} spans a batch");
        group.throughput(Throughput::Elements(spans.into()));
        group.bench_function(format!("{processes} processes"), |b| {
            b.iter_batched(|| (), |()| fill(), BatchSize::PerIteration);
        });
        let request = fill();
        let mut line = Vec::new();
        group.bench_function(format!("{processes} processes, as JSON"), |b| {
            b.iter(|| {
                line.clear();
                json::traces_data_line(&mut line, &request.bytes).unwrap();
            });
        });
    }
    group.finish();
}

/// Compresses a batch whose spans vary as real ones do.
fn compression(c: &mut Criterion) {
    let settings = reference::settings(Correlation::Parent);
    let resource = Arc::new(encode::resource(&reference::resource(1)));
    let mut batch = Batch::new(1 << 20);
    for at in 0_u32.. {
        let mut call = reference::full_receive();
        call.start_ns += u64::from(at) * 104_729;
        call.end_ns = call.start_ns + 9_000 + u64::from(at.wrapping_mul(2_654_435_761) >> 18);
        call.tid += at % 8;
        call.ret = i64::from(at.wrapping_mul(40_503) % 512);
        let span = Span::new(&call, &settings, reference::unix_ns(&call));
        if batch.push(call.process, &resource, &span) != Push::Added {
            break;
        }
    }
    let batch = batch.take();
    let mut group = c.benchmark_group("compression, a span");
    group.throughput(Throughput::Elements(batch.spans.into()));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let compressor = Compressor::new(compression);
        let bytes = compressor.compress(batch.bytes.clone()).unwrap().len() as u64;
        println!(
            "{compression:?}: {} spans, {} to {bytes} bytes, {} a span",
            batch.spans,
            batch.bytes.len(),
            bytes / u64::from(batch.spans)
        );
        group.bench_function(format!("{compression:?}"), |b| {
            b.iter(|| compressor.compress(batch.bytes.clone()).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, spans, batches, compression);
criterion_main!(benches);
