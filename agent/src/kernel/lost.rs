//! What the kernel counted, for the metrics, of calls whose record found no
//! room in the ring buffer.

use libbpf_rs::{MapCore, MapFlags};

use crate::metrics::histogram::Histogram;
use crate::skel::types::{durations, lost_calls, lost_key};

/// Calls that were lost, of the same kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostCalls {
    /// Which; `None` for all that found no place of their own.
    pub kind: Option<LostKind>,
    /// From entry to return.
    pub duration: Histogram,
    /// From the making of a message to its delivery, where both were seen.
    pub time_in_queue: Histogram,
    /// Messages that sends put into queues.
    pub sent: u64,
    /// Messages that receives took from queues.
    pub consumed: u64,
}

/// What tells one kind of lost calls from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostKind {
    /// Name of the queue, where known.
    pub queue: Option<String>,
    /// Inode number of the IPC namespace.
    pub ipc_namespace: u32,
    /// `enum call_op`.
    pub operation: u8,
    /// Errno; 0 on success.
    pub error: u16,
    /// That the thread died of in the call.
    pub death_signal: Option<u32>,
}

/// The entry for calls that find no room for one of their own.
pub(super) fn prepare(map: &impl MapCore) -> libbpf_rs::Result<()> {
    let key = [0; size_of::<lost_key>()];
    let value = [0; size_of::<lost_calls>()];
    map.update(&key, &value, MapFlags::ANY)
}

/// Reads the map; entries of which nothing was counted are left out.
pub(super) fn read(map: &impl MapCore) -> libbpf_rs::Result<Vec<LostCalls>> {
    let mut all = Vec::new();
    for key in map.keys() {
        if let Some(value) = map.lookup(&key, MapFlags::ANY)? {
            let (Some(key), Some(value)) = (from_bytes(&key), from_bytes(&value)) else {
                continue;
            };
            let calls = lost(&key, &value);
            if calls.duration.count() != 0 {
                all.push(calls);
            }
        }
    }
    Ok(all)
}

/// Types of which any bytes are a value.
trait Plain: Copy {}
impl Plain for lost_key {}
impl Plain for lost_calls {}

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
