//! Can a thread lose the CPU to another while it is inside the kernel?
//!
//! If so, backend `fentry` is not exact: a thread that is preempted within a
//! trampoline's program keeps the kernel from running the same program for
//! every other thread on that CPU (`prog->active` in
//! `kernel/bpf/trampoline.c`). From Linux 7.0 on the same goes for raw
//! tracepoints (`kernel/trace/bpf_trace.c`). Programs at kprobes run with
//! preemption off.

use std::fs;
use std::sync::LazyLock;

use super::backend::Backend;
use super::kernel_fs::KernelFs;

/// Whether this kernel preempts threads within system calls; found out once.
pub fn kernel_is_preemptible() -> bool {
    static PREEMPTIBLE: LazyLock<bool> = LazyLock::new(look);
    *PREEMPTIBLE
}

impl Backend {
    /// Whether it misses calls on this kernel where many threads compete for a
    /// CPU. They are counted as lost.
    pub fn misses_calls(self) -> bool {
        let release = || {
            rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned()
        };
        kernel_is_preemptible()
            && match self {
                Self::Fentry => true,
                Self::Tracepoint => tracepoints_are_preemptible(&release()),
                Self::Kprobe => false,
            }
    }

    /// What whoever uses it should know, if it misses calls.
    pub fn warning(self) -> Option<String> {
        self.misses_calls().then(|| {
            format!(
                "this kernel takes the CPU from threads inside system calls: where many compete \
                 for one, {self} misses calls, which are counted as lost"
            )
        })
    }
}

fn tracepoints_are_preemptible(release: &str) -> bool {
    major(release) >= 7
}

fn look() -> bool {
    let mode = KernelFs::debugfs().and_then(|debugfs| debugfs.read("sched/preempt"));
    let uname = rustix::system::uname();
    is_preemptible(
        mode.ok().as_deref(),
        &uname.version().to_string_lossy(),
        &fs::read_to_string("/proc/cmdline").unwrap_or_default(),
        &uname.release().to_string_lossy(),
    )
}

/// From debugfs' `sched/preempt`, where it can be read, with the mode in use in
/// brackets; else from `uname -v`, the kernel's command line and `uname -r`.
fn is_preemptible(mode: Option<&str>, version: &str, cmdline: &str, release: &str) -> bool {
    if let Some(mode) = mode {
        return mode.contains("(full)") || mode.contains("(lazy)");
    }
    let mut words = version.split_ascii_whitespace();
    match words.find(|word| word.starts_with("PREEMPT")) {
        // CONFIG_PREEMPT_NONE and CONFIG_PREEMPT_VOLUNTARY print nothing.
        None => false,
        Some("PREEMPT_DYNAMIC") => cmdline
            .split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix("preempt="))
            .next_back()
            .map_or_else(
                || chosen_by_default(release),
                |chosen| matches!(chosen, "full" | "lazy"),
            ),
        Some(_) => true,
    }
}

/// What a kernel that can change does unless told: those of distributions do
/// not preempt, until Linux 7.0 left only the modes that do.
fn chosen_by_default(release: &str) -> bool {
    major(release) >= 7
}

/// 0 where it cannot be read.
fn major(release: &str) -> u32 {
    let major = release.split('.').next();
    major.and_then(|major| major.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_in_use_decides() {
        let dynamic = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)";
        let table = [
            (
                Some("none (voluntary) full \n"),
                dynamic,
                "",
                "6.1.0",
                false,
            ),
            (Some("none voluntary (full) \n"), dynamic, "", "6.1.0", true),
            (Some("full (lazy) \n"), dynamic, "", "7.3.4", true),
            (
                None,
                "#1 SMP Debian 5.10.223-1 (2024-08-10)",
                "",
                "5.10.0",
                false,
            ),
            (
                None,
                "#1 SMP PREEMPT_RT Debian 6.1.176-1",
                "",
                "6.1.0-rt",
                true,
            ),
            (None, "#1 SMP PREEMPT Thu Jan 1", "", "5.15.0", true),
            (None, "#1 SMP PREEMPT_LAZY Thu Jan 1", "", "6.13.0", true),
            (None, dynamic, "quiet", "6.1.0-9-amd64", false),
            (None, dynamic, "quiet preempt=full", "6.1.0-9-amd64", true),
            (None, dynamic, "preempt=full preempt=none", "6.1.0", false),
            (None, dynamic, "", "7.3.4+deb13-amd64", true),
            (None, dynamic, "", "10.0", true),
        ];
        for (mode, version, cmdline, release, want) in table {
            assert_eq!(
                is_preemptible(mode, version, cmdline, release),
                want,
                "{mode:?} {version} {cmdline:?} {release}"
            );
        }
    }
}
