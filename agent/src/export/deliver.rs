//! Delivers batches from the queue to the collector: tries, retries, splits and
//! counts.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::config::{Otlp, Retry};
use crate::encode::EncodedBatch;
use crate::loss::Loss;

use super::answer::PartialSuccess;
use super::aside::Aside;
use super::client::Client;
use super::counters::{Counters, RejectReason};
use super::message::Message;
use super::operation::{ErrorType, Operation};
use super::queue::{BatchQueue, Lease};
use super::refusal::{Failure, code};
use super::retry::{Backoff, Verdict};

pub(crate) struct Delivery {
    queue: Arc<BatchQueue>,
    counters: Arc<Counters>,
    pub(crate) client: Client,
    retry: Retry,
    max_request_bytes: u64,
    /// Set when shutdown begins. A pause then ends at once, for a last try.
    closing: CancellationToken,
    /// Set when the deadline has passed. What is not done by then is left.
    stop: CancellationToken,
    /// One permit for each request that may be in flight.
    slots: Arc<Semaphore>,
    /// Requests that were refused for now.
    aside: Aside,
    /// Number of accepted requests.
    accepted: AtomicU64,
    /// Spans taken from the queue and not delivered before the deadline.
    left: AtomicU64,
    start: Instant,
    /// Bits of the refusals that were logged and persist: one for each status
    /// code, and [`PARTIAL`].
    logged: AtomicU32,
    /// Milliseconds from `start` to the last refusal.
    refused_ms: AtomicU64,
}

/// Longest pause between tries during a shutdown, as its deadline is near.
const MAX_CLOSING_PAUSE: Duration = Duration::from_millis(500);
/// The bit for partial success in `Delivery::logged`.
const PARTIAL: u32 = 31;
/// Once refusals have stopped for this long, the next one is logged again.
const CALM: Duration = Duration::from_secs(60);
/// Beyond this many refused requests, new ones come more slowly: each keeps its
/// slot through its first pause.
const MANY_ASIDE: usize = 64;
/// Beyond this many refused requests, they are no longer taken apart.
const MAX_ASIDE_PARTS: usize = 256;

/// The right to have a request in flight.
type Slot = OwnedSemaphorePermit;

/// What one request carries: all of a batch or a part of it.
#[derive(Clone)]
struct Part {
    batch: EncodedBatch,
    /// The batch as it is sent; `None` before the first try.
    message: Option<Message>,
    first_tried: Instant,
    backoff: Backoff,
    /// Value of `Delivery::accepted` when the part was first tried.
    accepted_before: u64,
    /// Set if the previous try failed; true if it was `RESOURCE_EXHAUSTED`
    /// without `RetryInfo`.
    failed_before: Option<bool>,
    /// Why the previous try failed.
    cause: Option<ErrorType>,
    /// The export that this is a part of.
    operation: Arc<Operation>,
}

enum End {
    /// Accepted, rejected or lost, and counted as such.
    Done,
    /// Must be sent as two parts. The first one inherits the slot.
    Split(Box<[Part; 2]>, Option<Slot>),
    /// Not done before the deadline; holds the number of spans.
    Stopped(u32),
}

/// What to do after a pause.
enum Next {
    Try(Slot),
    Done,
    Stop,
}

impl Delivery {
    pub(crate) fn new(
        config: &Otlp,
        client: Client,
        (queue, counters): (Arc<BatchQueue>, Arc<Counters>),
        closing: CancellationToken,
        stop: CancellationToken,
    ) -> Self {
        Self {
            queue,
            counters,
            client,
            retry: config.retry_on_failure.clone(),
            max_request_bytes: config.max_request_size.0,
            closing,
            stop,
            slots: Arc::new(Semaphore::new(config.sending_queue.num_consumers as usize)),
            aside: Aside::new(config.sending_queue.queue_size.0),
            accepted: AtomicU64::new(0),
            left: AtomicU64::new(0),
            start: Instant::now(),
            logged: AtomicU32::new(0),
            refused_ms: AtomicU64::new(0),
        }
    }

    /// Takes batches until the queue is closed and empty, or the deadline
    /// passes. Returns how many spans it had taken that were not done by then.
    pub(crate) async fn run(self: Arc<Self>) -> u64 {
        let batches = TaskTracker::new();
        while let Some(slot) = self.slot().await {
            let lease = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                lease = self.queue.pop() => lease,
            };
            let Some(lease) = lease else { break };
            self.counters.enter_flight(lease.batch.spans.into());
            batches.spawn(Arc::clone(&self).settle(lease, slot));
        }
        batches.close();
        batches.wait().await;
        self.left.load(Relaxed)
    }

    /// Delivers one batch and gives it back to the queue.
    async fn settle(self: Arc<Self>, lease: Lease, slot: Slot) {
        let operation = Arc::new(Operation::start());
        let part = self.part(lease.batch.clone(), &operation);
        let left = self.deliver(part, slot).await;
        self.counters.leave_flight(lease.batch.spans.into());
        self.left.fetch_add(left, Relaxed);
        if left > 0 {
            self.queue.abandon(lease);
        } else {
            self.counters.ended(&operation);
            self.queue.done(lease);
        }
    }

    /// Delivers one batch, in parts if necessary. Returns the number of spans
    /// left.
    async fn deliver(&self, part: Part, slot: Slot) -> u64 {
        let mut left = 0;
        let mut parts = FuturesUnordered::new();
        parts.push(self.send(part, Some(slot)));
        while let Some(end) = parts.next().await {
            match end {
                End::Done => {}
                End::Split(halves, slot) => {
                    let [first, second] = *halves;
                    parts.push(self.send(first, slot));
                    parts.push(self.send(second, None));
                }
                End::Stopped(spans) => left += u64::from(spans),
            }
        }
        left
    }

    fn part(&self, batch: EncodedBatch, operation: &Arc<Operation>) -> Part {
        Part {
            batch,
            message: None,
            first_tried: Instant::now(),
            backoff: Backoff::new(self.retry.clone()),
            accepted_before: self.accepted.load(Relaxed),
            failed_before: None,
            cause: None,
            operation: Arc::clone(operation),
        }
    }

    /// Waits for a slot, first come, first served. `None` at the deadline.
    async fn slot(&self) -> Option<Slot> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
        }
    }

    /// Tries one part until it is accepted, given up or taken apart.
    async fn send(&self, mut part: Part, mut slot: Option<Slot>) -> End {
        loop {
            let held = match slot.take() {
                Some(slot) => slot,
                None => match self.slot().await {
                    Some(slot) => slot,
                    None => return End::Stopped(part.batch.spans),
                },
            };
            if part.batch.bytes.len() as u64 > self.max_request_bytes {
                return self.halve(&part, held);
            }
            let Some(message) = self.message(&mut part) else {
                return End::Done;
            };
            self.counters.request();
            if let Some(exhausted) = part.failed_before {
                self.counters.retry(exhausted);
            }
            let tried = tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Stopped(part.batch.spans),
                tried = self.client.send(&message) => tried,
            };
            part.operation.answered(&tried, self.client.protocol());
            let failure = match tried {
                Ok(partial) => {
                    self.accepted(&part, &partial);
                    return End::Done;
                }
                Err(failure) => failure,
            };
            part.cause = Some(ErrorType::of(&failure));
            let asked = match self.failed(&failure, &part) {
                Verdict::Retry(asked) => asked,
                Verdict::Split => return self.halve(&part, held),
                Verdict::Reject => return End::Done,
            };
            let is_new = part.failed_before.is_none();
            part.failed_before = Some(is_exhausted(&failure, asked));
            let elapsed = part.first_tried.elapsed();
            let Some(pause) = part.backoff.next(elapsed, asked, random()) else {
                self.lost(Loss::RetriesExhausted, &part);
                return End::Done;
            };
            let is_answer = matches!(&failure, Failure::Refused(r) if !r.is_of_proxy);
            let next = if is_answer {
                self.wait_aside(&part, pause, held, is_new).await
            } else if self.pause(pause).await.is_break() {
                Next::Stop
            } else {
                Next::Try(held)
            };
            slot = match next {
                Next::Try(slot) => Some(slot),
                Next::Done => return End::Done,
                Next::Stop => return End::Stopped(part.batch.spans),
            };
            if is_answer && let Some(halves) = self.take_apart(&part) {
                return End::Split(Box::new(halves), slot);
            }
        }
    }

    fn message(&self, part: &mut Part) -> Option<Message> {
        if part.message.is_none() {
            part.message = self.client.message(part.batch.bytes.clone()).ok();
        }
        if part.message.is_none() {
            self.lost(Loss::TooLarge, part);
        }
        part.message.clone()
    }

    /// Splits a part that is too large, or counts it as lost.
    fn halve(&self, part: &Part, slot: Slot) -> End {
        match part.batch.split() {
            Ok(Some((first, second))) => {
                self.counters.split();
                let halves = [first, second].map(|batch| self.part(batch, &part.operation));
                return End::Split(Box::new(halves), Some(slot));
            }
            Ok(None) => self.lost(Loss::TooLarge, part),
            Err(_) => self.lost(Loss::Corrupt, part),
        }
        End::Done
    }

    /// Splits a refused part by process. The refusal may concern only some of
    /// the processes, so the halves are tried separately until what is refused
    /// is alone.
    fn take_apart(&self, part: &Part) -> Option<[Part; 2]> {
        if self.aside.level().0 >= MAX_ASIDE_PARTS {
            return None;
        }
        let (first, second) = part.batch.split_processes().ok()??;
        Some([first, second].map(|batch| Part {
            batch,
            message: None,
            ..part.clone()
        }))
    }

    /// Waits to retry what the collector refused, without the slot, so that
    /// others are sent in the meantime.
    async fn wait_aside(&self, part: &Part, pause: Duration, slot: Slot, is_new: bool) -> Next {
        let bytes = part.batch.bytes.len() as u64;
        let is_singled_out = self.accepted.load(Relaxed) > part.accepted_before;
        let (key, given_up) = self.aside.enter(part.first_tried, bytes, is_singled_out);
        let (count, is_full) = self.aside.level();
        let mut held = (is_new && count > MANY_ASIDE || is_full).then_some(slot);
        let next_slot = async {
            if self.pause(pause).await.is_break() {
                return None;
            }
            // Others that wait for a slot go first, unless memory has no room
            // for more of them.
            match held.take().filter(|_| is_full) {
                Some(slot) => Some(slot),
                None => self.slot().await,
            }
        };
        let slot = tokio::select! {
            slot = next_slot => slot,
            _ = given_up => None,
        };
        if !self.aside.leave(key) {
            self.lost(Loss::RetriesExhausted, part);
            return Next::Done;
        }
        slot.map_or(Next::Stop, Next::Try)
    }

    /// Waits for `pause`, or less during a shutdown. Breaks at the deadline.
    async fn pause(&self, pause: Duration) -> ControlFlow<()> {
        let closing = self.closing.is_cancelled();
        let pause = if closing {
            pause.min(MAX_CLOSING_PAUSE)
        } else {
            pause
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return ControlFlow::Break(()),
            () = self.closing.cancelled(), if !closing => {}
            () = tokio::time::sleep(pause) => {}
        }
        ControlFlow::Continue(())
    }

    fn accepted(&self, part: &Part, partial: &PartialSuccess) {
        self.accepted.fetch_add(1, Relaxed);
        let spans = u64::from(part.batch.spans);
        let rejected = partial.rejected_spans.min(spans);
        self.counters.exported(spans - rejected);
        if rejected > 0 || !partial.error_message.is_empty() {
            self.counters
                .rejected(RejectReason::PartialSuccess, rejected);
            if rejected > 0 {
                self.counters
                    .failed(&part.operation, ErrorType::Rejected, rejected);
            }
            if self.first_of(PARTIAL) {
                let cause = &partial.error_message;
                warn!(rejected, %cause, "the collector took a request in part");
            }
        } else {
            self.calm();
        }
        if self.counters.set_unreachable(false) && self.logged.load(Relaxed) == 0 {
            info!(endpoint = %self.client.endpoint(), "the collector takes spans again");
        }
    }

    fn failed(&self, failure: &Failure, part: &Part) -> Verdict {
        let verdict = match failure {
            Failure::Refused(refusal) => refusal.verdict(),
            Failure::Unreachable(_) | Failure::TimedOut => Verdict::Retry(None),
        };
        let cause = failure.to_string();
        match (verdict, failure) {
            (Verdict::Retry(_), Failure::Refused(refusal)) => {
                let first = self.first_of(refusal.code.into());
                if !self.counters.set_unreachable(true) && first {
                    let endpoint = self.client.endpoint();
                    warn!(%endpoint, %cause, "the collector refuses spans for now; retrying");
                }
            }
            (Verdict::Retry(_), _) => {
                let was_unreachable = self.counters.set_unreachable(true);
                if !was_unreachable {
                    let endpoint = self.client.endpoint();
                    warn!(%endpoint, %cause, "the collector takes no spans; retrying");
                }
            }
            (Verdict::Reject, Failure::Refused(refusal)) => {
                let reason = RejectReason::Status(refusal.code);
                let spans = part.batch.spans;
                self.counters.rejected(reason, spans.into());
                let cause_type = ErrorType::of(failure);
                self.counters
                    .failed(&part.operation, cause_type, spans.into());
                if self.first_of(refusal.code.into()) {
                    let endpoint = self.client.endpoint();
                    error!(%endpoint, %cause, spans, "the collector refuses spans");
                }
            }
            _ => {}
        }
        verdict
    }

    /// True for the first refusal of its kind, and again after [`CALM`] without
    /// any.
    fn first_of(&self, bit: u32) -> bool {
        self.refused_ms.store(self.now_ms(), Relaxed);
        let bit = 1 << bit.min(PARTIAL);
        self.logged.fetch_or(bit, Relaxed) & bit == 0
    }

    /// Call when a request was accepted in full.
    fn calm(&self) {
        let since_ms = self.now_ms().saturating_sub(self.refused_ms.load(Relaxed));
        if u128::from(since_ms) > CALM.as_millis() && self.logged.swap(0, Relaxed) != 0 {
            info!(endpoint = %self.client.endpoint(), "the collector has stopped refusing spans");
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lost(&self, reason: Loss, part: &Part) {
        let spans = part.batch.spans.into();
        self.counters.lost(reason, spans);
        let cause = part.cause.unwrap_or(ErrorType::Lost(reason));
        self.counters.failed(&part.operation, cause, spans);
    }
}

fn is_exhausted(failure: &Failure, asked: Option<Duration>) -> bool {
    matches!(failure, Failure::Refused(refusal) if refusal.code == code::RESOURCE_EXHAUSTED)
        && asked.is_none()
}

/// A random number from 0 to 1 for the jitter of pauses, from the random keys
/// of the standard hasher.
pub(crate) fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = RandomState::new().hash_one(0_u8);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
