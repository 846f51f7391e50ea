//! The configuration of the agent. It is read, layered and checked once, and is
//! plain data from then on.
//!
//! ```text
//! file ── ${env:..} ──┐
//! OTEL_* variables ───┤       strict          checks
//! MQSPAN__* variables ┼─ node ──────> Config ───────> Config
//! flags ──────────────┘
//! ```
//! Later layers in the diagram take precedence over earlier ones, and all of
//! them over the defaults. Mappings merge key by key, everything else is
//! replaced. Every key is in [`tree`].

mod attribute_types;
mod check;
mod choices;
mod endpoint;
mod env;
mod env_expand;
mod error;
mod globs;
mod load;
mod node;
mod otel_env;
mod otel_ignored;
mod own_env;
pub mod print;
mod proxy_env;
mod read;
mod tree;
pub mod units;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

pub use choices::{
    Abi, BackendChoice, ChainMode, Compression, Correlation, Histograms, LogFormat, LogLevel,
    Protocol, ReceiveStart, Syscall,
};
pub use endpoint::{Address, Endpoint};
pub use env::Env;
pub use error::ConfigError;
pub use globs::Globs;
pub use load::{Overrides, check, load};
pub use tree::*;
pub use units::{HumanDuration, Size};
pub use values::ErrorCode;
#[cfg(any(test, feature = "internals"))]
pub use values::Secret;
#[cfg(test)]
pub use {
    crate::resource::AttributeValue,
    load::Loaded,
    values::{ListenAddress, NamespaceInode},
};
