//! Checks whose control a path is under. Where everybody may write, as in
//! `/tmp`, anybody can create a link to any place.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::bail;

/// Whether `uid` is neither this process's user nor root.
pub(crate) fn is_of_others(uid: u32) -> bool {
    uid != 0 && uid != rustix::process::geteuid().as_raw()
}

/// Refuses a path with a symbolic link that belongs to somebody else. The
/// targets of root's links and of our own are trusted.
///
/// # Errors
/// Names the link and its owner.
pub(crate) fn refuse_links_of_others(path: &Path) -> anyhow::Result<()> {
    refuse_links(path, is_of_others)
}

fn refuse_links(path: &Path, is_of_others: impl Fn(u32) -> bool) -> anyhow::Result<()> {
    let on_the_way = path.ancestors().filter(|part| !part.as_os_str().is_empty());
    for part in on_the_way {
        // A missing part is created later, or fails then.
        let Ok(metadata) = fs::symlink_metadata(part) else {
            continue;
        };
        if metadata.is_symlink() && is_of_others(metadata.uid()) {
            bail!(
                "{} is a link of user {}, who can make it lead elsewhere: name the place itself",
                part.display(),
                metadata.uid()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_of_others_is_refused_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink(at("real"), at("link")).unwrap();
        symlink(at("nowhere"), at("broken")).unwrap();
        for (path, has_link) in [
            ("real", false),
            ("real/not/there", false),
            ("link", true),
            ("link/not/there", true),
            ("broken", true),
        ] {
            assert!(refuse_links(&at(path), |_| false).is_ok(), "{path}");
            let refused = refuse_links(&at(path), |_| true);
            assert_eq!(refused.is_err(), has_link, "{path}");
        }
        assert!(refuse_links_of_others(&at("link")).is_ok());
        assert!(refuse_links_of_others(Path::new("relative")).is_ok());
    }
}
