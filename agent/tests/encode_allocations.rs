//! Encoding allocates nothing per span once warm.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod oracle;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mqspan::encode::{self, Batch, Push};
use mqspan::span::{Correlation, Span};

/// Counts what the system's allocator is asked for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on as it is to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test only: the counter is the whole process's.
#[test]
fn a_batch_costs_its_own_bytes_and_no_more() {
    let calls = [oracle::receive(), oracle::full_receive()];
    let settings = oracle::settings(Correlation::Parent);
    let resources: Vec<_> = (0..100)
        .map(|pid| Arc::new(encode::resource(&oracle::resource(pid))))
        .collect();
    let mut batch = Batch::new(1 << 20);
    let mut fill = || {
        for round in 0.. {
            let span = Span::new(
                &calls[round % 2],
                &settings,
                oracle::unix_ns(&calls[round % 2]),
            );
            let process = oracle::process((round % 100) as u32);
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
    // The vector of the request; its owner when `Bytes` is shared comes later.
    assert!(
        allocations <= 2,
        "{allocations} allocations for {} spans",
        batch.spans
    );
}
