//! Files of the host, which are not those of the agent's own image if it runs
//! in a container.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// The most that is read of a file.
const MAX_BYTES: u64 = 4 << 20;

/// The root of the host's file systems.
#[derive(Debug)]
pub(super) struct HostFiles {
    root: OwnedFd,
    /// Whether they are the agent's own, so that it is not in a container.
    pub(super) are_own: bool,
}

impl HostFiles {
    /// The agent's own root if that is where process 1 of the host has its own,
    /// else that of process 1 if the agent may see it. `None` if neither can be
    /// told. `sees_init` says that the agent is in the initial PID namespace,
    /// where process 1 is the host's.
    pub(super) fn find(sees_init: bool) -> Option<Self> {
        if !sees_init {
            return None;
        }
        let own = root_mount_of("self");
        let are_own = own.is_some() && own == root_mount_of("1");
        let path = if are_own { "/" } else { "/proc/1/root" };
        Self::at(path, are_own)
    }

    pub(super) fn at(path: impl AsRef<Path>, are_own: bool) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path.as_ref(), flags, Mode::empty()).ok()?;
        Some(Self { root, are_own })
    }

    /// A file by its path from the root. Symbolic links do not lead out of it.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&self.root, path, flags, Mode::empty(), resolve).ok()?;
        read(File::from(file)).ok()
    }
}

fn read(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Device, and root within its file system, of what a process has as `/`. Every
/// process may read that of every other.
fn root_mount_of(process: &str) -> Option<(String, String)> {
    let file = File::open(format!("/proc/{process}/mountinfo")).ok()?;
    root_mount(&read(file).ok()?)
}

/// From lines of `id parent major:minor root mount-point ...`, proc(5). A later
/// mount covers an earlier one.
fn root_mount(mountinfo: &str) -> Option<(String, String)> {
    mountinfo.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
        (point == "/").then(|| (device.to_owned(), root.to_owned()))
    })
}

/// Whether the agent has the network namespace of process 1 of the host. Files
/// in `/proc/PID/net` have one inode for each namespace, and unlike
/// `/proc/PID/ns` everybody may look at them.
pub(super) fn is_in_network_of_init(sees_init: bool) -> bool {
    let file_of = |process: &str| {
        let file = fs::metadata(format!("/proc/{process}/net/dev")).ok()?;
        Some((file.dev(), file.ino()))
    };
    let own = file_of("self");
    sees_init && own.is_some() && own == file_of("1")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_root_is_what_was_mounted_last() {
        let plain = "21 27 0:20 / /proc rw - proc proc rw\n27 1 254:0 / / rw - ext4 /dev/vda rw\n";
        let own = |text| root_mount(text);
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(own(plain), pair("254:0", "/"));
        let covered = format!("{plain}30 27 254:0 /images/debian / rw - ext4 /dev/vda rw\n");
        assert_eq!(own(&covered), pair("254:0", "/images/debian"));
        // A process that is confined to a directory sees no mount there.
        for text in [
            "",
            "27 1 254:0 /\n",
            "27 1 254:0 / /home rw - ext4 /dev/vda rw\n",
        ] {
            assert_eq!(own(text), None, "{text}");
        }
    }

    #[test]
    fn links_stay_within_the_root() {
        let outside = TempDir::new().unwrap();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run/id"), "inside").unwrap();
        symlink("/run/id", root.join("etc/absolute")).unwrap();
        symlink("../../secret", root.join("etc/outside")).unwrap();
        let files = HostFiles::at(&root, false).unwrap();
        assert_eq!(files.read("etc/absolute").as_deref(), Some("inside"));
        assert_eq!(files.read("etc/outside"), None);
        assert_eq!(files.read("etc/none"), None);
        assert!(HostFiles::at(root.join("none"), false).is_none());
    }

    #[test]
    fn in_another_pid_namespace_nothing_is_known_of_the_host() {
        assert!(HostFiles::find(false).is_none());
        assert!(!is_in_network_of_init(false));
    }
}
