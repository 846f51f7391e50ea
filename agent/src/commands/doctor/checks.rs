//! The checks of `mqspan doctor`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::config::{BackendChoice, Kubernetes};
use crate::host::Host;
use crate::kernel::{
    AttachError, Backend, Capabilities, HookState, KernelSettings, KernelSymbols, LoadError,
    Tracer, candidates, kernel_is_preemptible,
};
use crate::kubernetes::{self, CheckError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    Ok,
    /// `run` works, with limits.
    Warning,
    /// `run` does not work.
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: String,
    pub(super) grade: Grade,
    pub(super) found: String,
    /// The command or setting that fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
    /// The hooks of a backend; empty for other checks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hooks: Vec<HookFinding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct HookFinding {
    /// Name of the function or tracepoint.
    pub(super) symbol: String,
    /// `entry`, `return` or `tracepoint`.
    pub(super) kind: &'static str,
    /// `native` or `compat`; absent if the hook serves both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) abi: Option<&'static str>,
    pub(super) attached: bool,
}

impl Finding {
    pub(super) fn new(check: &str, grade: Grade, found: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            grade,
            found: found.into(),
            mend: None,
            hooks: Vec::new(),
        }
    }

    pub(super) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    pub(super) fn stops_run(&self) -> bool {
        self.grade == Grade::Error
    }
}

/// Checks the kernel, privileges and settings.
pub(super) fn of_machine() -> Vec<Finding> {
    let uname = rustix::system::uname();
    vec![
        Finding::new(
            "kernel",
            Grade::Ok,
            format!(
                "Linux {} {}",
                uname.release().to_string_lossy(),
                uname.machine().to_string_lossy()
            ),
        ),
        of_capabilities(),
        of_preemption(),
        of_btf(),
        of_compat(),
        of_perf_event_paranoid(),
        of_lockdown(),
        of_pid_namespace(),
    ]
}

fn of_capabilities() -> Finding {
    const CHECK: &str = "capabilities";
    let Ok(capabilities) = Capabilities::of_self() else {
        return Finding::new(CHECK, Grade::Error, "/proc is not mounted")
            .mend("mount -t proc proc /proc");
    };
    let missing = capabilities.missing_to_trace();
    if !missing.is_empty() {
        return Finding::new(
            CHECK,
            Grade::Error,
            format!("missing {}", missing.join(", ")),
        )
        .mend("run as root, or grant CAP_BPF and CAP_PERFMON");
    }
    Finding::new(CHECK, Grade::Ok, "tracing is allowed")
}

fn of_preemption() -> Finding {
    let found = if kernel_is_preemptible() {
        "threads lose the CPU inside system calls too: auto prefers kprobe, others can miss calls"
    } else {
        "threads keep the CPU inside system calls"
    };
    Finding::new("preemption", Grade::Ok, found)
}

fn of_btf() -> Finding {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Finding::new("BTF", Grade::Ok, "/sys/kernel/btf/vmlinux")
    } else {
        Finding::new(
            "BTF",
            Grade::Error,
            "the kernel does not describe its types",
        )
        .mend("use a kernel with CONFIG_DEBUG_INFO_BTF=y; mount sysfs on /sys")
    }
}

/// Checks that the kernel has the 32-bit system calls and that they are not
/// switched off.
fn of_compat() -> Finding {
    const CHECK: &str = "32-bit programs";
    let entry = if cfg!(target_arch = "aarch64") {
        "__arm64_compat_sys_mq_open"
    } else {
        "__ia32_compat_sys_mq_open"
    };
    let built = KernelSymbols::read().is_ok_and(|symbols| symbols.has(entry));
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let off = command_line
        .split_ascii_whitespace()
        .any(|word| matches!(word, "ia32_emulation=0" | "ia32_emulation=off"));
    match (built, off) {
        (true, false) => Finding::new(CHECK, Grade::Ok, format!("supported, by {entry}")),
        (true, true) => Finding::new(CHECK, Grade::Ok, "switched off by ia32_emulation=0"),
        (false, _) => Finding::new(
            CHECK,
            Grade::Ok,
            format!("this kernel runs none: no function {entry}"),
        ),
    }
}

fn of_perf_event_paranoid() -> Finding {
    const CHECK: &str = "perf_event_paranoid";
    let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    let admin = Capabilities::of_self().is_ok_and(|all| all.has("CAP_SYS_ADMIN"));
    match level {
        Some(level) if level > 2 && !admin => Finding::new(
            CHECK,
            Grade::Warning,
            format!("{level}: the kprobe backend needs CAP_SYS_ADMIN here"),
        )
        .mend("only for the kprobe backend: sysctl kernel.perf_event_paranoid=2"),
        Some(level) => Finding::new(CHECK, Grade::Ok, level.to_string()),
        None => Finding::new(CHECK, Grade::Ok, "not known to this kernel"),
    }
}

fn of_lockdown() -> Finding {
    const CHECK: &str = "lockdown";
    match fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(text) => {
            let mode = text
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once(']'))
                .map_or("none", |(mode, _)| mode)
                .to_owned();
            if mode == "confidentiality" {
                Finding::new(
                    CHECK,
                    Grade::Error,
                    "confidentiality: BPF may not read the kernel",
                )
                .mend("boot with lockdown=integrity or lockdown=none")
            } else {
                Finding::new(CHECK, Grade::Ok, mode)
            }
        }
        Err(_) => Finding::new(CHECK, Grade::Ok, "not known: securityfs is not mounted"),
    }
}

/// Process ids in filters are those of the agent's PID namespace.
fn of_pid_namespace() -> Finding {
    const CHECK: &str = "PID namespace";
    if Host::read().is_in_initial_pid_namespace() {
        Finding::new(CHECK, Grade::Ok, "the initial one")
    } else {
        Finding::new(
            CHECK,
            Grade::Ok,
            "not the initial one: all calls are traced, and filters by process id take the ids of \
             this namespace",
        )
    }
}

/// Tries every backend and reports which one `run` would choose.
pub(super) fn of_backends(settings: &KernelSettings) -> Vec<Finding> {
    let choice = settings.capture.backend;
    let wanted = candidates(choice, false, kernel_is_preemptible());
    let mut findings = Vec::new();
    let mut attachable = Vec::new();
    let symbols = KernelSymbols::read().unwrap_or_default();
    for backend in Backend::ALL {
        let finding = match Tracer::with_backend(backend, true, settings, &symbols) {
            Ok(tracer) => {
                attachable.push(backend);
                attached(backend, &tracer)
            }
            Err(error) => refused(backend, &error),
        };
        findings.push(finding);
    }
    let chosen = wanted.iter().find(|backend| attachable.contains(backend));
    findings.push(match chosen {
        Some(backend) if backend.misses_calls() => Finding::new(
            "capture",
            Grade::Warning,
            format!(
                "run would use {backend}, which misses calls of threads that compete for a CPU on \
                 this kernel (they are counted)"
            ),
        )
        .mend("set capture.backend: kprobe"),
        Some(backend) => Finding::new("capture", Grade::Ok, format!("run would use {backend}")),
        None => Finding::new(
            "capture",
            Grade::Error,
            format!(
                "none of the backends asked for attaches: {}",
                wanted
                    .iter()
                    .map(|backend| backend.name())
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        )
        .mend(match choice {
            BackendChoice::Auto => "mend what is marked above; most often it is privileges",
            _ => "set capture.backend: auto",
        }),
    });
    findings
}

fn refused(backend: Backend, error: &AttachError) -> Finding {
    let check = format!("backend {backend}");
    let error_text = error.to_string();
    let found = error_text
        .strip_prefix(&format!("{check}: "))
        .unwrap_or(&error_text);
    let capabilities = Capabilities::of_self().ok();
    Finding::new(&check, Grade::Warning, found).mend(mend_of(error, capabilities))
}

/// How to make this backend work.
fn mend_of(error: &AttachError, capabilities: Option<Capabilities>) -> String {
    const ELSE: &str = "nothing, while another backend attaches";
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let missing = capabilities.map_or_else(Vec::new, Capabilities::missing_to_trace);
    let grant = if missing.is_empty() {
        format!(
            "{ELSE}; the kernel refuses in spite of the capabilities, so look at what forbids it: a \
             security module, lockdown, the sandbox of a container or of a virtual machine"
        )
    } else {
        format!("run as root, or grant {}", missing.join(" and "))
    };
    match error {
        AttachError::Load { source, .. } => match source {
            LoadError::NoKprobes => format!("{ELSE}; else a kernel with CONFIG_KPROBES=y"),
            LoadError::Symbol(_) => {
                format!("{ELSE}; else a kernel with CONFIG_POSIX_MQUEUE=y and this function")
            }
            LoadError::Libbpf(error) | LoadError::Program { source: error, .. } => {
                match error.kind() {
                    libbpf_rs::ErrorKind::PermissionDenied => grant,
                    libbpf_rs::ErrorKind::OutOfMemory => {
                        "raise the limit on locked memory: LimitMEMLOCK=infinity, ulimit -l unlimited, \
                         or grant CAP_SYS_RESOURCE"
                            .to_owned()
                    }
                    _ => format!("{ELSE}; else report it with the kernel's version, and what this says"),
                }
            }
            LoadError::Section(_) => "install mqspan anew: the binary is damaged".to_owned(),
        },
        AttachError::Hook { source, .. } if refused(source) => match capabilities {
            Some(all) if missing.is_empty() && !all.has("CAP_SYS_ADMIN") => {
                "sysctl kernel.perf_event_paranoid=2, or grant CAP_SYS_ADMIN".to_owned()
            }
            _ => grant,
        },
        AttachError::Hook { .. } => {
            format!("{ELSE}; else report it with the kernel's version, and what this says")
        }
        AttachError::Symbols(_) => "mount -t proc proc /proc".to_owned(),
        AttachError::None(_) => ELSE.to_owned(),
    }
}

fn attached(backend: Backend, tracer: &Tracer) -> Finding {
    use crate::kernel::HookTarget;
    let hooks: Vec<HookFinding> = tracer
        .hooks()
        .iter()
        .map(|status| HookFinding {
            symbol: status.hook.target.symbol().to_owned(),
            kind: match status.hook.target {
                HookTarget::Entry(_) => "entry",
                HookTarget::Return(_) => "return",
                HookTarget::Tracepoint(_) => "tracepoint",
                HookTarget::Iterator(_) => "iterator",
                HookTarget::Agent => "agent",
            },
            abi: status.hook.abi(),
            attached: status.state == HookState::Attached,
        })
        .collect();
    let count = hooks.iter().filter(|hook| hook.attached).count();
    let mut finding = Finding::new(
        &format!("backend {backend}"),
        Grade::Ok,
        format!("attaches, {count} of {} hooks", hooks.len()),
    );
    finding.hooks = hooks;
    finding
}

/// Checks access to the names of pods, if enabled.
pub(super) fn of_kubernetes(wanted: &Kubernetes) -> anyhow::Result<Option<Finding>> {
    const CHECK: &str = "kubernetes";
    let node_name = &wanted.node_name;
    if !wanted.enabled {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asked = kubernetes::check(node_name, Duration::from_secs(5));
    Ok(Some(match runtime.block_on(asked) {
        Ok(pods) => Finding::new(
            CHECK,
            Grade::Ok,
            format!("the API server lists {pods} pods of node {node_name}"),
        ),
        Err(CheckError::Setup(error)) => Finding::new(CHECK, Grade::Error, format!("{error:#}"))
            .mend("set KUBECONFIG or mount the service account's token, or set enrich.kubernetes.enabled: false"),
        Err(CheckError::Server { error, mend }) => Finding::new(CHECK, Grade::Warning, error)
            .mend(format!("{mend}; run retries until then")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Capabilities;

    fn load(source: LoadError) -> AttachError {
        AttachError::Load {
            backend: Backend::Kprobe,
            source,
        }
    }

    fn program(errno: i32) -> AttachError {
        load(LoadError::Program {
            source: libbpf_rs::Error::from_raw_os_error(errno),
            log: "the verifier's last words".to_owned(),
        })
    }

    fn hook(errno: i32) -> AttachError {
        AttachError::Hook {
            backend: Backend::Kprobe,
            program: "kp_open".to_owned(),
            symbol: "__x64_sys_mq_open".to_owned(),
            source: io::Error::from_raw_os_error(errno),
        }
    }

    const BPF_AND_PERFMON: u64 = 1 << 39 | 1 << 38;
    const ADMIN: u64 = 1 << 21;

    #[test]
    fn a_backend_that_is_refused_has_its_mend() {
        for (error, capabilities, mend) in [
            (
                program(libc::EPERM),
                0,
                "run as root, or grant CAP_BPF and CAP_PERFMON",
            ),
            (
                program(libc::EPERM),
                1 << 39,
                "run as root, or grant CAP_PERFMON",
            ),
            (program(libc::EPERM), ADMIN, "in spite of the capabilities"),
            (program(libc::ENOMEM), ADMIN, "LimitMEMLOCK=infinity"),
            (program(libc::EINVAL), ADMIN, "report it"),
            (
                hook(libc::EACCES),
                BPF_AND_PERFMON,
                "sysctl kernel.perf_event_paranoid=2",
            ),
            (hook(libc::EACCES), 0, "grant CAP_BPF and CAP_PERFMON"),
            (hook(libc::EPERM), ADMIN, "in spite of the capabilities"),
            (hook(libc::ENOENT), ADMIN, "report it"),
            (load(LoadError::NoKprobes), ADMIN, "CONFIG_KPROBES=y"),
            (
                load(LoadError::Symbol("f".to_owned())),
                ADMIN,
                "CONFIG_POSIX_MQUEUE=y",
            ),
        ] {
            let got = mend_of(&error, Some(Capabilities::from_mask(capabilities)));
            assert!(got.contains(mend), "{error}: {got}");
        }
    }

    #[test]
    fn the_backend_is_named_once() {
        let finding = refused(Backend::Kprobe, &load(LoadError::NoKprobes));
        assert_eq!(finding.check, "backend kprobe");
        assert!(!finding.found.contains("backend"), "{}", finding.found);
    }
}
