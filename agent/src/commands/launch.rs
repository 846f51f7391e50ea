//! Waits for a byte and then executes a command. `trace` starts its command
//! this way, so that the filter knows the process before the command's first
//! call.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::Failure;
use crate::cli::LaunchArgs;
use crate::logs::say;

pub(super) fn run(args: &LaunchArgs) -> Result<ExitCode, Failure> {
    if args.descriptor <= 2 {
        return Err(Failure::Usage("launch is for mqspan itself".to_owned()));
    }
    // SAFETY: the descriptor was opened for this process by its parent, which
    // passed its number; nothing else in this process uses it.
    let mut go = unsafe { File::from_raw_fd(args.descriptor) };
    let mut byte = [0];
    // No byte means that the parent has failed: do not start the command.
    if go.read(&mut byte).unwrap_or(0) == 0 {
        return Ok(ExitCode::from(1));
    }
    drop(go);
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::Usage("no command".to_owned()));
    };
    let error = Command::new(program).args(arguments).exec();
    say!("cannot run {}: {error}", program.display());
    // The exit codes of a shell (POSIX, Shell & Utilities, 2.8.2).
    Ok(ExitCode::from(
        if error.kind() == std::io::ErrorKind::NotFound {
            127
        } else {
            126
        },
    ))
}
