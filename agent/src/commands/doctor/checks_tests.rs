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
