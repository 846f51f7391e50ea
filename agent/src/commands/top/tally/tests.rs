use std::borrow::Cow;

use super::*;
use crate::commands::top::stats::{Limits, QueueStats};
use crate::event::{Operation, ProcessKey};
use crate::test_calls::receive;

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 5_000 * SECOND_NS;

/// A receive that ended `second` seconds after `START_NS` and had waited for `waited_ns`.
fn received(second: u64, waited_ns: u64) -> Call<'static> {
    let end_ns = START_NS + second * SECOND_NS;
    let mut call = receive();
    call.start_ns = end_ns - waited_ns;
    call.end_ns = end_ns;
    call.sender = None;
    call
}

fn sent(second: u64) -> Call<'static> {
    Call {
        operation: Operation::MqTimedsend,
        ..received(second, 2_000)
    }
}

fn named(call: Call<'static>, name: &'static str) -> Call<'static> {
    Call {
        name: Some(Cow::Borrowed(name)),
        ..call
    }
}

fn by_process(call: Call<'static>, pid: u32) -> Call<'static> {
    let process = ProcessKey {
        pid,
        ..call.process
    };
    Call { process, ..call }
}

fn stats(tally: &mut Tally, second: u64) -> Vec<QueueStats> {
    let mut queues = tally.stats(START_NS + second * SECOND_NS).queues;
    queues.sort_by(|a, b| a.id.cmp(&b.id));
    queues
}

#[test]
fn what_happens_to_one_queue() {
    let mut tally = Tally::new(START_NS);
    for call in [sent(1), sent(1), sent(2)] {
        tally.call(&call, None, "shop");
    }
    tally.call(&received(2, 3_000_000), None, "store");
    tally.call(&received(3, 900_000_000), Some("ETIMEDOUT"), "store");
    tally.call(&received(3, 1_000), Some("EAGAIN"), "store");
    let now_ns = START_NS + 3 * SECOND_NS;
    let all = tally.stats(now_ns);
    assert_eq!((all.calls, all.queues.len()), (6, 1));
    assert!((all.per_second(6) - 2.0).abs() < 1e-9);
    let queue = &all.queues[0];
    assert_eq!(&*queue.id.name, "/orders");
    assert_eq!((queue.counts.sent, queue.counts.received), (3, 1));
    assert_eq!((queue.counts.errors, queue.counts.timeouts), (1, 1));
    assert_eq!(queue.depth, Some(1));
    let limits = Limits {
        messages: 10,
        message_size_bytes: 64,
    };
    assert_eq!(queue.limits, Some(limits));
    // Only receives that got a message count as waits.
    assert_eq!(
        (queue.counts.receive.count(), queue.counts.send.count()),
        (1, 3)
    );
    assert_eq!(queue.counts.receive.max_ns(), Some(3_000_000));
    let last = queue.last_error.as_ref().unwrap();
    assert_eq!(
        (&*last.error, &*last.comm, last.tid),
        ("EAGAIN", "orders", 101)
    );
    assert_eq!(stats(&mut tally, 30)[0].counts.sent, 0);
}

#[test]
fn time_in_queue_is_known_where_the_sender_is() {
    let mut tally = Tally::new(START_NS);
    let mut call = received(1, 5_000);
    call.sender = receive().sender.map(|sender| crate::event::Sender {
        created_ns: call.end_ns - 7_000_000,
        ..sender
    });
    tally.call(&call, None, "store");
    tally.call(&received(1, 5_000), None, "store");
    let queue = &stats(&mut tally, 1)[0];
    assert_eq!(queue.counts.in_queue.count(), 1);
    assert_eq!(queue.counts.in_queue.max_ns(), Some(7_000_000));
}

#[test]
fn a_wait_from_before_the_start_has_no_duration() {
    let mut tally = Tally::new(START_NS);
    let mut call = received(1, 5_000);
    call.start_unknown = true;
    tally.call(&call, None, "store");
    let queue = &stats(&mut tally, 1)[0];
    assert_eq!(
        (queue.counts.received, queue.counts.receive.count()),
        (1, 0)
    );
}

#[test]
fn processes_are_producers_and_consumers() {
    let mut tally = Tally::new(START_NS);
    tally.call(&by_process(sent(1), 7), None, "shop");
    tally.call(&by_process(sent(1), 7), Some("EAGAIN"), "shop");
    tally.call(&by_process(received(1, 5), 8), Some("EAGAIN"), "store");
    let mut peers = stats(&mut tally, 1).remove(0).peers;
    peers.sort_by_key(|peer| peer.pid);
    assert_eq!((&*peers[0].program, peers[0].sent), ("shop", 1));
    assert_eq!((peers[0].sends, peers[0].receives), (true, false));
    assert_eq!((peers[1].sends, peers[1].receives), (false, true));
    assert_eq!((peers[1].pid, peers[1].received), (8, 0));
    // Peers that have not called for a minute are forgotten.
    assert_eq!(stats(&mut tally, 61)[0].peers.len(), 2);
    assert_eq!(stats(&mut tally, 62)[0].peers.len(), 0);
}

#[test]
fn processes_told_apart_are_bounded() {
    let mut tally = Tally::new(START_NS);
    for pid in 1..=100 {
        tally.call(&by_process(sent(1), pid), None, "shop");
    }
    let queue = &stats(&mut tally, 1)[0];
    assert_eq!(
        (queue.peers.len(), queue.is_crowded, queue.counts.sent),
        (64, true, 100)
    );
}

#[test]
fn queues_are_told_apart_by_name_and_namespace() {
    let mut tally = Tally::new(START_NS);
    tally.call(&sent(1), None, "shop");
    let elsewhere = Call {
        ipc_namespace: 7,
        ..sent(1)
    };
    tally.call(&elsewhere, None, "shop");
    tally.call(&named(sent(1), "/acks"), None, "shop");
    tally.call(
        &Call {
            name: None,
            ..sent(1)
        },
        Some("EBADF"),
        "shop",
    );
    let names: Vec<_> = stats(&mut tally, 1)
        .iter()
        .map(|queue| (queue.id.name.to_string(), queue.id.ipc_namespace))
        .collect();
    let here = 4_026_531_839;
    assert_eq!(
        names,
        [
            ("(unknown)".to_owned(), here),
            ("/acks".to_owned(), here),
            ("/orders".to_owned(), 7),
            ("/orders".to_owned(), here),
        ]
    );
}

#[test]
fn queues_beyond_the_limit_share_a_row() {
    let mut tally = Tally::new(START_NS);
    tally.max_queues = 2;
    for name in ["/a", "/b", "/c", "/d", "/a"] {
        tally.call(&named(sent(1), name), None, "shop");
    }
    let sums: Vec<_> = stats(&mut tally, 1)
        .iter()
        .map(|queue| (queue.id.name.to_string(), queue.counts.sent))
        .collect();
    let wanted = [("(others)", 2), ("/a", 2), ("/b", 1)];
    assert_eq!(sums, wanted.map(|(name, sent)| (name.to_owned(), sent)));
}

#[test]
fn an_unlinked_queue_goes_after_a_minute() {
    let mut tally = Tally::new(START_NS);
    tally.call(&sent(1), None, "shop");
    assert_eq!(stats(&mut tally, 600).len(), 1);
    let call = |operation| Call {
        operation,
        depth: None,
        queue: None,
        ..sent(601)
    };
    tally.call(&call(Operation::MqUnlink), None, "shop");
    assert!(stats(&mut tally, 602)[0].unlinked);
    assert_eq!(stats(&mut tally, 602)[0].depth, Some(1));
    tally.call(&call(Operation::MqOpen), None, "shop");
    assert!(!stats(&mut tally, 602)[0].unlinked);
    assert_eq!(stats(&mut tally, 602)[0].depth, None);
    tally.call(&call(Operation::MqUnlink), None, "shop");
    assert_eq!(stats(&mut tally, 661).len(), 1);
    assert_eq!(stats(&mut tally, 662).len(), 0);
}

#[test]
fn a_name_that_never_was_a_queue_goes_after_a_minute() {
    let mut tally = Tally::new(START_NS);
    let open = Call {
        operation: Operation::MqOpen,
        queue: None,
        depth: None,
        ..sent(1)
    };
    tally.call(&open, Some("ENOENT"), "shop");
    assert_eq!(stats(&mut tally, 1)[0].counts.errors, 1);
    assert_eq!(stats(&mut tally, 61).len(), 1);
    assert_eq!(stats(&mut tally, 62).len(), 0);
}
