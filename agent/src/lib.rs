//! mqspan: OpenTelemetry spans of Linux POSIX message queue system calls.
//!
//! ```text
//!  kernel hook ──> ring buffer ──> decode ──> correlate ──> enrich ──> encode ──> send
//!  bpf/*.bpf.c     kernel::ring    event      ids, span     process    encode     export
//! ```
//!
//! Which module may use which is in ARCHITECTURE.md, "Layers"; `pipeline`
//! wires them. They are private, so that the compiler tells what nothing uses.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

mod config;
mod logs;
pub mod panics;
mod terminal;

mod errno;
mod hash;
mod histogram;
mod kernel;
mod recent;

mod event;
mod loss;
mod owner;
mod percent;

mod clock;
mod ids;
mod resource;
mod rfc3339;
mod sampling;
mod span;
mod stack_text;
mod status;
mod templates;
mod trace_state;

#[cfg(test)]
mod test_calls;

mod container;
mod context;
mod encode;
mod filter;
mod host;
mod kubernetes;
mod process;
mod processing;
mod sends;

mod export;
mod health;
mod server;
mod sink;

mod balance;
mod metrics;

mod capture;
mod pipeline;

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
    dead_code
)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/mqspan.skel.rs"));
}

/// What tests, benches and fuzz targets use, which are crates of their own.
#[cfg(feature = "internals")]
pub mod internals {
    pub mod balance {
        pub use crate::balance::*;
    }
    pub mod clock {
        pub use crate::clock::*;
    }
    pub mod config {
        pub use crate::config::*;
    }
    pub mod encode {
        pub use crate::encode::*;
    }
    pub mod event {
        pub use crate::event::*;
    }
    pub mod export {
        pub use crate::export::*;
    }
    pub mod histogram {
        pub use crate::histogram::*;
    }
    pub mod ids {
        pub use crate::ids::*;
    }
    pub mod kernel {
        pub use crate::kernel::*;
    }
    pub mod logs {
        pub use crate::logs::*;
    }
    pub mod loss {
        pub use crate::loss::*;
    }
    pub mod metrics {
        pub use crate::metrics::*;
    }
    pub mod owner {
        pub use crate::owner::*;
    }
    pub mod panics {
        pub use crate::panics::*;
    }
    pub mod resource {
        pub use crate::resource::*;
    }
    pub mod span {
        pub use crate::span::*;
    }
    pub mod status {
        pub use crate::status::*;
    }
    pub mod trace_state {
        pub use crate::trace_state::*;
    }
}
