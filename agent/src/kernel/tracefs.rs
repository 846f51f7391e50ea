//! Access to tracefs, mounted or not.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat, statfs};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// `TRACEFS_MAGIC`, `include/uapi/linux/magic.h`.
const TRACEFS_MAGIC: u64 = 0x7472_6163;

/// The directory of tracefs.
pub(super) struct Tracefs {
    directory: OwnedFd,
}

impl Tracefs {
    /// Where it is mounted; else a mount that only this process sees.
    ///
    /// # Errors
    /// When it is not mounted and may not be.
    pub(super) fn open() -> io::Result<Self> {
        for path in ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"] {
            if statfs(path).is_ok_and(|fs| fs.f_type as u64 == TRACEFS_MAGIC) {
                let directory = rustix::fs::open(
                    path,
                    OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                return Ok(Self { directory });
            }
        }
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(context.as_fd())?;
        let directory = fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?;
        Ok(Self { directory })
    }

    /// The text of a file.
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let fd = openat(
            &self.directory,
            path,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        io::read_to_string(fs::File::from(fd))
    }

    /// Appends a line, in one `write()`, as `kprobe_events` wants it.
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
