//! Error messages for commands that cannot be started.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use anyhow::Error;

/// Commands, and the Debian packages that have them.
const PACKAGES: [(&str, &str); 11] = [
    ("bpftrace", "bpftrace"),
    ("chrt", "util-linux"),
    ("date", "coreutils"),
    ("mount", "mount"),
    ("perf", "linux-perf"),
    ("runc", "runc"),
    ("strace", "strace"),
    ("taskset", "util-linux"),
    ("tmux", "tmux"),
    ("umount", "mount"),
    ("unshare", "util-linux"),
];

/// For `map_err` after starting a command, since the system's own error does not name the command.
pub(crate) fn cannot_run(program: impl AsRef<OsStr>) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        let program = Path::new(program.as_ref()).display().to_string();
        let package = PACKAGES
            .iter()
            .find(|(command, _)| error.kind() == io::ErrorKind::NotFound && *command == program);
        let message = match package {
            Some((_, package)) => {
                format!("cannot run `{program}`, which is in Debian's package {package}")
            }
            None => format!("cannot run `{program}`"),
        };
        Error::new(error).context(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_and_its_package_are_named() {
        for (program, kind, want) in [
            (
                "tmux",
                io::ErrorKind::NotFound,
                "cannot run `tmux`, which is in Debian's package tmux: ",
            ),
            (
                "tmux",
                io::ErrorKind::PermissionDenied,
                "cannot run `tmux`: ",
            ),
            (
                "/nowhere/mqspan",
                io::ErrorKind::NotFound,
                "cannot run `/nowhere/mqspan`: ",
            ),
        ] {
            let error = cannot_run(program)(kind.into());
            assert_eq!(
                format!("{error:#}"),
                format!("{want}{}", io::Error::from(kind))
            );
        }
    }
}
