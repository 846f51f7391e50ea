//! Signals that ask the process to end.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Stop signals, caught from [`Self::heed`] on.
pub(super) struct StopSignals(Vec<Signal>);

impl StopSignals {
    /// Catches SIGTERM, SIGINT and `more`. Needs the runtime's context.
    pub(super) fn heed(more: &[SignalKind]) -> io::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt()];
        let all = kinds.iter().chain(more).map(|kind| signal(*kind));
        Ok(Self(all.collect::<io::Result<_>>()?))
    }

    pub(super) async fn wait(mut self) {
        poll_fn(|cx| {
            let mut signals = self.0.iter_mut();
            if signals.any(|signal| signal.poll_recv(cx).is_ready()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
