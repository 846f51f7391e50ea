//! The host, which all traced processes share.
//!
//! The agent can run in a container. Then its own files, names and addresses
//! are not the host's, and what cannot be seen of the host is left out.

mod addresses;
mod files;
mod users;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use opentelemetry_semantic_conventions::attribute as semconv;
use uuid::Uuid;

use self::files::HostFiles;
use self::users::Users;
use crate::event::ProcessKey;
use crate::resource::{AttributeValue, Resource};

/// `PROC_PID_INIT_INO`, `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u32 = 0xefff_fffc;
/// `PROC_UTS_INIT_INO`.
const INITIAL_UTS_NAMESPACE: u32 = 0xefff_fffe;
/// `PROC_USER_INIT_INO`.
pub const INITIAL_USER_NAMESPACE: u32 = 0xefff_fffd;

#[derive(Debug, Clone)]
pub struct Host {
    /// The node name of `uname(2)`.
    node_name: String,
    /// `host.name`, empty if unknown.
    name: String,
    /// `host.id`, empty if unknown.
    id: String,
    /// `host.ip`, empty if unknown.
    addresses: Arc<[String]>,
    /// Inode number of the PID namespace of the agent.
    pid_namespace: u32,
    boot_id: Uuid,
    users: Users,
}

/// Namespace for `service.instance.id` of the semantic conventions.
const SERVICE_INSTANCE_NAMESPACE: Uuid = Uuid::from_u128(0x4d63009a_8d0f_11ee_aad7_4c796ed8e320);

impl Host {
    /// Reads `uname(2)`, `/proc`, the network's addresses and files in `/etc`.
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        let node_name = uname.nodename().to_string_lossy().into_owned();
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pid_namespace = own_namespace("pid");
        let sees_init = pid_namespace == INITIAL_PID_NAMESPACE;
        let files = HostFiles::find(sees_init);
        // A service can have a copy of the host's (systemd's ProtectHostname=).
        let has_name = own_namespace("uts") == INITIAL_UTS_NAMESPACE
            || files.as_ref().is_some_and(|files| files.are_own);
        let name = if has_name {
            Some(node_name.clone())
        } else {
            let name = files.as_ref().and_then(|files| files.read("etc/hostname"));
            name.map(|name| name.trim().to_owned())
        };
        let addresses = if files::is_in_network_of_init(sees_init) {
            addresses::addresses()
        } else {
            Arc::default()
        };
        let passwd = files.as_ref().and_then(|files| files.read("etc/passwd"));
        Self {
            node_name,
            name: name.unwrap_or_default(),
            id: files.as_ref().and_then(machine_id).unwrap_or_default(),
            addresses,
            pid_namespace,
            boot_id: boot_id.trim().parse().unwrap_or_default(),
            users: Users::parse(&passwd.unwrap_or_default()),
        }
    }

    /// The node name of `uname(2)`: in a container that of the container.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// Inode number of the PID namespace of the agent; 0 without `/proc`.
    pub fn pid_namespace(&self) -> u32 {
        self.pid_namespace
    }

    /// Whether the agent sees the same process ids as the kernel's programs.
    pub fn is_in_initial_pid_namespace(&self) -> bool {
        self.pid_namespace == INITIAL_PID_NAMESPACE
    }

    /// The boot id as a number. Ids of calls are unique within a boot.
    pub fn boot_seed(&self) -> u128 {
        self.boot_id.as_u128()
    }

    /// `service.instance.id`: a UUID of version 5 from the boot and the
    /// process. It stays the same when the agent restarts.
    pub fn instance_id(&self, key: &ProcessKey) -> String {
        let name = format!(
            "{}:{}:{}:{}",
            self.boot_id, key.pid, key.start_ns, key.exec_id
        );
        Uuid::new_v5(&SERVICE_INSTANCE_NAMESPACE, name.as_bytes()).to_string()
    }

    /// The name that the host has for a user of its own, not of a container, if
    /// `/etc/passwd` has one.
    pub fn user_name(&self, uid: u32) -> Option<&str> {
        self.users.name(uid)
    }

    /// Sets the attributes of the host, the operating system and this
    /// distribution.
    pub fn describe(&self, resource: &mut Resource) {
        resource.set_text(semconv::HOST_NAME, self.name.clone());
        resource.set_text(semconv::HOST_ID, self.id.clone());
        resource.set_texts(semconv::HOST_IP, &self.addresses);
        resource.set_text(semconv::HOST_ARCH, host_arch());
        resource.set(semconv::OS_TYPE, AttributeValue::String("linux".to_owned()));
        resource.set_text(semconv::TELEMETRY_DISTRO_NAME, "mqspan");
        resource.set_text(semconv::TELEMETRY_DISTRO_VERSION, env!("CARGO_PKG_VERSION"));
    }
}

/// Inode number of a namespace of the agent; 0 without `/proc`.
fn own_namespace(kind: &str) -> u32 {
    fs::metadata(format!("/proc/self/ns/{kind}"))
        .ok()
        .and_then(|namespace| u32::try_from(namespace.ino()).ok())
        .unwrap_or(0)
}

/// `host.id`: machine-id(5), from where the semantic conventions look for it.
fn machine_id(files: &HostFiles) -> Option<String> {
    ["etc/machine-id", "var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| {
            let text = files.read(path)?;
            let id = text.trim();
            // Before the first boot it is empty, or `uninitialized`.
            let is_id = id.len() == 32
                && id.bytes().all(|byte| byte.is_ascii_hexdigit())
                && id.bytes().any(|byte| byte != b'0');
            is_id.then(|| id.to_ascii_lowercase())
        })
}

/// `host.arch` as the semantic conventions spell it.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn instance_ids_tell_executions_apart() {
        let host = Host::read();
        let key = |exec_id| ProcessKey {
            pid: 1,
            start_ns: 2,
            exec_id,
        };
        assert_eq!(host.instance_id(&key(1)), host.instance_id(&key(1)));
        assert_ne!(host.instance_id(&key(1)), host.instance_id(&key(2)));
    }

    #[test]
    fn the_machine_has_an_id_or_none() {
        let id = "0123456789abcdef0123456789abcdef";
        let other = "fedcba9876543210fedcba9876543210";
        for (first, second, expected) in [
            (Some(format!("{id}\n")), Some(other), Some(id)),
            (None, Some(other), Some(other)),
            (Some(String::new()), Some(other), Some(other)),
            (Some("uninitialized\n".to_owned()), None, None),
            (Some("0".repeat(32)), None, None),
            (Some(format!("{id}0")), None, None),
            (None, None, None),
        ] {
            let root = TempDir::new().unwrap();
            for (path, text) in [
                ("etc/machine-id", first.as_deref()),
                ("var/lib/dbus/machine-id", second),
            ] {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                if let Some(text) = text {
                    fs::write(path, text).unwrap();
                }
            }
            let files = HostFiles::at(root.path(), false).unwrap();
            assert_eq!(machine_id(&files).as_deref(), expected, "{first:?}");
        }
    }

    #[test]
    fn what_is_not_known_of_the_host_is_left_out() {
        let host = Host {
            name: String::new(),
            id: String::new(),
            addresses: Arc::default(),
            ..Host::read()
        };
        let mut resource = Resource::default();
        host.describe(&mut resource);
        let keys: Vec<_> = resource.keys().collect();
        let expected = [
            "host.arch",
            "os.type",
            "telemetry.distro.name",
            "telemetry.distro.version",
        ];
        assert_eq!(keys, expected);
    }
}
