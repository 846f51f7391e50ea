//! Encoding allocates nothing per span once warm.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod counting;
mod reference;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use counting::ALLOCATIONS;
use mqspan::internals::config::Correlation;
use mqspan::internals::encode::{self, Batch, Push};
use mqspan::internals::span::Span;

/// The only test here, because the counter is process-wide.
#[test]
fn a_batch_costs_its_own_bytes_and_no_more() {
    let calls = [reference::receive(), reference::full_receive()];
    let settings = reference::settings(Correlation::Parent);
    let resources: Vec<_> = (0..100)
        .map(|pid| Arc::new(encode::resource(&reference::resource(pid))))
        .collect();
    let mut batch = Batch::new(1 << 20);
    let mut fill = || {
        for round in 0.. {
            let span = Span::new(
                &calls[round % 2],
                &settings,
                reference::unix_ns(&calls[round % 2]),
            );
            let process = reference::process((round % 100) as u32);
            if batch.push(process, &resources[round % 100], &span) != Push::Added {
                break;
            }
        }
        batch.take()
    };
    for _ in 0..3 {
        fill();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let batch = fill();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(batch.spans > 1_000, "{} spans", batch.spans);
    // The request's vector. `Bytes` allocates its shared owner later.
    assert!(
        allocations <= 2,
        "{allocations} allocations for {} spans",
        batch.spans
    );
}
