//! Rotates full files of spans: `PATH` becomes `PATH.1`, `PATH.1` becomes
//! `PATH.2`, and so on.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Whether `path` names this file, directly and not through a link. False once
/// somebody has renamed the file.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Renames the file and its predecessors, and removes those beyond `max_files`.
pub(super) fn rotate(path: &Path, max_files: Option<u32>) -> io::Result<()> {
    let mut count = 0;
    while fs::symlink_metadata(numbered(path, count + 1)).is_ok() {
        count += 1;
    }
    if let Some(max_files) = max_files {
        while count >= max_files.max(1) {
            fs::remove_file(numbered(path, count))?;
            count -= 1;
        }
    }
    for number in (1..=count).rev() {
        fs::rename(numbered(path, number), numbered(path, number + 1))?;
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_move_up_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spans");
        let text = |number| fs::read_to_string(numbered(&path, number)).ok();
        for (content, max_files, wanted) in [
            ("a", None, &["a"][..]),
            ("b", None, &["b", "a"]),
            ("c", Some(3), &["c", "b", "a"]),
            ("d", Some(3), &["d", "c", "b"]),
            ("e", Some(1), &["e"]),
            ("f", None, &["f", "e"]),
        ] {
            fs::write(&path, content).unwrap();
            rotate(&path, max_files).unwrap();
            assert!(!path.exists());
            let found: Vec<_> = (1..9).map_while(text).collect();
            assert_eq!(found, wanted, "after {content}");
        }
    }

    #[test]
    fn a_link_and_a_renamed_file_are_not_at_their_path() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (
            directory.path().join("spans"),
            directory.path().join("link"),
        );
        let file = File::create(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(is_at(&file, &path).unwrap());
        assert!(!is_at(&file, &link).unwrap());
        fs::rename(&path, directory.path().join("old")).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        File::create(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
    }
}
