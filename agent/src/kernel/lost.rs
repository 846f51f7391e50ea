//! The kernel's own counts, for the metrics, of calls whose record found no
//! room in the ring buffer.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapMut};

use super::queues::QueueKey;
use crate::histogram::Histogram;
use crate::loss::Loss;
use crate::owner::{Owner, OwnerLosses};
use crate::skel::MqspanMaps;
use crate::skel::types::{durations, lost_calls, lost_key, lost_owner_key, owner_loss};

/// Lost calls of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostCalls {
    /// `None` for the entry that sums all kinds without one of their own.
    pub kind: Option<LostKind>,
    /// From entry to return.
    pub duration: Histogram,
    /// From the creation of a message to its receipt, if both were seen.
    pub time_in_queue: Histogram,
    /// Messages that sends put into queues.
    pub sent: u64,
    /// Messages that receives took from queues.
    pub consumed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostKind {
    /// Name of the queue, if known.
    pub queue: Option<String>,
    /// Inode number of the IPC namespace.
    pub ipc_namespace: u32,
    /// `enum call_op`.
    pub operation: u8,
    /// Errno; 0 on success.
    pub error: u16,
    /// The signal that killed the thread in the call.
    pub death_signal: Option<u32>,
}

/// Lost calls on their way from the kernel's tables to the capture thread,
/// which adds them to its own counts.
#[derive(Debug, Default)]
pub struct PendingLosses {
    calls: Mutex<Vec<LostCalls>>,
    are_there: AtomicBool,
    /// Queues, and whether they still exist.
    queues: Mutex<HashMap<QueueKey, bool>>,
    were_looked_for: AtomicBool,
}

/// Upper bound on pending kinds. If the capture thread stalls, the others stay
/// in the kernel.
const MAX_PENDING: usize = 8192;

impl PendingLosses {
    fn lock(&self) -> MutexGuard<'_, Vec<LostCalls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the pending losses. Costs one atomic operation if there are none.
    pub fn take(&self) -> Vec<LostCalls> {
        if !self.are_there.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut self.lock())
    }

    /// The queues that were looked for, and whether they still exist. `None` if
    /// nobody has looked since the last call, at the cost of one atomic
    /// operation.
    pub fn take_queues(&self) -> Option<HashMap<QueueKey, bool>> {
        if !self.were_looked_for.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut queues))
    }

    pub(super) fn add_queues(&self, found: Vec<(QueueKey, bool)>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, is_there) in found {
            if queues.len() < MAX_PENDING || queues.contains_key(&key) {
                queues.insert(key, is_there);
            }
        }
        self.were_looked_for.store(true, Ordering::Release);
    }

    /// The pending losses, which stay pending.
    pub fn peek(&self) -> Vec<LostCalls> {
        self.lock().clone()
    }

    fn has_room(&self) -> bool {
        self.lock().len() < MAX_PENDING
    }

    fn add(&self, calls: impl IntoIterator<Item = LostCalls>) {
        let mut pending = self.lock();
        pending.extend(calls);
        self.are_there.store(!pending.is_empty(), Ordering::Release);
    }
}

/// Two tables of one kind, used in turn; see `bpf/maps.bpf.h`.
struct Turns {
    in_use: MapHandle,
    tables: [MapHandle; 2],
    /// Which of the two the programs write to.
    at: usize,
    key_size: usize,
    value_size: usize,
}

impl Turns {
    fn new<K, V>(in_use: &MapMut<'_>, tables: [&MapMut<'_>; 2]) -> libbpf_rs::Result<Self> {
        let [a, b] = tables;
        let turns = Self {
            in_use: MapHandle::try_from(in_use)?,
            tables: [MapHandle::try_from(a)?, MapHandle::try_from(b)?],
            at: 0,
            key_size: size_of::<K>(),
            value_size: size_of::<V>(),
        };
        for table in &turns.tables {
            turns.prepare(table)?;
        }
        Ok(turns)
    }

    /// Adds the entry that sums everything without one of its own.
    fn prepare(&self, table: &MapHandle) -> libbpf_rs::Result<()> {
        table.update(
            &vec![0; self.key_size],
            &vec![0; self.value_size],
            MapFlags::ANY,
        )
    }

    /// Switches to the other table and empties this one into `each`. Waits
    /// until no program writes to it any more.
    fn take(&mut self, mut each: impl FnMut(&[u8], &[u8])) -> libbpf_rs::Result<()> {
        let [a, b] = &self.tables;
        let (full, empty) = if self.at == 0 { (a, b) } else { (b, a) };
        let descriptor = empty.as_fd().as_raw_fd().cast_unsigned();
        self.in_use.update(
            &0_u32.to_ne_bytes(),
            &descriptor.to_ne_bytes(),
            MapFlags::ANY,
        )?;
        for key in full.keys().collect::<Vec<_>>() {
            if let Some(value) = full.lookup(&key, MapFlags::ANY)? {
                each(&key, &value);
            }
            full.delete(&key)?;
        }
        self.prepare(full)?;
        self.at = 1 - self.at;
        Ok(())
    }
}

/// The kernel's tables of calls whose record did not get into the ring.
pub(super) struct LostTables {
    calls: Turns,
    owners: Turns,
}

impl LostTables {
    pub(super) fn new(maps: &MqspanMaps<'_>) -> libbpf_rs::Result<Self> {
        Ok(Self {
            calls: Turns::new::<lost_key, lost_calls>(
                &maps.lost_calls,
                [&maps.lost_calls_a, &maps.lost_calls_b],
            )?,
            owners: Turns::new::<lost_owner_key, u64>(
                &maps.lost_owners,
                [&maps.lost_owners_a, &maps.lost_owners_b],
            )?,
        })
    }

    /// Empties the tables into `pending` and `owners`.
    pub(super) fn take(
        &mut self,
        pending: &PendingLosses,
        owners: &OwnerLosses,
    ) -> libbpf_rs::Result<()> {
        self.owners.take(|key, value| {
            let (Some(key), Ok(calls)) = (from_bytes::<lost_owner_key>(key), value.try_into())
            else {
                return;
            };
            let calls = u64::from_ne_bytes(calls);
            let owner = (key.reason != 0).then(|| Owner::from_raw(&key.owner));
            let reason = match owner_loss(key.reason) {
                owner_loss::LOST_IN_FLIGHT_FULL => Loss::InFlightFull,
                _ => Loss::RingFull,
            };
            if calls != 0 {
                owners.add(owner, reason, calls);
            }
        })?;
        if !pending.has_room() {
            return Ok(());
        }
        let mut all = Vec::new();
        self.calls.take(|key, value| {
            if let (Some(key), Some(value)) = (from_bytes(key), from_bytes(value)) {
                let calls = lost(&key, &value);
                if calls.duration.count() != 0 {
                    all.push(calls);
                }
            }
        })?;
        pending.add(all);
        Ok(())
    }
}

/// Types for which any bytes are a valid value.
trait Plain: Copy {}
impl Plain for lost_key {}
impl Plain for lost_calls {}
impl Plain for lost_owner_key {}

fn from_bytes<T: Plain>(bytes: &[u8]) -> Option<T> {
    // SAFETY: `T` is `repr(C)` of integers only, so any bytes are a value of
    // it; there are enough of them, and the read asks no alignment.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn lost(key: &lost_key, value: &lost_calls) -> LostCalls {
    let name_len = usize::try_from(value.name_len).unwrap_or(0);
    let name: Vec<u8> = value.name.iter().map(|byte| byte.cast_unsigned()).collect();
    let kind = (key.op != 0).then(|| LostKind {
        queue: name
            .get(..name_len)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned()),
        ipc_namespace: key.ipc_ns,
        operation: key.op,
        error: key.error,
        death_signal: (key.death_signal != 0).then_some(key.death_signal.into()),
    });
    LostCalls {
        kind,
        duration: histogram(&value.duration),
        time_in_queue: histogram(&value.time_in_queue),
        sent: value.sent,
        consumed: value.consumed,
    }
}

fn histogram(durations: &durations) -> Histogram {
    Histogram::from_parts(
        durations.buckets,
        durations.sum_ns,
        durations.min_ns..=durations.max_ns,
    )
}
