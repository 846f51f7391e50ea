//! Finds the container and the pod of a process from its cgroup path.
//!
//! Runtimes name a container's cgroup after the container; the kubelet names a
//! pod's cgroup after the pod's UID. The hierarchy of the path (v1, hybrid or
//! v2) makes no difference.

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

/// One component of a path and its neighbours, which are empty at the ends.
#[derive(Clone, Copy)]
struct Part<'a> {
    above: &'a str,
    name: &'a str,
    below: &'a str,
}

/// What a cgroup path says about a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// `container.id`: 64 hexadecimal digits, or what the runtime uses instead.
    /// LXC and systemd-nspawn know a container only by its name.
    pub id: Option<String>,
    /// `k8s.pod.uid`.
    pub pod_uid: Option<String>,
}

impl Container {
    /// Parses one path, such as
    /// `/kubepods.slice/kubepods-pod<uid>.slice/cri-containerd-<id>.scope`.
    pub fn of_path(path: &str) -> Self {
        Self {
            // Take the innermost, since a container can run containers.
            id: parts_from_the_last(path)
                .find_map(|part| FORMS.iter().find_map(|of_part| of_part(part))),
            pod_uid: parts_from_the_last(path).find_map(|part| pod_uid_of_part(part.name)),
        }
    }

    /// Parses `/proc/<pid>/cgroup`, which has lines of
    /// `hierarchy:controllers:path` (cgroups(7)). The first line that names a
    /// container decides.
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

    pub fn is_empty(&self) -> bool {
        self.id.is_none() && self.pod_uid.is_none()
    }
}

/// The components of a path, last one first. `:` separates too, because
/// containerd can put `<pod>:cri-containerd:<id>` into one component.
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

/// `<id>`, `<prefix>-<id>` or `<prefix>-<id>.scope`, with any prefix.
fn of_64_digits(part: Part<'_>) -> Option<String> {
    let bare = part.name.strip_suffix(".scope").unwrap_or(part.name);
    let (prefix, id) = bare.rsplit_once('-').unwrap_or(("", bare));
    // libpod-conmon-<id> and crio-conmon-<id> hold a container's monitor,
    // libpod_parent/<id> the containers of a pod.
    if prefix.ends_with("conmon") || (prefix.is_empty() && part.above == "libpod_parent") {
        return None;
    }
    is_hexadecimal(id, 64).then(|| id.to_owned())
}

/// `<task>-<number>`, where the task is 32 hexadecimal digits.
fn of_fargate(part: Part<'_>) -> Option<String> {
    let (task, number) = part.name.split_once('-')?;
    let is_number =
        (1..=10).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && is_hexadecimal(task, 32)).then(|| part.name.to_owned())
}

/// `lxc.payload.<name>` since LXC 4, `lxc/<name>` before that and in Proxmox
/// VE.
fn of_lxc(part: Part<'_>) -> Option<String> {
    let name = match part.name.strip_prefix("lxc.payload.") {
        Some(name) => name,
        None if part.above == "lxc" => part.name,
        None => return None,
    };
    (!name.is_empty()).then(|| name.to_owned())
}

/// `machine-<name>.scope`, with `payload` below it in v2. The processes of
/// nspawn itself are in `supervisor`. Scopes of libvirt's virtual machines have
/// the same form.
fn of_machine(part: Part<'_>) -> Option<String> {
    let name = part.name.strip_prefix("machine-")?.strip_suffix(".scope")?;
    if name.starts_with("qemu") || ["supervisor", "libvirt"].contains(&part.below) {
        return None;
    }
    unescape(name)
}

/// `systemd-nspawn@<name>.service`, with the same children.
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

/// Undoes systemd-escape(1) as far as the names of machines need it.
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
mod tests;
