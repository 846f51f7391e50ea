//! Counting a call allocates nothing once its series is warm.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod oracle;

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use mqspan::event::{Call, Queue};
use mqspan::metrics::QueueMetrics;
use mqspan::metrics::exchange::exchange;
use mqspan::metrics::queues::MAX_SERIES;

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
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test only: the counter is the whole process's. More queues than there
/// are series, so that those without one of their own are among them.
#[test]
fn a_call_costs_no_allocation() {
    let calls: Vec<Call<'_>> = (0..MAX_SERIES + 100)
        .map(|number| Call {
            name: Some(Cow::Owned(format!("/queue-{number}"))),
            queue: (number % 10 != 0).then_some(Queue {
                ino: number as u64,
                max_messages: 10,
                max_message_size: 64,
            }),
            ret: if number % 3 == 0 { -110 } else { 8 },
            ..oracle::full_receive()
        })
        .collect();
    let (publisher, _reader) = exchange();
    let mut metrics = QueueMetrics::new(publisher);
    let mut count = || {
        for call in &calls {
            metrics.call(call);
        }
        metrics.tick();
    };
    count();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    count();
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}
