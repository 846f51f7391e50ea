use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::*;
use crate::cli::SortKey;
use crate::commands::top::batch::text;
use crate::commands::top::blocked::{Blocked, Deadline};
use crate::commands::top::keys::{Action, Step};
use crate::commands::top::samples;
use crate::commands::top::stats::{LastError, PeerStats};
use crate::event::Operation;

const COLOURED: Theme = Theme {
    colour: true,
    unicode: true,
};
const PLAIN: Theme = Theme {
    colour: false,
    unicode: true,
};
const ASCII: Theme = Theme {
    colour: false,
    unicode: false,
};

/// Three queues, of which one is full, and two blocked callers.
fn shop() -> Ui {
    let mut ui = Ui::new(SortKey::Name);
    let mut snapshot = samples::snapshot(&["/acks", "/orders", "/full"]);
    let queues = &mut snapshot.stats.queues;
    queues[2].depth = Some(10);
    queues[2].counts.errors = 3;
    queues[2].last_error = Some(LastError {
        error: "EAGAIN".to_owned(),
        comm: "shop\x1b[31m".to_owned(),
        tid: 71,
    });
    let orders = &mut queues[1];
    let counts = &mut orders.counts;
    (counts.sent, counts.received, counts.timeouts) = (12_345, 30, 20);
    for ns in [1_500, 2_000, 3_000_000] {
        counts.receive.record(ns);
    }
    orders.blocked = 2;
    for (program, pid, sends) in [
        ("shop", 70, true),
        ("store", 80, false),
        ("store", 81, false),
    ] {
        orders.peers.push(PeerStats {
            program: program.into(),
            pid,
            sends,
            receives: !sends,
            sent: if sends { 12_345 } else { 0 },
            received: if sends { 0 } else { u64::from(pid) },
        });
    }
    snapshot.stats.calls = 12_398;
    snapshot.blocked = vec![
        Blocked {
            operation: Operation::MqTimedsend,
            since_before: true,
            deadline: Deadline::Never,
            ..samples::blocked("/full", 71)
        },
        samples::blocked("/orders", 100),
    ];
    ui.show(snapshot);
    ui
}

fn view(theme: Theme) -> View {
    View {
        host: "box".to_owned(),
        backend: "kprobe",
        theme,
    }
}

fn screen(ui: &Ui, width: u16, height: u16, theme: Theme) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            view(theme).draw(frame.buffer_mut(), ui);
        })
        .unwrap();
    terminal.backend().buffer().clone()
}

fn lines(ui: &Ui, width: u16, height: u16, theme: Theme) -> Vec<String> {
    let text = text(&screen(ui, width, height, theme));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_small_terminal_has_it_all() {
    let mut ui = shop();
    ui.act(Action::Move(Step::Last), 1);
    let rows = lines(&ui, 80, 24, ASCII);
    let wanted = "\
mqspan top  box  by kprobe  1.2k calls/s  06:40:00 UTC
3 queues by name  no call lost
 QUEUE^                   DEPTH SEND/S RECV/S WAITp50 WAITp99 INQp99 ERR/S TMO/S
 /acks                     0/10      0      0       -       -      -     0     0
 /full          #####     10/10      0      0       -       -      -   0.3     0
>/orders        #          1/10   1.2k    3.0   1.9us   2.9ms      -     0   2.0";
    assert_eq!(rows[..6].join("\n"), wanted);
    let wanted = "\
BLOCKED NOW: 1 receiver, 1 sender
PROCESS         PID/TID         ABI     CALL           QUEUE     FOR    UNTIL
store           100/71          i386    send           /full     >2.5s  no limit
store           100             i386    receive_time32 /orders   2.5s   06:00:03";
    assert!(rows.join("\n").contains(wanted), "{}", rows.join("\n"));
    let wanted = "\
/orders: takes 10 messages of 64 bytes
PRODUCERS       SEND/S  CONSUMERS       RECV/S  RECEIVES WAITED n=3 max 3.0ms
shop/70           1.2k  store/81           8.1  #
                        store/80           8.0  #";
    assert!(rows.join("\n").contains(wanted), "{}", rows.join("\n"));
    assert_eq!(rows[22], " ".repeat(48) + "|1us      |1ms      |1s");
    assert_eq!(
        rows[23],
        "q end  h help  arrows select  s sort  r reverse  / filter  p pause  w chart"
    );
}

#[test]
fn a_large_terminal_shows_more() {
    let rows = lines(&shop(), 120, 40, PLAIN).join("\n");
    for wanted in ["  BLKD ", "06:00:03 in 0ns", "█"] {
        assert!(rows.contains(wanted), "no {wanted:?}:\n{rows}");
    }
    let narrow = lines(&shop(), 80, 24, PLAIN).join("\n");
    assert!(!narrow.contains("BLKD "), "{narrow}");
}

#[test]
fn every_size_can_be_drawn() {
    let mut ui = shop();
    for help in [false, true] {
        ui.help = help;
        for width in [0, 1, 79, 80, 81, 100, 116, 200] {
            for height in [0, 1, 19, 20, 21, 24, 40, 100] {
                let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                view(COLOURED).draw(&mut buffer, &ui);
            }
        }
    }
}

#[test]
fn a_terminal_that_is_too_small_is_told_so() {
    let rows = lines(&shop(), 60, 15, PLAIN);
    assert_eq!(rows[0], "mqspan top needs 80x20 cells.");
    assert_eq!(rows[1], "This one is 60x15.");
    assert!(rows[2..].iter().any(|row| row.contains("q.")), "{rows:?}");
}

#[test]
fn without_colour_there_is_none_and_the_text_is_the_same() {
    let ui = shop();
    for (width, height) in [(80, 24), (120, 40)] {
        let coloured = screen(&ui, width, height, COLOURED);
        let plain = screen(&ui, width, height, PLAIN);
        let has_colour = |buffer: &Buffer| {
            let mut cells = buffer.content().iter();
            cells.any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
        };
        assert!(has_colour(&coloured));
        assert!(!has_colour(&plain));
        assert_eq!(text(&coloured), text(&plain));
    }
}

#[test]
fn in_ascii_there_is_nothing_else() {
    for (width, height) in [(80, 24), (120, 40)] {
        let rows = lines(&shop(), width, height, ASCII).join("\n");
        assert!(rows.is_ascii(), "{rows}");
    }
}

#[test]
fn the_selection_is_marked() {
    let mut ui = shop();
    assert!(lines(&ui, 80, 24, PLAIN)[3].starts_with(">/acks"));
    ui.act(Action::Move(Step::Down), 1);
    let rows = lines(&ui, 80, 24, PLAIN);
    assert!(rows[4].starts_with(">/full"), "{}", rows[4]);
    let detail = rows.iter().find(|row| row.starts_with("/full: takes 10"));
    // A program's name cannot send escape sequences to the terminal.
    assert!(
        detail
            .unwrap()
            .contains("last error EAGAIN of shop\\u{1b}[31m/71")
    );
}

#[test]
fn what_is_paused_lost_filtered_or_typed_is_said() {
    let mut ui = shop();
    ui.act(Action::Pause, 1);
    ui.snapshot.lost.undecodable = 4;
    ui.act(Action::EditFilter, 1);
    ui.act(Action::Type('o'), 1);
    let rows = lines(&ui, 80, 24, PLAIN);
    assert!(rows[0].ends_with("PAUSED, p goes on"), "{}", rows[0]);
    assert_eq!(
        rows[1],
        "1 of 3 queues by name  4 CALLS LOST, so numbers are too low: undecodable 4"
    );
    assert!(rows[23].starts_with("names with: o_"), "{}", rows[23]);
    ui.act(Action::AcceptFilter, 1);
    let rows = lines(&ui, 80, 24, PLAIN);
    assert!(rows[23].starts_with("names with: o  Esc"), "{}", rows[23]);
    ui.act(Action::Type('x'), 1);
    let rows = lines(&ui, 80, 24, PLAIN);
    assert!(rows[3].contains("No queue's name matches"), "{}", rows[3]);
}

#[test]
fn the_help_says_the_window_and_every_key() {
    let mut ui = shop();
    ui.act(Action::Help, 1);
    let rows = lines(&ui, 80, 20, PLAIN).join("\n");
    for wanted in [
        "HELP",
        "q, Ctrl-C",
        "s, S",
        " r ",
        " / ",
        " b ",
        " w ",
        "p, space",
        "Ctrl-Z",
        "last 10 seconds",
        "UTC",
    ] {
        assert!(rows.contains(wanted), "no {wanted:?}:\n{rows}");
    }
}

#[test]
fn nothing_to_show_is_said() {
    let rows = lines(&Ui::new(SortKey::Name), 80, 24, PLAIN);
    assert_eq!(rows[3], " No call on a queue yet.");
    assert_eq!(rows[1], "0 queues by name  no call lost");
    assert!(rows.contains(&"BLOCKED NOW: nobody".to_owned()), "{rows:?}");
}

#[test]
fn rows_are_shared() {
    for (rows, queues, callers, shares) in [
        (24, 3, 2, [4, 4, 13]),
        (24, 50, 0, [13, 1, 7]),
        (24, 50, 50, [10, 4, 7]),
        (24, 2, 50, [3, 11, 7]),
        (40, 3, 0, [22, 1, 14]),
        (40, 50, 50, [20, 10, 7]),
        (20, 50, 50, [8, 3, 6]),
    ] {
        let found = heights(rows, queues, callers);
        assert_eq!(found, shares, "{rows} {queues} {callers}");
        assert_eq!(found.iter().sum::<u16>() + HEAD + FOOT, rows);
    }
}

#[test]
fn plain_tables_leave_nothing_out() {
    let mut ui = shop();
    let name = format!("/{}", "n".repeat(120));
    ui.snapshot.stats.queues.push(samples::queue(&name, 2));
    for tid in 1..100 {
        ui.snapshot.blocked.push(samples::blocked(&name, tid));
    }
    let plain = text(&view(ASCII).plain(&ui));
    let rows: Vec<&str> = plain.lines().collect();
    assert!(rows[0].starts_with("mqspan top  box"), "{}", rows[0]);
    assert_eq!(plain.matches(&name).count(), 1 + 99);
    assert!(!plain.contains('~'), "{plain}");
    assert!(!plain.contains('\x1b'));
    assert_eq!(rows.len(), 2 + 1 + 4 + 2 + 101);
}
