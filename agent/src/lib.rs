//! mqspan: OpenTelemetry spans of Linux POSIX message queue system calls.
//!
//! ```text
//!  kernel hook ──> ring buffer ──> decode ──> correlate ──> enrich ──> encode ──> send
//!  bpf/*.bpf.c     kernel::ring    event      ids, span     process    encode     export
//! ```
//!
//! Which module may use which is in ARCHITECTURE.md, "Layers"; `pipeline`
//! wires them.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        missing_docs
    )
)]

pub mod config;
pub mod logs;
pub mod panics;
pub(crate) mod terminal;

pub mod errno;
pub(crate) mod hash;
pub mod histogram;
pub mod kernel;
pub mod recent;

pub mod event;
pub mod loss;
pub mod owner;
mod percent;

pub mod clock;
pub mod ids;
pub mod resource;
mod rfc3339;
pub mod sampling;
pub mod span;

#[cfg(test)]
pub(crate) mod test_calls;

pub mod container;
pub mod encode;
pub mod filter;
pub mod host;
pub mod kubernetes;
pub mod process;
pub mod sends;

pub mod export;
pub mod health;
pub mod server;
pub mod sink;

pub mod balance;
pub mod metrics;

pub mod capture;
pub mod pipeline;

mod memory;

pub mod cli;
pub mod commands;

/// The skeleton of `bpf/`: programs, maps, and the types of `events.h`.
#[allow(
    clippy::all,
    clippy::wildcard_imports,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]
pub(crate) mod skel {
    include!(concat!(env!("OUT_DIR"), "/mqspan.skel.rs"));
}
