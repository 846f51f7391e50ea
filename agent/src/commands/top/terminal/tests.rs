//! Runs against a pseudo-terminal, with one child process per way to end.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::*;

/// Names the way to end. Set only in the children that these tests start.
const END: &str = "MQSPAN_TEST_TERMINAL_END";

fn pseudo_terminal() -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (master, slave)
}

/// Runs the test `child` in its own process on a terminal and returns everything it wrote there.
fn run(end: &str) -> String {
    let (master, slave) = pseudo_terminal();
    let before = tcgetattr(&slave).unwrap();
    assert!(
        before
            .local_modes
            .contains(LocalModes::ICANON | LocalModes::ECHO)
    );
    let stdio = |slave: &OwnedFd| Stdio::from(slave.as_fd().try_clone_to_owned().unwrap());
    let module = module_path!().split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("{module}::child")])
        .env(END, end)
        .stdin(stdio(&slave))
        .stdout(stdio(&slave))
        .stderr(stdio(&slave))
        .spawn()
        .unwrap();
    // Reading fails with EIO on Linux once the last slave is closed.
    let reader = thread::spawn(move || {
        let mut written = Vec::new();
        let mut master = File::from(master);
        let mut chunk = [0; 4096];
        while let Ok(size @ 1..) = master.read(&mut chunk) {
            written.extend_from_slice(&chunk[..size]);
        }
        String::from_utf8_lossy(&written).into_owned()
    });
    child.wait().unwrap();
    let after = tcgetattr(&slave).unwrap();
    drop(slave);
    assert_eq!(before.local_modes, after.local_modes, "{end}");
    assert_eq!(before.input_modes, after.input_modes, "{end}");
    assert_eq!(before.output_modes, after.output_modes, "{end}");
    reader.join().unwrap()
}

/// What the child process does. In a normal test run it does nothing.
#[test]
fn child() {
    let Ok(end) = std::env::var(END) else {
        return;
    };
    let mut screen = Screen::enter().unwrap();
    let raw = tcgetattr(stdout()).unwrap();
    assert!(!raw.local_modes.contains(LocalModes::ICANON));
    screen
        .draw(|buffer| {
            buffer.set_string(0, 0, "on-the-screen", ratatui::style::Style::new());
        })
        .unwrap();
    match end.as_str() {
        "drop" => drop(screen),
        "panic" => panic!("on purpose"),
        "panic elsewhere" => {
            let other = thread::spawn(|| panic!("on purpose"));
            other.join().unwrap_err();
            // Leave the screen alone, as a display thread that is still running would.
            std::mem::forget(screen);
        }
        "abandon" => {
            abandon();
            std::mem::forget(screen);
        }
        other => unreachable!("{other}"),
    }
}

const LEAVE: &str = "\x1b[?1049l";

#[test]
fn an_end_gives_the_terminal_back() {
    let written = run("drop");
    assert_eq!(written.matches("\x1b[?1049h").count(), 1, "{written:?}");
    assert_eq!(written.matches(LEAVE).count(), 1, "{written:?}");
    let (screen, _) = written.split_once(LEAVE).unwrap();
    assert!(screen.contains("on-the-screen"), "{written:?}");
}

#[test]
fn a_panic_is_told_on_a_terminal_that_is_back() {
    for end in ["panic", "panic elsewhere"] {
        let written = run(end);
        let (screen, after) = written.split_once(LEAVE).unwrap();
        assert!(after.contains("on purpose"), "{end}: {written:?}");
        assert!(!screen.contains("on purpose"), "{end}: {written:?}");
        assert!(
            after.contains("\x1b[?25h"),
            "the cursor is hidden: {written:?}"
        );
    }
}

#[test]
fn an_abandoned_terminal_has_its_mode_back() {
    let written = run("abandon");
    assert!(!written.contains(LEAVE), "{written:?}");
}
