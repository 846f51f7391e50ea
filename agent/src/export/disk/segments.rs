//! The directory of a queue: segments, the consumed position, a lock.
//!
//! Positions are bytes since the queue's first, across all segments. A
//! segment's name is the position of its first byte, in hexadecimal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::crc32c::crc32c;

/// Bytes for `consumed`, its successor in the making, and `lock`.
pub(crate) const OVERHEAD: u64 = 64;
const EXTENSION: &str = "spans";

/// One segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Position of its first byte.
    pub(crate) base: u64,
    /// Bytes.
    pub(crate) len: u64,
}

impl Segment {
    /// Position behind its last byte.
    pub(crate) fn end(self) -> u64 {
        self.base.saturating_add(self.len)
    }
}

/// The directory, held by this process alone.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is missing, for this user alone: names of
    /// queues and programs are nobody else's business.
    ///
    /// # Errors
    /// A directory that cannot be made, written, or is another agent's.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let shown = path.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the queue's directory {shown}"))?;
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path.join("lock"))
            .with_context(|| format!("cannot write to the queue's directory {shown}"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("the queue's directory {shown} is in use"))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    fn segment_path(&self, base: u64) -> PathBuf {
        self.path.join(format!("{base:016x}.{EXTENSION}"))
    }

    /// All segments in order; empty ones are removed.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub(crate) fn segments(&self) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let path = entry.path();
            let Some(base) = path
                .file_stem()
                .filter(|_| path.extension().is_some_and(|ext| ext == EXTENSION))
                .and_then(|stem| u64::from_str_radix(stem.to_str()?, 16).ok())
            else {
                continue;
            };
            let len = entry.metadata()?.len();
            if len == 0 {
                fs::remove_file(&path)?;
            } else {
                segments.push(Segment { base, len });
            }
        }
        segments.sort_by_key(|segment| segment.base);
        Ok(segments)
    }

    /// A new segment to append to.
    ///
    /// # Errors
    /// What the file system reports.
    pub(crate) fn create(&self, base: u64) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt as _;
        OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(self.segment_path(base))
    }

    /// A segment to read.
    ///
    /// # Errors
    /// What the file system reports.
    pub(crate) fn read(&self, base: u64) -> io::Result<File> {
        File::open(self.segment_path(base))
    }

    /// Removes a segment.
    ///
    /// # Errors
    /// What the file system reports.
    pub(crate) fn remove(&self, base: u64) -> io::Result<()> {
        fs::remove_file(self.segment_path(base))
    }

    /// Makes the names of new files last.
    ///
    /// # Errors
    /// What the file system reports.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// The position before which all is consumed; 0 if it is not known, which
    /// sends again rather than loses.
    pub(crate) fn consumed(&self) -> u64 {
        let mut bytes = [0; 12];
        let read =
            File::open(self.path.join("consumed")).and_then(|mut file| file.read_exact(&mut bytes));
        let (position, crc) = bytes.split_at(8);
        match (read, position.try_into()) {
            (Ok(()), Ok(array)) if crc == crc32c(position).to_le_bytes() => {
                u64::from_le_bytes(array)
            }
            _ => 0,
        }
    }

    /// Stores the position, whole or not at all.
    ///
    /// # Errors
    /// What the file system reports.
    pub(crate) fn set_consumed(&self, position: u64) -> io::Result<()> {
        let mut bytes = position.to_le_bytes().to_vec();
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        let new = self.path.join("consumed.new");
        fs::write(&new, &bytes)?;
        fs::rename(new, self.path.join("consumed"))
    }
}
