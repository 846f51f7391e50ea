//! The kernel side: loads the programs of `bpf/`, attaches them by one of the
//! three backends, and reads their ring buffer and counters.

mod attach;
mod backend;
mod bpf_error;
mod counters;
mod filter;
mod hooks;
mod kernel_fs;
mod kretprobe;
mod load;
mod lost;
mod name_table;
mod preemption;
mod privilege;
mod probes;
mod processes;
mod queues;
mod ring;
mod settings;
mod symbols;
mod waiting;

pub use attach::{AttachError, HookState, HookStatus, Tracer};
pub use backend::{Backend, candidates};
pub use counters::KernelCounts;
pub use filter::CgroupVerdict;
pub use hooks::{Hook, HookTarget};
pub use load::LoadError;
pub use lost::{LostCalls, LostKind, PendingLosses};
pub use name_table::NameTable;
pub use preemption::kernel_is_preemptible;
pub use privilege::Capabilities;
pub use probes::{KernelMeters, ProbeRuns, ProbeStats};
pub use queues::QueueKey;
pub use ring::{CaptureRing, MAX_RECORDS};
pub use settings::{IdList, KernelFilter, KernelSettings};
pub use symbols::KernelSymbols;
pub use waiting::{Waiting, WaitingCalls};
