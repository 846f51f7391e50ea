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
