//! Access to the kernel's own file systems, mounted or not.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat, statfs};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// A pseudo file system of the kernel.
struct Kind {
    name: &'static str,
    /// From `include/uapi/linux/magic.h`.
    magic: u64,
    /// The usual mount points.
    paths: &'static [&'static str],
}

const TRACEFS: Kind = Kind {
    name: "tracefs",
    magic: 0x7472_6163,
    paths: &["/sys/kernel/tracing", "/sys/kernel/debug/tracing"],
};

const DEBUGFS: Kind = Kind {
    name: "debugfs",
    magic: 0x6462_6720,
    paths: &["/sys/kernel/debug"],
};

/// The root directory of a pseudo file system.
pub(super) struct KernelFs {
    directory: OwnedFd,
}

impl KernelFs {
    /// Opens tracefs.
    ///
    /// # Errors
    /// When it is not mounted and this process may not mount it.
    pub(super) fn tracefs() -> io::Result<Self> {
        Self::open(&TRACEFS)
    }

    /// Opens debugfs.
    ///
    /// # Errors
    /// When it is not mounted and this process may not mount it.
    pub(super) fn debugfs() -> io::Result<Self> {
        Self::open(&DEBUGFS)
    }

    /// Opens the existing mount, else makes one that only this process sees.
    fn open(kind: &Kind) -> io::Result<Self> {
        for path in kind.paths {
            if statfs(*path).is_ok_and(|fs| fs.f_type as u64 == kind.magic) {
                let directory = rustix::fs::open(
                    *path,
                    OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                return Ok(Self { directory });
            }
        }
        let context = fsopen(kind.name, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(context.as_fd())?;
        let directory = fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?;
        Ok(Self { directory })
    }

    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let fd = openat(
            &self.directory,
            path,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        io::read_to_string(fs::File::from(fd))
    }

    /// Appends a line in one `write()`, as tracefs' `kprobe_events` requires.
    pub(super) fn append(&self, path: &str, line: &str) -> io::Result<()> {
        let fd = openat(
            &self.directory,
            path,
            OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let written = rustix::io::write(&fd, line.as_bytes())?;
        if written == line.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }
}
