//! What to tell the user when no backend attaches.

use std::path::Path;

use anyhow::anyhow;

use crate::kernel::{AttachError, Capabilities};

/// Explains why no backend attaches, and how to get missing privileges.
pub(super) fn attach_error(error: &AttachError) -> anyhow::Error {
    let missing = Capabilities::of_self()
        .map(|all| all.missing_to_trace())
        .unwrap_or_default();
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        anyhow!(
            "this kernel does not describe its types (no /sys/kernel/btf/vmlinux): use one with \
             CONFIG_DEBUG_INFO_BTF=y, or mount sysfs on /sys\n{error}"
        )
    } else if missing.is_empty() {
        anyhow!("{error}\n`mqspan doctor` tells what this machine allows")
    } else {
        anyhow!(
            "tracing needs {}: run as root (sudo), or grant the capabilities\n{error}",
            missing.join(" and ")
        )
    }
}
