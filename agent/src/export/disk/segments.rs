//! The directory of a queue: segments, the consumed position, a lock.
//!
//! Positions count bytes from the first one of the queue, across all segments.
//! A segment is named after the position of its first byte, in hexadecimal.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, fchmod, flock, fstat, openat, renameat, unlinkat};
use tracing::warn;

use crate::export::paths::{is_of_others, refuse_links_of_others};
use crc32c::crc32c;

/// Bytes for `consumed`, its replacement while it is written, and `lock`.
pub(crate) const OVERHEAD: u64 = 64;
const EXTENSION: &str = "spans";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Position of its first byte.
    pub(crate) base: u64,
    /// Length in bytes.
    pub(crate) len: u64,
}

impl Segment {
    /// Position after its last byte.
    pub(crate) fn end(self) -> u64 {
        self.base.saturating_add(self.len)
    }
}

/// Other users have no access to the directory or its files.
const PRIVATE: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
pub(super) const LOCK: &str = "lock";
const CONSUMED: &str = "consumed";
const CONSUMED_NEW: &str = "consumed.new";

/// The directory, locked by this process. Files are opened relative to its
/// descriptor: whoever may write to a parent can replace the directory, but not
/// the one that is in use.
#[derive(Debug)]
pub(crate) struct Directory {
    directory: OwnedFd,
    _lock: File,
}

impl Directory {
    /// Opens the directory, which is created if it is missing.
    ///
    /// It is private to this user: the names of queues and programs are nobody
    /// else's business, and whoever can open the lock can hold it.
    ///
    /// # Errors
    /// If the directory cannot be created or written, if others can use it, or
    /// if another agent is using it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let shown = path.display();
        let in_words = || format!("cannot use the queue's directory {shown}");
        refuse_links_of_others(path).with_context(in_words)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE.bits())
            .create(path)
            .with_context(|| format!("cannot make the queue's directory {shown}"))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).with_context(in_words)?;
        make_private(&directory, path)?;
        let lock = open_at(&directory, LOCK, OFlags::CREATE | OFlags::RDWR)
            .and_then(|lock| {
                fchmod(&lock, PRIVATE_FILE)
                    .map(|()| lock)
                    .map_err(Into::into)
            })
            .with_context(|| format!("cannot write to the queue's directory {shown}"))?;
        flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).with_context(|| {
            format!(
                "the queue's directory {shown} is in use; `fuser -v {shown}/{LOCK}` tells by whom"
            )
        })?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// All segments in order. Removes empty ones.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub(crate) fn segments(&self) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for name in names(&self.directory)? {
            let Some(base) = base_of(&name) else {
                continue;
            };
            let stat = rustix::fs::statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let len = u64::try_from(stat.st_size).unwrap_or(0);
            if len == 0 {
                unlinkat(&self.directory, &name, AtFlags::empty())?;
            } else {
                segments.push(Segment { base, len });
            }
        }
        segments.sort_by_key(|segment| segment.base);
        Ok(segments)
    }

    /// Creates a segment to append to.
    pub(crate) fn create(&self, base: u64) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::APPEND;
        open_at(&self.directory, &segment_name(base), flags)
    }

    /// Opens a segment to read.
    pub(crate) fn read(&self, base: u64) -> io::Result<File> {
        open_at(&self.directory, &segment_name(base), OFlags::RDONLY)
    }

    pub(crate) fn remove(&self, base: u64) -> io::Result<()> {
        Ok(unlinkat(
            &self.directory,
            segment_name(base),
            AtFlags::empty(),
        )?)
    }

    /// Makes the names of new files durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    /// The position before which everything is consumed. 0 if it is unknown,
    /// which sends batches again rather than losing them.
    pub(crate) fn consumed(&self) -> u64 {
        let mut bytes = [0; 12];
        let read = open_at(&self.directory, CONSUMED, OFlags::RDONLY)
            .and_then(|mut file| file.read_exact(&mut bytes));
        let (position, crc) = bytes.split_at(8);
        match (read, position.try_into()) {
            (Ok(()), Ok(array)) if crc == crc32c(position).to_le_bytes() => {
                u64::from_le_bytes(array)
            }
            _ => 0,
        }
    }

    /// Stores the consumed position atomically.
    pub(crate) fn set_consumed(&self, position: u64) -> io::Result<()> {
        let mut bytes = position.to_le_bytes().to_vec();
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
        open_at(&self.directory, CONSUMED_NEW, flags)?.write_all(&bytes)?;
        Ok(renameat(
            &self.directory,
            CONSUMED_NEW,
            &self.directory,
            CONSUMED,
        )?)
    }
}

fn segment_name(base: u64) -> String {
    format!("{base:016x}.{EXTENSION}")
}

fn base_of(name: &str) -> Option<u64> {
    let (stem, extension) = name.rsplit_once('.')?;
    (extension == EXTENSION).then(|| u64::from_str_radix(stem, 16).ok())?
}

/// Opens a file of the directory; refuses a link.
fn open_at(directory: &OwnedFd, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, PRIVATE_FILE)?.into())
}

/// Names in the directory. No file of ours has one that is not UTF-8.
fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Makes the directory private if it is a queue's or empty. Any other one is
/// not ours to close: it may be `/tmp`, named by mistake.
fn make_private(directory: &OwnedFd, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let stat =
        fstat(directory).with_context(|| format!("cannot use the queue's directory {shown}"))?;
    if is_of_others(stat.st_uid) {
        let (owner, own) = (stat.st_uid, rustix::process::geteuid().as_raw());
        bail!(
            "the queue's directory {shown} belongs to user {owner}, who can take it away: \
             `chown -R {own} {shown}`, or name another one"
        );
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if !mode.intersects(Mode::RWXG | Mode::RWXO) {
        return Ok(());
    }
    let is_queue = |name: &String| {
        [LOCK, CONSUMED, CONSUMED_NEW, "lost+found"].contains(&name.as_str())
            || base_of(name).is_some()
    };
    let names =
        names(directory).with_context(|| format!("cannot read the queue's directory {shown}"))?;
    let is_shared = mode.contains(Mode::SVTX) || !names.iter().all(is_queue);
    if is_shared || fchmod(directory, PRIVATE).is_err() {
        bail!(
            "others can use the queue's directory {shown} (mode {:04o}): `chmod 0700 {shown}`, or \
             name a directory in it, which mqspan makes for itself",
            mode.bits()
        );
    }
    warn!(
        directory = %shown,
        mode = format!("{:04o}", mode.bits()),
        "others could use the queue's directory; its mode is 0700 now"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Who may use the directory.

    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    fn mode(path: impl AsRef<Path>) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A directory of this mode with these files, which all may read.
    fn directory(mode: u32, files: &[&str]) -> (TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("queue");
        fs::create_dir(&path).unwrap();
        for file in files {
            fs::write(path.join(file), "").unwrap();
            set_mode(path.join(file), 0o644);
        }
        set_mode(&path, mode);
        (parent, path)
    }

    #[test]
    fn what_is_made_is_for_this_user_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let queue = Directory::open(&path).unwrap();
        drop(queue.create(7).unwrap());
        queue.set_consumed(5).unwrap();
        assert_eq!(queue.consumed(), 5);
        for directory in [path.as_path(), path.parent().unwrap()] {
            assert_eq!(mode(directory), 0o700);
        }
        for name in names(&queue.directory).unwrap() {
            assert_eq!(mode(path.join(&name)), 0o600, "{name}");
        }
        let error = format!("{:#}", Directory::open(&path).unwrap_err());
        assert!(error.contains("is in use"), "{error}");
    }

    #[test]
    fn what_is_a_queue_is_taken_from_others() {
        let segment = segment_name(0);
        for files in [vec![], vec!["lock", "consumed", "lost+found", &segment]] {
            for before in [0o755, 0o770, 0o2750, 0o777] {
                let (_parent, path) = directory(before, &files);
                drop(Directory::open(&path).unwrap());
                assert_eq!(mode(&path) & 0o777, 0o700, "{before:o} {files:?}");
                assert_eq!(mode(path.join("lock")), 0o600);
            }
        }
    }

    #[test]
    fn what_may_be_more_than_a_queue_is_refused_and_left_as_it_is() {
        for (before, files) in [
            (0o1777, vec![]),
            (0o755, vec!["passwd"]),
            (0o750, vec!["zz.spans"]),
        ] {
            let (_parent, path) = directory(before, &files);
            let error = format!("{:#}", Directory::open(&path).unwrap_err());
            let shown = path.display().to_string();
            for part in [
                &*shown,
                &format!("{before:04o}"),
                "chmod 0700",
                "a directory in it",
            ] {
                assert!(error.contains(part), "no {part:?} in {error}");
            }
            assert_eq!(mode(&path), before);
            assert!(!path.join("lock").exists());
        }
        // Nobody else can use this one, whatever is in it.
        let (_parent, path) = directory(0o700, &["passwd"]);
        Directory::open(&path).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        for name in ["lock", CONSUMED_NEW] {
            let (parent, path) = directory(0o700, &[]);
            let victim = parent.path().join("victim");
            fs::write(&victim, "precious").unwrap();
            set_mode(&victim, 0o640);
            symlink(&victim, path.join(name)).unwrap();
            let outcome = Directory::open(&path).and_then(|queue| Ok(queue.set_consumed(1)?));
            assert!(outcome.is_err(), "{name}");
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
            assert_eq!(mode(&victim), 0o640);
        }
    }

    #[test]
    fn another_directory_in_its_place_changes_nothing() {
        let (parent, path) = directory(0o700, &[]);
        let queue = Directory::open(&path).unwrap();
        let moved = parent.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        fs::create_dir(&path).unwrap();
        queue.create(0).unwrap().write_all(b"x").unwrap();
        queue.set_consumed(1).unwrap();
        queue.sync().unwrap();
        assert_eq!(queue.segments().unwrap(), [Segment { base: 0, len: 1 }]);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        assert!(moved.join("consumed").exists());
    }
}
