//! Finds out how a process publishes its OpenTelemetry context to others: its
//! resource (OTEP 4719, "Process Context"), and where its threads have the span
//! that they work for (OTEP 4947, "Thread Context").
//!
//! Everything comes from the memory of the process. Files are not opened: the
//! tables that the dynamic linker uses are in memory, and a file can lie on a
//! file system that never answers. Nothing of it can be trusted, so numbers,
//! bytes and time are bounded, and what does not fit counts as absent. Memory
//! can lie on such a file system, too, hence a thread of its own for each
//! process (`process/lookups.rs`).

mod elf;
mod image;
mod maps;
mod memory;
mod published;
mod relocations;
mod tls;

use std::time::Instant;

use self::maps::Maps;
use self::memory::ProcessMemory;
pub use self::memory::Refused;
use self::published::Published;
use crate::kernel::ContextRecipe;
use crate::resource::AttributeValue;

/// What a process publishes.
#[derive(Debug, PartialEq, Default)]
pub struct Found {
    /// Where the threads have their spans. `None` if they publish none, or in a
    /// way that is not known.
    pub recipe: Option<ContextRecipe>,
    /// The attributes of its resource, as they are.
    pub resource: Vec<(String, AttributeValue)>,
}

/// Looks into the process with id `pid` in the agent's own PID namespace. `None`
/// if it publishes nothing.
///
/// # Errors
/// If it cannot be read, or is larger than the bounds.
pub fn discover(pid: u32, deadline: Instant) -> Result<Option<Found>, Refused> {
    let maps = Maps::read(pid)?;
    let memory = ProcessMemory::new(pid, deadline);
    let published = maps
        .contexts
        .iter()
        .find_map(|&at| Published::read(&memory, at, maps.is_64_bit).transpose())
        .transpose()?;
    let Some(published) = published else {
        return Ok(None);
    };
    let mut recipe = None;
    if published.threads_publish {
        recipe = tls::find(&memory, &maps, &maps::auxiliary_vector(pid)?)?;
    }
    Ok(Some(Found {
        recipe,
        resource: published.resource,
    }))
}

#[cfg(test)]
mod tests;
