//! `mqspan top` on a terminal, as a person uses it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{Case, case, ensure_contains};
use crate::tmux::Terminal;
use crate::workload::{Held, Workload};
use crate::{Bench, agent, signal};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("screen_keys", keys),
        case!("screen_ends", ends),
        case!("screen_suspended", suspended),
        case!("screen_colours", colours),
        case!("screen_sizes", sizes),
    ]
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (120, 40);

/// Starts `top` in the shell of a terminal, which then prints its exit code. The terminal's
/// settings are saved for [`ensure_ended`] to compare.
async fn start_top(bench: &Bench, terminal: &Terminal, options: &str) -> Result<()> {
    let pid = terminal.file("pid");
    let before = terminal.file("before");
    // If `top` fails, its message stays on the screen.
    let line = format!(
        "stty -a >{}; sh -c 'echo $$ >{}; exec {} top --backend {} --interval 200ms {options}'; \
         echo ended with $?",
        before.display(),
        pid.display(),
        bench.agent.display(),
        bench.backend.name(),
    );
    terminal.type_line("clear").await?;
    terminal.type_line(&line).await?;
    terminal
        .wait_for("top", |screen| screen.starts_with("mqspan top"))
        .await?;
    Ok(())
}

async fn pid(terminal: &Terminal) -> Result<u32> {
    let text = std::fs::read_to_string(terminal.file("pid"))?;
    Ok(text.trim().parse()?)
}

/// Checks that the shell's screen is back and the terminal's settings are as before.
async fn ensure_ended(terminal: &Terminal) -> Result<()> {
    let has_code = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let screen = terminal
        .wait_for("end of top", |screen| {
            // The command line, which is there too, has no code after these words.
            screen.split("ended with ").skip(1).any(has_code)
        })
        .await?;
    ensure_contains(&screen, "ended with 0", "the shell")?;
    ensure!(
        !screen.contains("mqspan top  "),
        "is still there:\n{screen}"
    );
    let after = terminal.file("after");
    let line = format!("stty -a >{}; echo compare", after.display());
    terminal.type_line(&line).await?;
    terminal
        .wait_for("answer of the shell", |screen| {
            screen.lines().any(|line| line == "compare")
        })
        .await?;
    let before = std::fs::read_to_string(terminal.file("before"))?;
    let after = std::fs::read_to_string(after)?;
    ensure!(before == after, "before: {before}after: {after}");
    Ok(())
}

/// A queue with three messages, another with a blocked receiver, and a third with two.
struct Traffic {
    filled: Workload,
    blocked: Workload,
    filled_held: Held,
    blocked_held: Held,
}

impl Traffic {
    async fn start(bench: &Bench) -> Result<Traffic> {
        let until = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 3_600;
        let program = bench.workload()?;
        let filled = Workload::new(program.clone(), &["filled", "3", &until.to_string()])?;
        let blocked = Workload::new(program, &["blocked", "2", "hold"])?;
        Ok(Traffic {
            filled_held: filled.hold(bench).await?,
            blocked_held: blocked.hold(bench).await?,
            filled,
            blocked,
        })
    }

    async fn end(self, bench: &Bench) -> Result<()> {
        self.filled_held.release(bench).await?;
        self.blocked_held.release(bench).await
    }
}

/// Shows only queues of the cases, not those of other programs on this machine.
const CASES: &str = "--queue \"/e2e.*\"";

/// The rows of the table of queues, without its header.
fn queues(screen: &str) -> Vec<&str> {
    screen
        .lines()
        .skip(3)
        .take_while(|line| !line.is_empty() && !line.starts_with("BLOCKED"))
        .collect()
}

fn selected(screen: &str) -> Option<&str> {
    queues(screen).into_iter().find(|row| row.starts_with('>'))
}

/// Each key does its work: sort, reverse, select, filter, help, pause and quit.
async fn keys(bench: &'static Bench) -> Result<()> {
    let terminal = Terminal::start(bench, LARGE, &[]).await?;
    start_top(bench, &terminal, CASES).await?;
    terminal
        .wait_for("word of no calls", |screen| {
            screen.contains("No call on a queue yet.") && screen.contains("BLOCKED NOW: nobody")
        })
        .await?;
    let traffic = Traffic::start(bench).await?;
    let full = format!("{}.filled", traffic.filled.prefix());
    let many = format!("{}.blocked", traffic.blocked.prefix());
    let screen = terminal
        .wait_for("depth of 3 of 8 and three receivers", |screen| {
            screen.contains("3 receivers, 0 senders")
                && queues(screen)
                    .iter()
                    .any(|row| row.contains(&full) && row.contains("3/8"))
        })
        .await?;
    let caller = format!(" {}/", traffic.blocked_held.pid()?);
    ensure!(screen.matches(&caller).count() == 2, "{caller}:\n{screen}");
    ensure_contains(&screen, "no call lost", "the head")?;

    // Sort by name, then the other way round.
    terminal.press(&["s"]).await?;
    let is_sorted = |screen: &str| screen.contains(" by name  ") && screen.contains("QUEUE▴");
    let screen = terminal.wait_for("order by name", is_sorted).await?;
    let first = (*queues(&screen).first().context("no queue")?).to_owned();
    terminal.press(&["r"]).await?;
    let screen = terminal
        .wait_for("other order", |screen| {
            screen.contains(" by name, reversed  ") && screen.contains("QUEUE▾")
        })
        .await?;
    let name = first.trim_start_matches('>').split(' ').next();
    let name = name.context("no name")?;
    let rows = queues(&screen);
    ensure!(
        rows.len() == 3 && rows.last().is_some_and(|row| row.contains(name)),
        "{name} is not the last:\n{screen}"
    );
    terminal.press(&["r", "Home"]).await?;
    terminal
        .wait_for("selection of the first", |screen| {
            is_sorted(screen) && selected(screen).is_some_and(|row| row.contains(name))
        })
        .await?;
    terminal.press(&["j", "Down", "k"]).await?;
    terminal
        .wait_for("selection of the second", |screen| {
            queues(screen)
                .get(1)
                .is_some_and(|row| row.starts_with('>'))
        })
        .await?;

    // Filter by what is typed.
    terminal
        .press(&["/", "b", "l", "o", "c", "k", "Enter"])
        .await?;
    let screen = terminal
        .wait_for("one queue", |screen| screen.contains("1 of 3 queues"))
        .await?;
    ensure!(
        queues(&screen).len() == 1 && selected(&screen).is_some_and(|row| row.contains(&many)),
        "not {many} alone:\n{screen}"
    );
    ensure_contains(&screen, "2 receivers, 0 senders", "the callers")?;
    terminal.press(&["Escape"]).await?;
    terminal
        .wait_for("three queues", |screen| screen.contains("\n3 queues"))
        .await?;

    // Open and close the help.
    terminal.press(&["h"]).await?;
    terminal
        .wait_for("help", |screen| screen.contains("HELP - any key"))
        .await?;
    terminal.press(&["x"]).await?;
    terminal
        .wait_for("end of the help", |screen| !screen.contains("HELP"))
        .await?;

    // While paused, the screen stays as it is. Afterwards it catches up.
    terminal.press(&["p"]).await?;
    terminal
        .wait_for("pause", |screen| screen.contains("PAUSED"))
        .await?;
    let beside = agent::command(bench, &["top", "--batch", "1", "--interval", "1s"]);
    traffic.end(bench).await?;
    // As long as another `top` needs to start and to see a whole second.
    ensure!(beside.await?.status.success(), "no second top");
    let screen = terminal.screen().await?;
    ensure_contains(&screen, "3 receivers, 0 senders", "the paused screen")?;
    terminal.press(&["p"]).await?;
    let screen = terminal
        .wait_for("end of the waits", |screen| {
            screen.contains("BLOCKED NOW: nobody") && !screen.contains("PAUSED")
        })
        .await?;
    ensure!(!screen.contains(&caller), "{caller}:\n{screen}");
    terminal.press(&["q"]).await?;
    ensure_ended(&terminal).await
}

/// Whatever ends `top`, the terminal is as it was.
async fn ends(bench: &'static Bench) -> Result<()> {
    let terminal = Terminal::start(bench, SMALL, &[]).await?;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        start_top(bench, &terminal, CASES).await?;
        signal::send(pid(&terminal).await?, signal)?;
        ensure_ended(&terminal)
            .await
            .with_context(|| format!("after {signal:?}"))?;
    }
    for key in ["q", "C-c"] {
        start_top(bench, &terminal, CASES).await?;
        terminal.press(&[key]).await?;
        ensure_ended(&terminal)
            .await
            .with_context(|| format!("after {key}"))?;
    }
    // When its terminal is gone, `top` does not stay behind.
    start_top(bench, &terminal, CASES).await?;
    let pid = pid(&terminal).await?;
    terminal.close().await?;
    let give_up = tokio::time::Instant::now() + bench.bound(30);
    while std::fs::exists(format!("/proc/{pid}"))? {
        ensure!(
            tokio::time::Instant::now() < give_up,
            "top runs on without its terminal"
        );
        tokio::time::sleep(agent::POLL).await;
    }
    Ok(())
}

/// Ctrl-Z gives the terminal back to the shell, and `fg` brings the screen back.
async fn suspended(bench: &'static Bench) -> Result<()> {
    let terminal = Terminal::start(bench, SMALL, &[]).await?;
    start_top(bench, &terminal, CASES).await?;
    terminal.press(&["C-z"]).await?;
    terminal
        .wait_for("shell", |screen| {
            screen.contains("Stopped") && !screen.starts_with("mqspan top")
        })
        .await?;
    // The shell continues below the stopped `top`.
    terminal.type_line("clear").await?;
    terminal
        .wait_for("empty screen", |screen| !screen.contains("Stopped"))
        .await?;
    terminal.type_line("fg; echo ended with $?").await?;
    terminal
        .wait_for("top again", |screen| screen.starts_with("mqspan top"))
        .await?;
    terminal.press(&["q"]).await?;
    ensure_ended(&terminal).await
}

/// Whether a sequence sets a colour: SGR 30 to 49 or 90 to 107, alone or with others.
fn has_colour(screen: &str) -> bool {
    screen.split("\x1b[").skip(1).any(|sequence| {
        let end = sequence.find(|c: char| !c.is_ascii_digit() && c != ';');
        let (codes, rest) = sequence.split_at(end.unwrap_or(sequence.len()));
        rest.starts_with('m')
            && codes
                .split(';')
                .filter_map(|code| code.parse::<u32>().ok())
                // 39 and 49 restore the terminal's own colours.
                .any(|code| matches!(code, 30..=38 | 40..=48 | 90..=107))
    })
}

/// `top` uses colours unless `NO_COLOR` is set.
async fn colours(bench: &'static Bench) -> Result<()> {
    for (variables, coloured) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let terminal = Terminal::start(bench, SMALL, variables).await?;
        start_top(bench, &terminal, CASES).await?;
        let traffic = Traffic::start(bench).await?;
        terminal
            .wait_for("traffic", |screen| {
                screen.contains("3 receivers") && screen.contains("3/8")
            })
            .await?;
        let screen = terminal.screen_with_escapes().await?;
        ensure!(
            has_colour(&screen) == coloured,
            "with {variables:?}: {screen:?}"
        );
        traffic.end(bench).await?;
        terminal.press(&["q"]).await?;
        ensure_ended(&terminal).await?;
    }
    Ok(())
}

/// Everything fits on 80x24, and on a smaller terminal `top` says that it needs more.
async fn sizes(bench: &'static Bench) -> Result<()> {
    let terminal = Terminal::start(bench, SMALL, &[]).await?;
    start_top(bench, &terminal, CASES).await?;
    let traffic = Traffic::start(bench).await?;
    let screen = terminal
        .wait_for("traffic", |screen| {
            screen.contains("3 receivers") && screen.contains("3/8")
        })
        .await?;
    for wanted in ["UTC", "WAITp99", "TMO/S", "UNTIL", "PRODUCERS", "CONSUMERS"] {
        ensure_contains(&screen, wanted, "the screen")?;
    }
    ensure!(
        screen
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("q end")),
        "no keys:\n{screen}"
    );
    traffic.end(bench).await?;
    terminal.press(&["q"]).await?;
    ensure_ended(&terminal).await?;

    let terminal = Terminal::start(bench, (60, 15), &[]).await?;
    start_top(bench, &terminal, CASES).await?;
    terminal
        .wait_for("word of the size", |screen| {
            screen.contains("needs 80x20 cells") && screen.contains("This one is 60x15.")
        })
        .await?;
    terminal.press(&["q"]).await?;
    ensure_ended(&terminal).await
}
