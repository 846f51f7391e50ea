use super::*;
use crate::commands::top::samples;

fn names(ui: &Ui) -> Vec<&str> {
    ui.rows().iter().map(|queue| &*queue.id.name).collect()
}

fn selected(ui: &Ui) -> &str {
    let rows = ui.rows();
    let queue = rows[ui.selected_at(&rows)];
    &queue.id.name
}

fn with(names: &[&str]) -> Ui {
    let mut ui = Ui::new(SortKey::Name);
    ui.show(samples::snapshot(names));
    ui
}

fn press(ui: &mut Ui, actions: &[Action]) {
    for action in actions {
        ui.act(*action, 3);
    }
}

#[test]
fn each_key_sorts_the_heaviest_first() {
    let mut ui = with(&["/a", "/b", "/c"]);
    let queues = &mut ui.snapshot.stats.queues;
    queues[0].blocked = 5;
    queues[1].counts.sent = 9;
    queues[1].counts.errors = 1;
    queues[1].counts.timeouts = 1;
    queues[2].counts.errors = 1;
    queues[0].counts.receive.record(70_000_000);
    queues[2].counts.receive.record(5_000);
    queues[2].counts.in_queue.record(5_000);
    for (sort, order) in [
        (SortKey::Traffic, ["/b", "/a", "/c"]),
        (SortKey::Name, ["/a", "/b", "/c"]),
        (SortKey::Depth, ["/c", "/b", "/a"]),
        (SortKey::Blocked, ["/a", "/b", "/c"]),
        (SortKey::Wait, ["/a", "/c", "/b"]),
        (SortKey::Queued, ["/c", "/a", "/b"]),
        (SortKey::Errors, ["/b", "/c", "/a"]),
    ] {
        ui.sort = sort;
        assert_eq!(names(&ui), order, "{sort:?}");
        ui.reversed = true;
        let mut reversed = order;
        reversed.reverse();
        assert_eq!(names(&ui), reversed, "{sort:?}");
        ui.reversed = false;
    }
}

#[test]
fn sort_keys_take_turns() {
    let mut ui = Ui::new(SortKey::Traffic);
    let mut seen = vec![ui.sort];
    for _ in 1..SortKey::value_variants().len() {
        press(&mut ui, &[Action::NextSort]);
        assert!(!seen.contains(&ui.sort));
        seen.push(ui.sort);
    }
    press(&mut ui, &[Action::NextSort, Action::PreviousSort]);
    assert_eq!(Some(&ui.sort), seen.last());
}

#[test]
fn filters_are_parts_or_globs() {
    let mut ui = with(&["/orders", "/Orders.eu", "/acks"]);
    for (typed, left) in [
        ("", vec!["/Orders.eu", "/acks", "/orders"]),
        ("ORD", vec!["/Orders.eu", "/orders"]),
        ("a*", vec!["/acks"]),
        ("/[ao]*s", vec!["/acks", "/orders"]),
        ("[", vec![]),
    ] {
        press(&mut ui, &[Action::ClearFilter, Action::EditFilter]);
        assert_eq!(ui.mode(), Mode::Filter);
        for c in typed.chars() {
            press(&mut ui, &[Action::Type(c)]);
        }
        press(&mut ui, &[Action::AcceptFilter]);
        assert_eq!((names(&ui), ui.mode()), (left, Mode::Tables), "{typed}");
    }
    press(&mut ui, &[Action::ClearFilter]);
    assert_eq!(names(&ui).len(), 3);
}

#[test]
fn the_selection_stays_with_its_queue() {
    let mut ui = with(&["/a", "/b", "/c", "/d", "/e"]);
    assert_eq!(selected(&ui), "/a");
    press(&mut ui, &[Action::Move(Step::Up), Action::Move(Step::Down)]);
    assert_eq!(selected(&ui), "/b");
    ui.sort = SortKey::Depth;
    assert_eq!(selected(&ui), "/b");
    ui.sort = SortKey::Name;
    press(&mut ui, &[Action::Move(Step::PageDown)]);
    assert_eq!(selected(&ui), "/e");
    press(&mut ui, &[Action::Move(Step::PageUp)]);
    assert_eq!(selected(&ui), "/b");
    // `/b` is gone, so the queue that takes its place is selected.
    ui.show(samples::snapshot(&["/a", "/c", "/d"]));
    assert_eq!(selected(&ui), "/c");
    press(
        &mut ui,
        &[Action::Move(Step::Last), Action::Move(Step::Down)],
    );
    assert_eq!(selected(&ui), "/d");
    press(&mut ui, &[Action::Move(Step::First)]);
    assert_eq!(selected(&ui), "/a");
    ui.show(samples::snapshot(&[]));
    press(&mut ui, &[Action::Move(Step::Down)]);
    assert_eq!(ui.selected_at(&ui.rows()), 0);
}

#[test]
fn paused_it_keeps_the_snapshot() {
    let mut ui = with(&["/a"]);
    press(&mut ui, &[Action::Pause]);
    ui.show(samples::snapshot(&["/b"]));
    assert_eq!(names(&ui), ["/a"]);
    press(&mut ui, &[Action::Pause]);
    ui.show(samples::snapshot(&["/b"]));
    assert_eq!(names(&ui), ["/b"]);
}

#[test]
fn blocked_callers_follow_filter_and_selection() {
    let mut ui = with(&["/a", "/b"]);
    for (queue, tid) in [("/a", 1), ("/b", 2), ("/b", 3)] {
        ui.snapshot.blocked.push(samples::blocked(queue, tid));
    }
    let tids = |ui: &Ui, id: &QueueId| -> Vec<u32> {
        ui.blocked(Some(id)).iter().map(|one| one.tid).collect()
    };
    let a = samples::id("/a");
    assert_eq!(tids(&ui, &a), [1, 2, 3]);
    press(&mut ui, &[Action::OnlySelected]);
    assert_eq!(tids(&ui, &a), [1]);
    press(&mut ui, &[Action::OnlySelected, Action::Type('b')]);
    assert_eq!(tids(&ui, &a), [2, 3]);
}

#[test]
fn help_and_charts_come_and_go() {
    let mut ui = with(&["/a"]);
    press(&mut ui, &[Action::Help]);
    assert_eq!(ui.mode(), Mode::Help);
    press(&mut ui, &[Action::CloseHelp]);
    assert_eq!(ui.mode(), Mode::Tables);
    let mut charts = Vec::new();
    for _ in 0..3 {
        charts.push(ui.chart);
        press(&mut ui, &[Action::NextChart]);
    }
    assert_eq!(charts, [Chart::Receive, Chart::Send, Chart::InQueue]);
    assert_eq!(ui.chart, Chart::Receive);
}
