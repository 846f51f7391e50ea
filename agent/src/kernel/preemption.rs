//! Whether a thread can be preempted inside the kernel.
//!
//! If so, backend `fentry` is not exact: while a thread is preempted within a
//! trampoline's program, the kernel skips the same program for every other
//! thread on that CPU (`prog->active` in `kernel/bpf/trampoline.c`). From Linux
//! 7.0 on the same holds for raw tracepoints (`kernel/trace/bpf_trace.c`).
//! Programs at kprobes run with preemption off, and fentry programs stand in
//! for runs that the kernel skips.

use std::fs::{self, File};
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

use super::backend::Backend;
use super::kernel_fs::KernelFs;

/// Upper bound, more than any kernel configuration has.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Whether this kernel preempts threads within system calls. Determined once.
pub fn kernel_is_preemptible() -> bool {
    static PREEMPTIBLE: LazyLock<bool> = LazyLock::new(look);
    *PREEMPTIBLE
}

impl Backend {
    /// Whether the backend misses calls on this kernel if many threads compete
    /// for a CPU. Missed calls are counted as lost.
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

    /// A warning for the user, if the backend misses calls.
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
    let release = uname.release().to_string_lossy();
    is_preemptible(
        mode.ok().as_deref(),
        &uname.version().to_string_lossy(),
        &fs::read_to_string("/proc/cmdline").unwrap_or_default(),
        &release,
        || kernel_config(&release),
    )
}

/// The kernel's build configuration, from the places where distributions put it.
fn kernel_config(release: &str) -> Option<String> {
    let plain = [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/usr/lib/kernel/config-{release}"),
    ];
    first_text("/proc/config.gz", &plain)
}

fn first_text(packed: &str, plain: &[String]) -> Option<String> {
    let packed = File::open(packed).ok().map(GzDecoder::new);
    packed.and_then(bounded_text).or_else(|| {
        plain
            .iter()
            .filter_map(|path| File::open(path).ok())
            .find_map(bounded_text)
    })
}

fn bounded_text(from: impl Read) -> Option<String> {
    let mut text = String::new();
    let read = from.take(MAX_CONFIG_BYTES).read_to_string(&mut text);
    read.ok().map(|_| text)
}

/// Reads the mode in brackets from debugfs' `sched/preempt`, if that is
/// readable. Otherwise derives it from `uname -v`, the kernel's command line,
/// `uname -r` and its configuration. If in doubt it is true: spares cost time,
/// but missing spares cost calls.
fn is_preemptible(
    mode: Option<&str>,
    version: &str,
    cmdline: &str,
    release: &str,
    config: impl FnOnce() -> Option<String>,
) -> bool {
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
                || chosen_by_default(release, config),
                |chosen| matches!(chosen, "full" | "lazy"),
            ),
        Some(_) => true,
    }
}

/// Whether a kernel that can change its mode preempts by default. Linux 7.0
/// kept only the modes that preempt.
fn chosen_by_default(release: &str, config: impl FnOnce() -> Option<String>) -> bool {
    const QUIET: [&str; 2] = ["CONFIG_PREEMPT_NONE=y", "CONFIG_PREEMPT_VOLUNTARY=y"];
    major(release) >= 7
        || !config().is_some_and(|config| config.lines().any(|line| QUIET.contains(&line)))
}

/// 0 if it cannot be parsed.
fn major(release: &str) -> u32 {
    let major = release.split('.').next();
    major.and_then(|major| major.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

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
            let config = || Some("CONFIG_PREEMPT_VOLUNTARY=y\n".to_owned());
            assert_eq!(
                is_preemptible(mode, version, cmdline, release, config),
                want,
                "{mode:?} {version} {cmdline:?} {release}"
            );
        }
    }

    #[test]
    fn a_kernel_that_tells_nothing_is_taken_to_preempt() {
        let version = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)";
        let of = |config: Option<&str>| {
            let config = config.map(str::to_owned);
            is_preemptible(None, version, "quiet", "6.1.0", || config)
        };
        assert!(of(None));
        assert!(of(Some("CONFIG_PREEMPT=y\nCONFIG_PREEMPT_DYNAMIC=y\n")));
        assert!(of(Some(
            "CONFIG_PREEMPT_LAZY=y\n# CONFIG_PREEMPT_NONE is not set\n"
        )));
        assert!(!of(Some(
            "CONFIG_PREEMPT_NONE=y\nCONFIG_PREEMPT_DYNAMIC=y\n"
        )));
        assert!(!of(Some(
            "CONFIG_PREEMPT_BUILD=y\nCONFIG_PREEMPT_VOLUNTARY=y\n"
        )));
    }

    #[test]
    fn the_configuration_is_read_packed_or_plain() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let plain = [at("none"), at("plain")];
        assert_eq!(first_text(&at("packed"), &plain), None);
        fs::write(at("plain"), "plain").unwrap();
        assert_eq!(first_text(&at("packed"), &plain).unwrap(), "plain");
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(b"packed").unwrap();
        fs::write(at("packed"), packer.finish().unwrap()).unwrap();
        assert_eq!(first_text(&at("packed"), &plain).unwrap(), "packed");
    }
}
