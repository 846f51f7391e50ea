//! Container and pod of a process, from the path of its cgroup.
//!
//! Runtimes name a container's cgroup after it; the kubelet names a pod's
//! cgroup after the pod's UID. Which hierarchy the path is of (v1, hybrid, v2)
//! makes no difference.

/// The forms in which runtimes name a container's cgroup.
const FORMS: [fn(Part<'_>) -> Option<String>; 5] = [
    // Docker: https://docs.docker.com/engine/containers/runmetrics/
    // kubelet with containerd: getCgroupsPath(),
    // https://github.com/containerd/containerd/tree/main/internal/cri
    // CRI-O: https://github.com/cri-o/cri-o/tree/main/internal/config/cgmgr
    // Podman: OCICgroupPath() and setupOCICgroups(),
    // https://github.com/containers/podman/blob/main/libpod/container_internal_linux.go
    // nerdctl: https://github.com/containerd/nerdctl/blob/main/pkg/cmd/container/run_cgroup_linux.go
    // ECS: https://github.com/aws/amazon-ecs-agent/blob/master/agent/api/task/task_linux.go
    // All their systemd drivers, `slice:prefix:name`:
    // https://github.com/opencontainers/runc/blob/main/docs/systemd.md
    of_64_digits,
    // https://github.com/DataDog/dd-trace-go/blob/main/internal/container_linux.go
    of_fargate,
    // lxc.cgroup.dir, https://linuxcontainers.org/lxc/manpages/man5/lxc.container.conf.5.html
    // https://github.com/lxc/lxc/blob/main/src/lxc/cgroups/cgroup.h
    of_lxc,
    // https://github.com/systemd/systemd/blob/main/src/nspawn/nspawn-cgroup.c
    // https://github.com/systemd/systemd/blob/main/src/machine/machine.c
    of_machine,
    // https://github.com/systemd/systemd/blob/main/units/systemd-nspawn%40.service.in
    of_nspawn_service,
];

/// One part of a path between its neighbours, which are empty at its ends.
#[derive(Clone, Copy)]
struct Part<'a> {
    above: &'a str,
    name: &'a str,
    below: &'a str,
}

/// What a cgroup path tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// `container.id`: 64 hexadecimal digits, or what the runtime has in their
    /// place. LXC and systemd-nspawn know a container by its name only.
    pub id: Option<String>,
    /// `k8s.pod.uid`.
    pub pod_uid: Option<String>,
}

impl Container {
    /// From one path, such as
    /// `/kubepods.slice/kubepods-pod<uid>.slice/cri-containerd-<id>.scope`.
    pub fn of_path(path: &str) -> Self {
        Self {
            // The innermost: a container can run containers.
            id: parts_from_the_last(path)
                .find_map(|part| FORMS.iter().find_map(|of_part| of_part(part))),
            pod_uid: parts_from_the_last(path).find_map(|part| pod_uid_of_part(part.name)),
        }
    }

    /// From `/proc/<pid>/cgroup`, lines `hierarchy:controllers:path`
    /// (cgroups(7)). The first line that names a container decides.
    pub fn of_proc(text: &str) -> Self {
        let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        paths()
            .map(Self::of_path)
            .find(|container| container.id.is_some())
            .or_else(|| {
                paths()
                    .map(Self::of_path)
                    .find(|container| container.pod_uid.is_some())
            })
            .unwrap_or_default()
    }

    /// Names nothing.
    pub fn is_empty(&self) -> bool {
        self.id.is_none() && self.pod_uid.is_none()
    }
}

/// containerd can put `<pod>:cri-containerd:<id>` into one part.
fn parts_from_the_last(path: &str) -> impl Iterator<Item = Part<'_>> {
    let mut names = path.rsplit(['/', ':']).peekable();
    let mut below = "";
    std::iter::from_fn(move || {
        let name = names.next()?;
        let above = names.peek().copied().unwrap_or_default();
        Some(Part {
            above,
            name,
            below: std::mem::replace(&mut below, name),
        })
    })
}

/// `<id>`, `<prefix>-<id>` or `<prefix>-<id>.scope`, whatever the runtime's
/// prefix.
fn of_64_digits(part: Part<'_>) -> Option<String> {
    let bare = part.name.strip_suffix(".scope").unwrap_or(part.name);
    let (prefix, id) = bare.rsplit_once('-').unwrap_or(("", bare));
    // libpod-conmon-<id> and crio-conmon-<id> hold the monitor of a container,
    // libpod_parent/<id> a pod's containers.
    if prefix.ends_with("conmon") || (prefix.is_empty() && part.above == "libpod_parent") {
        return None;
    }
    is_hexadecimal(id, 64).then(|| id.to_owned())
}

/// `<task>-<number>`, the task being 32 hexadecimal digits.
fn of_fargate(part: Part<'_>) -> Option<String> {
    let (task, number) = part.name.split_once('-')?;
    let is_number =
        (1..=10).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && is_hexadecimal(task, 32)).then(|| part.name.to_owned())
}

/// `lxc.payload.<name>` since LXC 4, `lxc/<name>` before and in Proxmox VE.
fn of_lxc(part: Part<'_>) -> Option<String> {
    let name = match part.name.strip_prefix("lxc.payload.") {
        Some(name) => name,
        None if part.above == "lxc" => part.name,
        None => return None,
    };
    (!name.is_empty()).then(|| name.to_owned())
}

/// `machine-<name>.scope`, with `payload` below it in v2; the processes of
/// nspawn itself are in `supervisor`. libvirt's virtual machines are called
/// the same way.
fn of_machine(part: Part<'_>) -> Option<String> {
    let name = part.name.strip_prefix("machine-")?.strip_suffix(".scope")?;
    if name.starts_with("qemu") || ["supervisor", "libvirt"].contains(&part.below) {
        return None;
    }
    unescape(name)
}

/// `systemd-nspawn@<name>.service`, with the same below it.
fn of_nspawn_service(part: Part<'_>) -> Option<String> {
    let name = part
        .name
        .strip_prefix("systemd-nspawn@")?
        .strip_suffix(".service")?;
    if part.below == "supervisor" {
        return None;
    }
    unescape(name)
}

/// Undoes systemd-escape(1), as far as names of machines need it.
fn unescape(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.replace("\\x2d", "-"))
}

fn is_hexadecimal(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `pod<uid>`, or `kubepods-burstable-pod<uid with _ for ->.slice`.
fn pod_uid_of_part(part: &str) -> Option<String> {
    let bare = part.strip_suffix(".slice").unwrap_or(part);
    let at = bare.rfind("pod")?;
    let (before, uid) = (bare.get(..at)?, bare.get(at + 3..)?);
    if !(before.is_empty() || before.ends_with('-')) {
        return None;
    }
    let uid = uid.replace('_', "-");
    uuid::Uuid::try_parse(&uid).ok()?;
    (uid.len() == 36).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4f5a0e9c1d2b7a8e6f5d4c3b2a19081726354453627180f9e8d7c6b5a49382";
    const OTHER: &str = "4f4f5a0e9c1d2b7a8e6f5d4c3b2a19081726354453627180f9e8d7c6b5a49382";
    const TASK: &str = "1f0c1b2a3d4e4f508a9b0c1d2e3f4a5b";
    const POD: &str = "1f0c1b2a-3d4e-4f50-8a9b-0c1d2e3f4a5b";
    const POD_: &str = "1f0c1b2a_3d4e_4f50_8a9b_0c1d2e3f4a5b";

    #[test]
    fn paths_of_the_runtimes() {
        let table = [
            // Docker, cgroupfs and systemd drivers
            (format!("/docker/{ID}"), Some(ID), None),
            (format!("/system.slice/docker-{ID}.scope"), Some(ID), None),
            // Docker under Kubernetes (cri-dockerd), cgroupfs driver
            (
                format!("/kubepods/besteffort/pod{POD}/{ID}"),
                Some(ID),
                Some(POD),
            ),
            // containerd, systemd driver, the three classes of service
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD_}.slice/cri-containerd-{ID}.scope"
                ),
                Some(ID),
                Some(POD),
            ),
            (
                format!("/kubepods.slice/kubepods-pod{POD_}.slice/cri-containerd-{ID}.scope"),
                Some(ID),
                Some(POD),
            ),
            // containerd with the path of systemd's v1 hierarchy
            (
                format!(
                    "/system.slice/containerd.service/kubepods-burstable-pod{POD_}.slice:cri-containerd:{ID}"
                ),
                Some(ID),
                Some(POD),
            ),
            // CRI-O
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{POD_}.slice/crio-{ID}.scope"
                ),
                Some(ID),
                Some(POD),
            ),
            (
                format!("/kubepods.slice/kubepods-pod{POD_}.slice/crio-conmon-{ID}.scope"),
                None,
                Some(POD),
            ),
            // Podman, with root and without, with a cgroup of the container's own
            (format!("/machine.slice/libpod-{ID}.scope"), Some(ID), None),
            (
                format!("/machine.slice/libpod-{ID}.scope/container"),
                Some(ID),
                None,
            ),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"
                ),
                Some(ID),
                None,
            ),
            (
                format!("/machine.slice/libpod-conmon-{ID}.scope"),
                None,
                None,
            ),
            // Podman with the driver cgroupfs, alone and in a pod
            (format!("/libpod_parent/libpod-{ID}"), Some(ID), None),
            (
                format!("/libpod_parent/{OTHER}/libpod-{ID}"),
                Some(ID),
                None,
            ),
            (format!("/libpod_parent/{OTHER}/conmon"), None, None),
            (
                format!("/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope"),
                Some(ID),
                None,
            ),
            // Podman Quadlet, where systemd can be in the container
            (
                format!("/system.slice/orders.service/libpod-payload-{ID}"),
                Some(ID),
                None,
            ),
            (
                format!("/system.slice/orders.service/libpod-payload-{ID}/init.scope"),
                Some(ID),
                None,
            ),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/app.slice/orders.service/libpod-payload-{ID}/system.slice/sshd.service"
                ),
                Some(ID),
                None,
            ),
            (
                "/system.slice/orders.service/runtime".to_owned(),
                None,
                None,
            ),
            // nerdctl, and a runtime that nobody gave a prefix
            (format!("/system.slice/nerdctl-{ID}.scope"), Some(ID), None),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-{ID}.scope"
                ),
                Some(ID),
                None,
            ),
            (format!("/default/{ID}"), Some(ID), None),
            (format!("/system.slice/runc-{ID}.scope"), Some(ID), None),
            // CRI-O with the driver cgroupfs
            (
                format!("/kubepods/besteffort/pod{POD}/crio-{ID}"),
                Some(ID),
                Some(POD),
            ),
            (
                format!("/kubepods/besteffort/pod{POD}/crio-conmon-{ID}"),
                None,
                Some(POD),
            ),
            // ECS on EC2 with either driver, and Fargate
            (format!("/ecs/{TASK}/{ID}"), Some(ID), None),
            (format!("/ecs/shop/{TASK}/{ID}"), Some(ID), None),
            (
                format!("/ecstasks.slice/ecstasks-{TASK}.slice/docker-{ID}.scope"),
                Some(ID),
                None,
            ),
            (
                format!("/ecs/{TASK}/{TASK}-2495160603"),
                Some("1f0c1b2a3d4e4f508a9b0c1d2e3f4a5b-2495160603"),
                None,
            ),
            // LXC, Incus, Proxmox VE
            (
                "/lxc.payload.web-1/system.slice/sshd.service".to_owned(),
                Some("web-1"),
                None,
            ),
            ("/lxc.monitor.web-1".to_owned(), None, None),
            ("/lxc/101/ns/init.scope".to_owned(), Some("101"), None),
            ("/lxc.monitor/101".to_owned(), None, None),
            (
                format!("/lxc.payload.web/system.slice/docker-{ID}.scope"),
                Some(ID),
                None,
            ),
            // systemd-nspawn, in a scope and as a service
            (
                "/machine.slice/machine-deb\\x2d12.scope/payload/system.slice/cron.service"
                    .to_owned(),
                Some("deb-12"),
                None,
            ),
            (
                "/machine.slice/machine-deb.scope".to_owned(),
                Some("deb"),
                None,
            ),
            (
                "/machine.slice/machine-deb.scope/supervisor".to_owned(),
                None,
                None,
            ),
            (
                "/machine.slice/systemd-nspawn@deb.service/payload/init.scope".to_owned(),
                Some("deb"),
                None,
            ),
            (
                "/machine.slice/systemd-nspawn@deb.service/supervisor".to_owned(),
                None,
                None,
            ),
            (
                "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator".to_owned(),
                None,
                None,
            ),
            // Docker in Docker, and a monitor in a container
            (format!("/docker/{OTHER}/docker/{ID}"), Some(ID), None),
            (
                format!("/docker/{OTHER}/kubepods/pod{POD}/crio-conmon-{ID}"),
                Some(OTHER),
                Some(POD),
            ),
            // kind: a node that is a container itself
            (
                format!(
                    "/docker/{}/kubelet/kubepods/pod{POD}/{ID}",
                    ID.replace('3', "4")
                ),
                Some(ID),
                Some(POD),
            ),
            // No container
            ("/".to_owned(), None, None),
            (
                "/user.slice/user-1000.slice/session-3.scope".to_owned(),
                None,
                None,
            ),
            ("/system.slice/tripod-service.slice".to_owned(), None, None),
            (format!("/system.slice/{ID}.service"), None, None),
            (format!("/system.slice/docker-{ID}0.scope"), None, None),
            (format!("/ecs/{TASK}/{TASK}-x"), None, None),
            ("/lxc".to_owned(), None, None),
            ("/lxc.payload.".to_owned(), None, None),
        ];
        for (path, id, pod_uid) in table {
            let container = Container::of_path(&path);
            assert_eq!(container.id.as_deref(), id, "{path}");
            assert_eq!(container.pod_uid.as_deref(), pod_uid, "{path}");
        }
    }

    #[test]
    fn hybrid_and_v1_hierarchies() {
        let text = format!(
            "12:pids:/docker/{ID}\n11:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/system.slice/containerd.service\n"
        );
        assert_eq!(Container::of_proc(&text).id.as_deref(), Some(ID));
        let text = format!("0::/kubepods/pod{POD}\n");
        assert_eq!(Container::of_proc(&text).pod_uid.as_deref(), Some(POD));
        assert!(Container::of_proc("0::/init.scope\n").is_empty());
        assert!(Container::of_proc("").is_empty());
    }
}
