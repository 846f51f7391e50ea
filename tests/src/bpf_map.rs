//! A map of a running agent, filled in a way that no program in a test could.

use anyhow::{Context, Result, bail, ensure};
use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle};

/// Above the kernel's `PID_MAX_LIMIT`: no process has such an id.
const FIRST_KEY: u32 = 1 << 30;

/// A hash map with 32-bit keys.
pub(crate) struct BpfMap(MapHandle);

impl BpfMap {
    /// Finds the map of this name among those that the process has open.
    pub(crate) fn of(pid: u32, name: &str) -> Result<BpfMap> {
        let directory = format!("/proc/{pid}/fdinfo");
        for entry in std::fs::read_dir(&directory).context(directory)? {
            // The descriptor may have been closed in the meantime.
            let Ok(text) = std::fs::read_to_string(entry?.path()) else {
                continue;
            };
            let id = text.lines().find_map(|line| line.strip_prefix("map_id:"));
            let Some(id) = id else { continue };
            let map = MapHandle::from_map_id(id.trim().parse()?)?;
            if map.name() == name {
                ensure!(map.key_size() == 4, "keys of {} bytes", map.key_size());
                return Ok(BpfMap(map));
            }
        }
        bail!("the process {pid} has no BPF map {name}")
    }

    /// Adds entries until the map is full.
    pub(crate) fn fill(&self, value: &[u8]) -> Result<()> {
        let map = &self.0;
        for key in FIRST_KEY.. {
            match map.update(&key.to_ne_bytes(), value, MapFlags::ANY) {
                Err(error) if error.kind() == ErrorKind::TooBig => return Ok(()),
                outcome => outcome.with_context(|| format!("entry {}", key - FIRST_KEY))?,
            }
        }
        Ok(())
    }

    /// Removes what [`BpfMap::fill`] has added.
    pub(crate) fn remove_filling(&self) -> Result<()> {
        let ours = |key: &[u8]| {
            let key = key.try_into().map_or(0, u32::from_ne_bytes);
            key >= FIRST_KEY
        };
        for key in self.0.keys().filter(|key| ours(key)).collect::<Vec<_>>() {
            self.0.delete(&key)?;
        }
        Ok(())
    }
}
