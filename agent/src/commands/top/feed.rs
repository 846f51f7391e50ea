//! Makes a picture of what is counted here and what the kernel tells.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;

use super::blocked::blocked;
use super::figures::Figures;
use super::picture::{Lost, Picture};
use super::sink::Handover;
use crate::clock::Reading;
use crate::config::Filter;
use crate::kernel::KernelMeters;
use crate::pipeline::PipelineCounts;

/// Where the numbers come from.
pub(super) struct Feed {
    pub(super) handover: Arc<Handover>,
    pub(super) meters: KernelMeters,
    pub(super) counts: Arc<PipelineCounts>,
    pub(super) filter: Filter,
}

impl Feed {
    /// The picture to these figures.
    pub(super) fn picture(&self, figures: Figures) -> anyhow::Result<Picture> {
        let kernel = self.meters.counts().context("cannot read the counters")?;
        let calls = self.meters.waiting_calls();
        let calls = calls.context("cannot read the kernel's list of threads")?;
        let now = Reading::now();
        let lost = Lost {
            kernel,
            undecodable: self.counts.undecodable.load(Ordering::Relaxed),
        };
        let blocked = blocked(&calls, &self.filter, now);
        Ok(Picture::new(figures, blocked, lost, now))
    }
}
