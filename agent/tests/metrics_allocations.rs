//! Counting a call allocates nothing once its series is warm.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod counting;
mod reference;

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use counting::ALLOCATIONS;
use mqspan::internals::event::{Call, Queue};
use mqspan::internals::histogram::Forms;
use mqspan::internals::metrics::QueueMetrics;
use mqspan::internals::metrics::exchange::exchange;
use mqspan::internals::metrics::series::MAX_SERIES;

/// The only test here, because the counter is process-wide. There are more queues than series, so
/// some calls have no series of their own.
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
            ..reference::full_receive()
        })
        .collect();
    for forms in [Forms::EXPLICIT, Forms::BOTH] {
        let (publisher, _reader) = exchange();
        let mut metrics = QueueMetrics::new(publisher, Duration::from_secs(60), forms);
        let mut count = || {
            for call in &calls {
                metrics.call(call);
                metrics.exemplar(call, ([1; 16], [1; 8]));
            }
            metrics.tick();
        };
        count();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        count();
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{forms:?}");
    }
}
