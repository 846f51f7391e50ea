//! Container and pod of a process, from the path of its cgroup.
//!
//! Runtimes name a container's cgroup after its id, 64 hexadecimal digits,
//! with or without a prefix of their own; the kubelet names a pod's cgroup
//! after the pod's UID. Which hierarchy the path is of (v1, hybrid, v2) makes
//! no difference.

/// Prefixes of `<prefix>-<id>.scope`: Docker, containerd's CRI plugin, CRI-O,
/// Podman.
const SCOPES: [&str; 4] = ["docker", "cri-containerd", "crio", "libpod"];

/// What a cgroup path tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// `container.id`.
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
            // containerd can put `<pod>:cri-containerd:<id>` into one part.
            id: path.rsplit(['/', ':']).find_map(id_of_part),
            pod_uid: path.rsplit(['/', ':']).find_map(pod_uid_of_part),
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

/// The id in one part of a path.
fn id_of_part(part: &str) -> Option<String> {
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    let id = match bare.rsplit_once('-') {
        // libpod-conmon-<id> holds the monitor of a container, not itself.
        Some((prefix, id)) if SCOPES.contains(&prefix) => id,
        Some(_) => return None,
        None => bare,
    };
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
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
