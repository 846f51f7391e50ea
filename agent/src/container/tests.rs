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
        // containerd, systemd driver, two of the QoS classes
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
        // containerd, path in systemd's v1 hierarchy
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
        // Podman, rootful and rootless, and with the container's own sub-cgroup
        (format!("/machine.slice/libpod-{ID}.scope"), Some(ID), None),
        (
            format!("/machine.slice/libpod-{ID}.scope/container"),
            Some(ID),
            None,
        ),
        (
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
            Some(ID),
            None,
        ),
        (
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            None,
            None,
        ),
        // Podman, cgroupfs driver, alone and in a pod
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
        // Podman Quadlet, also with systemd inside the container
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
        // nerdctl, and runtimes without a configured prefix
        (format!("/system.slice/nerdctl-{ID}.scope"), Some(ID), None),
        (
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-{ID}.scope"),
            Some(ID),
            None,
        ),
        (format!("/default/{ID}"), Some(ID), None),
        (format!("/system.slice/runc-{ID}.scope"), Some(ID), None),
        // CRI-O, cgroupfs driver
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
        // systemd-nspawn, as a scope and as a service
        (
            "/machine.slice/machine-deb\\x2d12.scope/payload/system.slice/cron.service".to_owned(),
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
        // Docker in Docker, and a monitor inside a container
        (format!("/docker/{OTHER}/docker/{ID}"), Some(ID), None),
        (
            format!("/docker/{OTHER}/kubepods/pod{POD}/crio-conmon-{ID}"),
            Some(OTHER),
            Some(POD),
        ),
        // kind, whose nodes are containers themselves
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
