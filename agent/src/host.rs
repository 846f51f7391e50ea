//! The host, which all traced processes share.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use opentelemetry_semantic_conventions::attribute as semconv;
use uuid::Uuid;

use crate::event::ProcessKey;
use crate::resource::{AttributeValue, Resource};

/// `PROC_PID_INIT_INO`, `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u32 = 0xefff_fffc;

#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    /// Inode number of the PID namespace of the agent.
    pid_namespace: u32,
    boot_id: Uuid,
    users: HashMap<u32, String>,
}

/// Namespace for `service.instance.id` of the semantic conventions.
const SERVICE_INSTANCE_NAMESPACE: Uuid = Uuid::from_u128(0x4d63009a_8d0f_11ee_aad7_4c796ed8e320);

impl Host {
    /// Reads `uname(2)`, `/proc` and `/etc/passwd`.
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            name: uname.nodename().to_string_lossy().into_owned(),
            pid_namespace: fs::metadata("/proc/self/ns/pid")
                .ok()
                .and_then(|namespace| u32::try_from(namespace.ino()).ok())
                .unwrap_or(0),
            boot_id: boot_id.trim().parse().unwrap_or_default(),
            users: users(&fs::read_to_string("/etc/passwd").unwrap_or_default()),
        }
    }

    /// The node name of `uname(2)`.
    pub fn name(&self) -> &str {
        &self.name
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

    /// The name of a user, or the number if `/etc/passwd` has no name for it.
    pub fn user_name(&self, uid: u32) -> String {
        self.users
            .get(&uid)
            .cloned()
            .unwrap_or_else(|| uid.to_string())
    }

    /// Sets the attributes of the host, the operating system and this
    /// distribution.
    pub fn describe(&self, resource: &mut Resource) {
        resource.set_text(semconv::HOST_NAME, self.name.clone());
        resource.set_text(semconv::HOST_ARCH, host_arch());
        resource.set(semconv::OS_TYPE, AttributeValue::String("linux".to_owned()));
        resource.set_text(semconv::TELEMETRY_DISTRO_NAME, "mqspan");
        resource.set_text(semconv::TELEMETRY_DISTRO_VERSION, env!("CARGO_PKG_VERSION"));
    }
}

/// `host.arch` as the semantic conventions spell it.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Parses lines of `name:password:uid:...`, passwd(5).
fn users(passwd: &str) -> HashMap<u32, String> {
    passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some((uid, name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_users() {
        let users = users("root:x:0:0:root:/root:/bin/bash\n# comment\nbad:x:y\n");
        assert_eq!(users.len(), 1);
        assert_eq!(users[&0], "root");
    }

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
}
