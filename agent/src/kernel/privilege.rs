//! The privileges of this process.

use std::fs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    effective: u64,
}

/// Capabilities by number, `include/uapi/linux/capability.h`.
const NAMES: [(&str, u32); 7] = [
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_RESOURCE", 24),
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_SYSLOG", 34),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

impl Capabilities {
    /// Those of this process, from `/proc/self/status`.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn of_self() -> std::io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let effective = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0);
        Ok(Self { effective })
    }

    /// `effective` is a mask as in `/proc/PID/status`.
    #[cfg(test)]
    pub(crate) fn from_mask(effective: u64) -> Self {
        Self { effective }
    }

    /// Whether the capability is effective. `name` is as in `capabilities(7)`.
    pub fn has(self, name: &str) -> bool {
        NAMES
            .iter()
            .any(|(known, bit)| *known == name && self.effective & (1 << bit) != 0)
    }

    /// Whether it may load tracing programs: `CAP_BPF` and `CAP_PERFMON`, or
    /// `CAP_SYS_ADMIN`, which contains both.
    pub fn may_trace(self) -> bool {
        self.has("CAP_SYS_ADMIN") || self.has("CAP_BPF") && self.has("CAP_PERFMON")
    }

    /// The capabilities that are missing for [`Self::may_trace`].
    pub fn missing_to_trace(self) -> Vec<&'static str> {
        if self.may_trace() {
            return Vec::new();
        }
        ["CAP_BPF", "CAP_PERFMON"]
            .into_iter()
            .filter(|name| !self.has(name))
            .collect()
    }
}
