//! Combines the tally and the kernel's state to snapshots.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;

use super::blocked::blocked;
use super::sink::Handover;
use super::snapshot::{Lost, Snapshot};
use crate::clock::Reading;
use crate::config::Filter;
use crate::kernel::KernelMeters;
use crate::pipeline::PipelineCounts;

pub(super) struct Source {
    pub(super) handover: Arc<Handover>,
    pub(super) meters: KernelMeters,
    pub(super) counts: Arc<PipelineCounts>,
    pub(super) filter: Filter,
}

impl Source {
    /// The next snapshot, or `None` if none comes within `at_most`.
    pub(super) fn next(&self, at_most: Duration) -> anyhow::Result<Option<Snapshot>> {
        let Some(stats) = self.handover.wait(at_most) else {
            return Ok(None);
        };
        let kernel = self.meters.counts().context("cannot read the counters")?;
        let calls = self.meters.waiting_calls();
        let calls = calls.context("cannot read the kernel's list of threads")?;
        let now = Reading::now();
        let lost = Lost {
            kernel,
            undecodable: self.counts.undecodable.load(Ordering::Relaxed),
        };
        let blocked = blocked(&calls, &self.filter, now);
        Ok(Some(Snapshot::new(stats, blocked, lost, now)))
    }
}
