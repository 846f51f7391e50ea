//! A running tracer: changes of the filter, counts, and the end.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use libbpf_rs::skel::Skel;
use libbpf_rs::{Iter, MapCore, MapHandle};

use super::{HookState, HookStatus, Tracer, find_blocked, is_entry};
use crate::kernel::bpf_error::into_io;
use crate::kernel::contexts::{self, ContextChange};
use crate::kernel::filter::{self, CgroupVerdict};
use crate::kernel::hooks::Purpose;
use crate::kernel::lost::LostTables;
use crate::kernel::probes::{EntryProgram, KernelMeters};
use crate::kernel::queues::NotedQueues;
use crate::kernel::settings::KernelSettings;

/// Minimum time between two counts of followed threads.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(10);

/// Pressure on the ring that lasts longer than this is an overload, not a burst.
const OVERLOAD: Duration = Duration::from_millis(200);

impl Tracer {
    /// Tells the programs whether the agent is asleep and must be woken when
    /// the ring fills. The program that wakes it clears the flag.
    pub fn set_waits(&mut self, waits: bool) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: as in filter::store().
            unsafe { (&raw mut bss.agent_waits).write_volatile(waits.into()) };
        }
    }

    /// Applies another filter to calls that begin from now on. Calls in flight
    /// are checked against it at their return, and those of processes that the
    /// old filter did not want are found as at the start. Hooks and sizes do
    /// not change.
    ///
    /// # Errors
    /// When the kernel refuses the process ids.
    pub fn set_filter(&mut self, settings: &KernelSettings) -> anyhow::Result<()> {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            let environments = settings.environments.into();
            // SAFETY: as in filter::store().
            unsafe {
                (&raw mut bss.send_environment).write_volatile(environments);
                (&raw mut bss.chains).write_volatile(filter::chains_of(settings));
            }
        }
        if self.filter == settings.filter {
            return Ok(());
        }
        self.set_found_all(false);
        let outcome = self.replace_filter(settings);
        self.set_found_all(true);
        outcome
    }

    fn replace_filter(&mut self, settings: &KernelSettings) -> anyhow::Result<()> {
        let generation = self.generation + 1;
        filter::set_ids(&self.skel.maps.ids, &settings.filter, generation)?;
        self.filter = settings.filter.clone();
        self.know_processes()?;
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            filter::store(settings, generation, bss);
        }
        self.generation = generation;
        self.catch_up_again();
        Ok(())
    }

    /// Finds the calls in flight that have no record. Some began before the
    /// programs were attached, so the programs do not see their return.
    fn catch_up_again(&mut self) {
        if self.catch_up.is_empty() {
            let hooks = self.hooks.iter().map(|status| &status.hook);
            let hooks = hooks.filter(|hook| hook.purpose() == Purpose::CatchUp);
            for hook in hooks.cloned().collect::<Vec<_>>() {
                match self.attach(&hook) {
                    Ok(link) => self.catch_up.push(link),
                    Err(error) => {
                        tracing::warn!(%error, "calls that only the new filter wants are not looked for");
                        return;
                    }
                }
            }
        }
        if let Some(link) = &self.blocked {
            find_blocked(link);
        }
    }

    /// Makes the kernel announce these processes again at their next call.
    pub fn forget(&mut self, pids: &[u32]) {
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            // A missing entry is fine: the process has ended, or the kernel has
            // dropped it.
            self.skel
                .maps
                .announcements
                .delete(&pid.to_ne_bytes())
                .unwrap_or_default();
        }
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: as in filter::store(); only this thread writes it.
            unsafe {
                let generation = &raw mut bss.identity_generation;
                generation.write_volatile(generation.read_volatile().wrapping_add(1));
            }
        }
    }

    /// Tells the programs whether the ring has been under pressure for so long
    /// that it is an overload and not a burst.
    pub fn watch_pressure(&mut self, now: Instant) {
        let Some(bss) = self.skel.maps.bss_data.as_deref_mut() else {
            return;
        };
        // SAFETY: as in release_catch_up().
        let pressure = unsafe { (&raw const bss.ring_pressure).read_volatile() } != 0;
        let since = pressure.then(|| self.pressure_since.unwrap_or(now));
        let lasts = since.is_some_and(|since| now.duration_since(since) >= OVERLOAD);
        self.pressure_since = since;
        // SAFETY: as in filter::store().
        unsafe { (&raw mut bss.ring_overload).write_volatile(lasts.into()) };
    }

    /// Whether the programs have counted lost calls since this was last asked.
    pub fn take_calls_were_lost(&mut self) -> bool {
        let Some(bss) = self.skel.maps.bss_data.as_deref_mut() else {
            return false;
        };
        let lost = &raw mut bss.calls_were_lost;
        // SAFETY: as in release_catch_up() and filter::store(). What is set in
        // between is of a call whose count is in the table already.
        unsafe {
            let were_lost = lost.read_volatile() != 0;
            if were_lost {
                lost.write_volatile(0);
            }
            were_lost
        }
    }

    /// Recounts the followed threads if there is hardly room for more, but not
    /// often: it walks over all threads of the host.
    pub fn recount(&mut self, now: Instant) {
        let Some(bss) = self.skel.maps.bss_data.as_deref_mut() else {
            return;
        };
        // SAFETY: as in release_catch_up().
        let followed = unsafe { (&raw const bss.followed).read_volatile() };
        let is_due = self
            .counted_at
            .is_none_or(|at| now.duration_since(at) >= RECOUNT_INTERVAL);
        // The iterator shows only the threads of the agent's PID namespace.
        let sees_all = bss.agent_pid_level == 0;
        if followed < self.max_threads / 4 * 3 || !is_due || !sees_all {
            return;
        }
        self.counted_at = Some(now);
        let counted = self.followed.as_ref().map(Iter::new);
        if let Some(Ok(mut threads)) = counted
            && let Ok(count) = io::copy(&mut threads, &mut io::sink())
        {
            // SAFETY: as in filter::store(). What the programs add meanwhile
            // is lost, a few threads until the next time.
            unsafe { (&raw mut bss.followed).write_volatile(count) };
        }
    }

    /// Tells the kernel which cgroups to trace. If it does not take a verdict,
    /// the agent decides itself, call by call.
    pub fn set_cgroups(&mut self, verdicts: &[CgroupVerdict]) {
        for verdict in verdicts {
            let cgroups = &self.skel.maps.cgroups;
            if let Err(error) = filter::set_cgroup(cgroups, self.generation, *verdict) {
                tracing::debug!(%error, "the kernel does not take a verdict");
            }
        }
    }

    /// Tells the programs which processes publish the spans of their threads.
    pub fn set_contexts(&mut self, changes: &[ContextChange]) {
        if changes.is_empty() {
            return;
        }
        let Some(bss) = self.skel.maps.bss_data.as_deref_mut() else {
            return;
        };
        // SAFETY: aligned, in a page that stays mapped, and programs change it by
        // atomic operations, too.
        let known = unsafe { AtomicU64::from_ptr(&raw mut bss.contexts_known) };
        for change in changes {
            if let Err(error) = contexts::apply(&self.skel.maps.contexts, known, change) {
                tracing::debug!(%error, "the kernel does not take a context");
            }
        }
    }

    /// Counters of the programs and of the kernel itself, readable from any
    /// thread and after the tracer has ended.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn meters(&self) -> io::Result<KernelMeters> {
        let counts = MapHandle::try_from(&self.skel.maps.counts).map_err(into_io)?;
        let return_probes = self
            .return_probes
            .as_ref()
            .map_or_else(Weak::new, Arc::downgrade);
        let waiting = self.waiting.as_ref().map(AsFd::as_fd);
        let waiting = waiting.map(|link| link.try_clone_to_owned()).transpose()?;
        let lost = LostTables::new(&self.skel.maps).map_err(into_io)?;
        let mut queues = None;
        if self
            .hooks
            .iter()
            .any(|status| status.hook.purpose() == Purpose::Queues)
        {
            queues = Some(NotedQueues {
                table: MapHandle::try_from(&self.skel.maps.queues).map_err(into_io)?,
                is_there: self
                    .skel
                    .progs
                    .queue_is_there
                    .as_fd()
                    .try_clone_to_owned()?,
            });
        }
        let mut meters = KernelMeters::new(counts, lost, return_probes, waiting, queues);
        for program in self.skel.object().progs() {
            let attached = self.hooks.iter().find(|status| {
                status.state == HookState::Attached
                    && program.name().to_str() == Some(&status.hook.program)
            });
            if let Some(HookStatus { hook, .. }) = attached {
                let symbol = hook.target.symbol();
                let entries = match (is_entry(hook), self.spares, hook.purpose()) {
                    (false, _, _) => EntryProgram::No,
                    (true, false, _) => EntryProgram::Alone,
                    (true, true, Purpose::AllCalls) => EntryProgram::OfEveryCall,
                    (true, true, _) => EntryProgram::Shared,
                };
                meters.add(&hook.program, symbol, entries, program.as_fd())?;
            }
        }
        Ok(meters)
    }

    /// Detaches what only calls blocked at attach needed, once they have all returned.
    pub fn release_catch_up(&mut self) {
        let found_blocked = self.skel.maps.bss_data.as_deref().map_or(0, |bss| {
            // SAFETY: the field is in a page that the kernel writes to as
            // well, so it is read as such: once, whole, aligned.
            unsafe { (&raw const bss.found_blocked).read_volatile() }
        });
        if !self.catch_up.is_empty() && found_blocked == 0 {
            self.catch_up.clear();
            tracing::debug!("no call that was blocked at the start is left");
        }
    }

    /// Detaches everything. The ring keeps its contents.
    pub fn detach(&mut self) {
        self.entry_links.clear();
        self.catch_up.clear();
        self.other_links.clear();
        self.return_probes = None;
    }
}
