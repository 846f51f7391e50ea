//! From the queue to the collector: tries, retries, splits, and counts.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::encode::EncodedBatch;

use super::counters::{Counters, LossReason, RejectReason, code_name};
use super::grpc::{Client, Failure};
use super::message::PartialSuccess;
use super::queue::Queue;
use super::retry::{Backoff, Verdict, code};
use super::settings::RetrySettings;

/// What the consumers of one queue share.
pub(crate) struct Delivery {
    pub(crate) queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) client: Client,
    pub(crate) retry: RetrySettings,
    pub(crate) max_request_bytes: u64,
    /// Shutdown has begun: a pause ends at once, for a last try.
    pub(crate) closing: CancellationToken,
    /// The deadline has passed: what is not done stays.
    pub(crate) stop: CancellationToken,
    /// A draw from 0 to 1.
    pub(crate) random: fn() -> f64,
    /// Bits of the refusals that were logged since the last success: a status
    /// code each, and [`PARTIAL`].
    pub(crate) logged: AtomicU32,
}

/// The longest pause between tries in a shutdown: its deadline is near.
const MAX_CLOSING_PAUSE: Duration = Duration::from_millis(500);
/// The bit of partial success.
const PARTIAL: u32 = 31;

/// How one request ended.
enum End {
    /// Accepted, rejected or lost, and counted so.
    Done,
    /// To be sent as two.
    Split,
    /// Not before the deadline.
    Stopped,
}

impl Delivery {
    /// Takes batches until the queue is closed and empty, or the deadline
    /// passes. Returns the spans it had taken and did not get rid of.
    pub(crate) async fn run(self: Arc<Self>) -> u64 {
        loop {
            let lease = tokio::select! {
                biased;
                () = self.stop.cancelled() => return 0,
                lease = self.queue.pop() => lease,
            };
            let Some(lease) = lease else { return 0 };
            let spans = u64::from(lease.batch.spans);
            self.counters.enter_flight(spans);
            let left = self.deliver(lease.batch.clone()).await;
            self.counters.leave_flight(spans);
            if left > 0 {
                self.queue.abandon(lease);
                return left;
            }
            self.queue.done(lease);
        }
    }

    /// One batch, in parts if need be. Returns the spans left.
    async fn deliver(&self, batch: EncodedBatch) -> u64 {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let end = if part.bytes.len() as u64 > self.max_request_bytes {
                End::Split
            } else {
                self.send(&part).await
            };
            match end {
                End::Done => {}
                End::Split => match part.split() {
                    Ok(Some((first, second))) => {
                        self.counters.split();
                        parts.extend([second, first]);
                    }
                    Ok(None) => self.lost(LossReason::TooLarge, &part),
                    Err(_) => self.lost(LossReason::Corrupt, &part),
                },
                End::Stopped => {
                    parts.push(part);
                    return parts.iter().map(|part| u64::from(part.spans)).sum();
                }
            }
        }
        0
    }

    /// Tries one request until it is accepted or given up.
    async fn send(&self, part: &EncodedBatch) -> End {
        let Ok(message) = self.client.message(part.bytes.clone()) else {
            self.lost(LossReason::TooLarge, part);
            return End::Done;
        };
        let start = Instant::now();
        let mut backoff = Backoff::new(self.retry);
        loop {
            self.counters.request();
            let tried = tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Stopped,
                tried = self.client.send(&message) => tried,
            };
            let (asked, exhausted) = match tried {
                Ok(partial) => {
                    self.accepted(part, &partial);
                    return End::Done;
                }
                Err(failure) => match self.failed(&failure, part) {
                    Verdict::Retry(asked) => (asked, is_exhausted(&failure, asked)),
                    Verdict::Split => return End::Split,
                    Verdict::Reject => return End::Done,
                },
            };
            let Some(pause) = backoff.next(start.elapsed(), asked, (self.random)()) else {
                self.lost(LossReason::RetriesExhausted, part);
                return End::Done;
            };
            if self.pause(pause).await.is_break() {
                return End::Stopped;
            }
            self.counters.retry(exhausted);
        }
    }

    /// Waits; less long in a shutdown; breaks at its deadline.
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

    fn accepted(&self, part: &EncodedBatch, partial: &PartialSuccess) {
        let spans = u64::from(part.spans);
        let rejected = partial.rejected_spans.min(spans);
        self.counters.exported(spans - rejected);
        if rejected > 0 || !partial.error_message.is_empty() {
            self.counters
                .rejected(RejectReason::PartialSuccess, rejected);
            self.counters.error(partial.error_message.clone());
            if self.first_of(PARTIAL) {
                let message = &partial.error_message;
                warn!(rejected, %message, "the collector took a request in part");
            }
        } else {
            self.logged.store(0, Relaxed);
        }
        if self.counters.set_unreachable(false) {
            info!(endpoint = %self.client.endpoint(), "the collector takes spans again");
        }
    }

    fn failed(&self, failure: &Failure, part: &EncodedBatch) -> Verdict {
        let (verdict, cause) = match failure {
            Failure::Unreachable(cause) => (Verdict::Retry(None), cause.clone()),
            Failure::TimedOut => (
                Verdict::Retry(None),
                "no answer within the timeout".to_owned(),
            ),
            Failure::Refused(refusal) => {
                let name = code_name(refusal.code);
                (refusal.verdict(), format!("{name}: {}", refusal.message))
            }
        };
        self.counters.error(cause.clone());
        match (verdict, failure) {
            (Verdict::Retry(_), _) => {
                let was_unreachable = self.counters.set_unreachable(true);
                if !was_unreachable {
                    let endpoint = self.client.endpoint();
                    warn!(%endpoint, %cause, "the collector takes no spans; retrying");
                }
            }
            (Verdict::Reject, Failure::Refused(refusal)) => {
                let reason = RejectReason::Status(refusal.code);
                self.counters.rejected(reason, part.spans.into());
                if self.first_of(refusal.code.into()) {
                    let endpoint = self.client.endpoint();
                    error!(%endpoint, %cause, spans = part.spans, "the collector refuses spans");
                }
            }
            _ => {}
        }
        verdict
    }

    /// True once until all is well again.
    fn first_of(&self, bit: u32) -> bool {
        let bit = 1 << bit.min(PARTIAL);
        self.logged.fetch_or(bit, Relaxed) & bit == 0
    }

    fn lost(&self, reason: LossReason, part: &EncodedBatch) {
        self.counters.lost(reason, part.spans.into());
    }
}

fn is_exhausted(failure: &Failure, asked: Option<Duration>) -> bool {
    matches!(failure, Failure::Refused(refusal) if refusal.code == code::RESOURCE_EXHAUSTED)
        && asked.is_none()
}

/// A draw from 0 to 1 for pauses, from the hasher's random keys.
pub(crate) fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = RandomState::new().hash_one(0_u8);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
