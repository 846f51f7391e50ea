//! The kernel side: loads the programs of `bpf/`, attaches them by one of the
//! three backends, and reads their ring buffer and counters.

mod attach;
mod backend;
mod bpf_error;
mod contexts;
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

pub use attach::{AttachError, HookState, Tracer};
pub use backend::{Backend, candidates};
pub use contexts::{ContextChange, ContextRecipe};
pub use counters::KernelCounts;
pub use filter::CgroupVerdict;
pub use hooks::HookTarget;
pub use load::LoadError;
pub use lost::{LostCalls, LostKind, PendingLosses};
pub use preemption::kernel_is_preemptible;
pub use privilege::Capabilities;
#[cfg(feature = "internals")]
pub use probes::ProbeRuns;
pub use probes::{KernelMeters, ProbeStats};
pub use queues::QueueKey;
pub use ring::MAX_RECORDS;
pub use settings::{KernelFilter, KernelSettings};
pub use symbols::KernelSymbols;
pub use waiting::{Waiting, WaitingCalls};
