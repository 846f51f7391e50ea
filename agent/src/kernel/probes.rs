//! Statistics that the kernel itself keeps about our programs, readable from
//! any thread.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use libbpf_rs::MapHandle;
use libbpf_rs::libbpf_sys::{bpf_prog_get_info_by_fd, bpf_prog_info};

use super::counters::KernelCounts;
use super::kretprobe::ReturnProbes;
use super::lost::{LostTables, PendingLosses};
use super::queues::NotedQueues;
use super::waiting::{Waiting, WaitingCalls};
use crate::owner::OwnerLosses;

/// Runs of a program, while `kernel.bpf_stats_enabled` is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeRuns {
    pub count: u64,
    /// Sum over all runs.
    pub time: Duration,
}

/// Counters of one program, from `struct bpf_prog_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeStats {
    pub program: Arc<str>,
    /// The function or tracepoint.
    pub symbol: Arc<str>,
    /// Runs that the kernel skipped because a program already ran on that CPU
    /// (`recursion_misses`); 0 before Linux 5.12.
    pub missed: u64,
    /// `run_cnt` and `run_time_ns`; `None` while the kernel does not count.
    pub runs: Option<ProbeRuns>,
}

/// What it means for calls that the kernel has skipped a run of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryProgram {
    /// It does not see calls begin, so none is lost.
    No,
    /// It alone sees calls begin, so one is lost.
    Alone,
    /// One of several that see every system call begin. A call of any kind is
    /// lost if all of them are skipped.
    OfEveryCall,
    /// One of several that see calls begin.
    Shared,
}

struct Probe {
    program: Arc<str>,
    symbol: Arc<str>,
    entries: EntryProgram,
    descriptor: OwnedFd,
}

/// Reads counters of the kernel side, also while the tracer is in use.
pub struct KernelMeters {
    counts: MapHandle,
    lost: Mutex<LostTables>,
    pending: Arc<PendingLosses>,
    owners: Arc<OwnerLosses>,
    probes: Vec<Probe>,
    /// Gone once the tracer has detached.
    return_probes: Weak<ReturnProbes>,
    /// Link of the iterator over threads in calls.
    waiting: Option<OwnedFd>,
    queues: Option<NotedQueues>,
}

impl KernelMeters {
    pub(super) fn new(
        counts: MapHandle,
        lost: LostTables,
        return_probes: Weak<ReturnProbes>,
        waiting: Option<OwnedFd>,
        queues: Option<NotedQueues>,
    ) -> Self {
        Self {
            counts,
            lost: Mutex::new(lost),
            pending: Arc::default(),
            owners: Arc::default(),
            probes: Vec::new(),
            return_probes,
            waiting,
            queues,
        }
    }

    /// Finds out which queues still exist, for [`Self::pending_losses`].
    ///
    /// # Errors
    /// When the kernel's table cannot be read.
    pub fn look_for_queues(&self) -> io::Result<()> {
        if let Some(queues) = &self.queues {
            self.pending.add_queues(queues.read()?);
        }
        Ok(())
    }

    /// Empties the kernel's tables of lost calls into [`Self::pending_losses`]
    /// and [`Self::owner_losses`], so that there is room for others. Blocks on
    /// the kernel for some milliseconds.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn take_losses(&self) -> libbpf_rs::Result<()> {
        let mut tables = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        tables.take(&self.pending, &self.owners)
    }

    /// Calls whose record did not get into the ring, and the queues that were
    /// looked for.
    pub fn pending_losses(&self) -> &Arc<PendingLosses> {
        &self.pending
    }

    pub fn owner_losses(&self) -> &Arc<OwnerLosses> {
        &self.owners
    }

    /// Callers blocked at the moment, by queue and direction.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub fn waiting(&self) -> io::Result<Vec<Waiting>> {
        Ok(self.waiting_calls()?.sum())
    }

    /// The calls in which threads are blocked at the moment.
    ///
    /// # Errors
    /// When the iterator cannot be read.
    pub fn waiting_calls(&self) -> io::Result<WaitingCalls> {
        self.waiting.as_ref().map_or_else(
            || Ok(WaitingCalls::default()),
            |link| WaitingCalls::read(link.as_fd()),
        )
    }

    pub(super) fn add(
        &mut self,
        program: &str,
        symbol: &str,
        entries: EntryProgram,
        descriptor: BorrowedFd<'_>,
    ) -> io::Result<()> {
        self.probes.push(Probe {
            program: program.into(),
            symbol: symbol.into(),
            entries,
            descriptor: descriptor.try_clone_to_owned()?,
        });
        Ok(())
    }

    /// The counts of the programs, corrected by the runs that the kernel skipped.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counts(&self) -> libbpf_rs::Result<KernelCounts> {
        let (mut counts, doubtful) = KernelCounts::read(&self.counts)?;
        // A return without an entry and a skipped run can be the same call, so
        // the larger number counts. Before Linux 6.7 the kernel does not count
        // runs skipped at kprobes.
        let alone = self.left_out(EntryProgram::Alone).sum();
        let of_every_call = self.left_out(EntryProgram::OfEveryCall).min();
        counts.entry_missed =
            counts.entry_missed.max(alone) + doubtful.min(of_every_call.unwrap_or(0));
        Ok(counts)
    }

    /// Skipped runs of each program of a kind.
    fn left_out(&self, entries: EntryProgram) -> impl Iterator<Item = u64> {
        self.probes
            .iter()
            .filter(move |probe| probe.entries == entries)
            .filter_map(|probe| info_of(probe.descriptor.as_fd()).ok())
            .map(|info| info.recursion_misses)
    }

    /// The kernel's statistics of each program. Programs that cannot be queried
    /// are left out.
    pub fn probes(&self) -> Vec<ProbeStats> {
        let counting = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled")
            .is_ok_and(|text| text.trim() == "1");
        self.probes
            .iter()
            .filter_map(|probe| {
                let info = info_of(probe.descriptor.as_fd()).ok()?;
                let runs = ProbeRuns {
                    count: info.run_cnt,
                    time: Duration::from_nanos(info.run_time_ns),
                };
                Some(ProbeStats {
                    program: Arc::clone(&probe.program),
                    symbol: Arc::clone(&probe.symbol),
                    missed: info.recursion_misses,
                    runs: (counting || runs.count != 0).then_some(runs),
                })
            })
            .collect()
    }

    /// Returns that found no free instance of a return probe. `None` if the
    /// kernel does not say, and after the tracer has ended.
    pub fn missed_returns(&self) -> Option<u64> {
        self.return_probes.upgrade()?.missed().ok()
    }
}

fn info_of(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    let mut info = bpf_prog_info::default();
    let mut len = size_of::<bpf_prog_info>() as u32;
    // SAFETY: `info` is a whole, zeroed bpf_prog_info and `len` its size, so
    // the kernel writes within it, and with all pointers in it zero nowhere
    // else. The descriptor is open as long as it is borrowed.
    let status =
        unsafe { bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut len) };
    if status < 0 {
        Err(io::Error::from_raw_os_error(-status))
    } else {
        Ok(info)
    }
}
