//! Ends of processing, call by call.

use super::*;
use crate::clock::{Anchors, Reading};
use crate::config::{Enrich, Resource};
use crate::event::{Cause, Operation};
use crate::host::Host;
use crate::process::Processes;
use crate::test_calls::receive;

const S: Duration = Duration::from_secs(1);

fn message(tid: u32, start_ns: u64) -> Call<'static> {
    let mut call = receive();
    (call.tid, call.start_ns, call.end_ns) = (tid, start_ns, start_ns + 10);
    call
}

fn key(tid: u32, start_ns: u64) -> CallKey {
    CallKey { tid, start_ns }
}

/// What a thread sends because of the message that it took at `of_ns`.
fn send(tid: u32, start_ns: u64, of_ns: u64, no_wait: bool) -> Call<'static> {
    Call {
        operation: Operation::MqTimedsend,
        sender: None,
        receive_before: Some(Cause {
            call: key(tid, of_ns),
            root: key(tid, of_ns),
            is_parent: true,
            application_trace: None,
        }),
        no_wait,
        ..message(tid, start_ns)
    }
}

struct Threads {
    all: Processings,
    now: Instant,
    process: Arc<Process>,
}

impl Threads {
    fn new() -> Self {
        let enrich = Enrich {
            process: false,
            container: false,
            ..Enrich::default()
        };
        let mut processes = Processes::new(Host::read(), &Resource::default(), &enrich);
        Self {
            all: Processings::default(),
            now: Instant::now(),
            process: processes.of_call(&receive(), &Anchors::new(Reading::now())),
        }
    }

    /// The ends of what the call puts an end to.
    fn call(&mut self, call: &Call<'_>) -> Vec<u64> {
        let mut ended = Vec::from_iter(self.all.next_call(self.now, call));
        if call.takes_message() {
            let times = (0, 0).into();
            let oldest = self
                .all
                .begin(self.now, call, &[0; 200], &self.process, times);
            ended.extend(oldest);
        }
        ended.iter().map(|processing| processing.end_ns).collect()
    }

    fn due(&mut self) -> Option<u64> {
        let due = self.all.take_due(self.now);
        due.map(|processing| processing.end_ns)
    }
}

#[test]
fn it_ends_with_the_last_send_that_comes_of_it() {
    let mut threads = Threads::new();
    assert!(threads.call(&message(1, 100)).is_empty());
    assert!(threads.call(&send(1, 120, 100, true)).is_empty());
    // An empty receive ends nothing.
    let mut empty = message(1, 140);
    (empty.ret, empty.no_wait) = (-11, true);
    assert!(threads.call(&empty).is_empty());
    assert!(threads.call(&send(1, 160, 100, true)).is_empty());
    // Another thread's calls are its own.
    assert!(threads.call(&message(2, 165)).is_empty());
    assert_eq!(threads.call(&message(1, 180)), [170]);
    assert!(threads.call(&send(1, 200, 180, true)).is_empty());
    // After a wait it is not known what a send comes of.
    assert_eq!(threads.call(&send(1, 220, 180, false)), [210]);
    assert!(threads.call(&send(1, 240, 180, true)).is_empty());
    assert!(threads.call(&message(1, 260)).is_empty());
}

#[test]
fn without_a_send_it_ends_with_the_next_receive_unless_the_thread_has_waited() {
    let mut threads = Threads::new();
    for (no_wait, ended) in [(true, vec![300]), (false, vec![])] {
        threads.call(&message(1, 100));
        let mut next = message(1, 300);
        next.no_wait = no_wait;
        assert_eq!(threads.call(&next), ended);
        // Of the one that just began nothing is known.
        assert!(threads.all.take_all().is_empty());
    }
    // The first one counts, whether it gets a message or not.
    threads.call(&message(1, 100));
    let mut empty = message(1, 200);
    (empty.ret, empty.no_wait) = (-110, true);
    threads.call(&empty);
    assert_eq!(threads.call(&message(1, 300)), [200]);
    // Something new has begun before the next receive.
    threads.call(&message(1, 400));
    let mut new = send(1, 450, 400, true);
    new.receive_before = None;
    assert!(threads.call(&new).is_empty());
    assert!(threads.call(&message(1, 500)).is_empty());
}

#[test]
fn it_ends_when_the_thread_makes_no_call_any_more() {
    let mut threads = Threads::new();
    threads.call(&message(1, 100));
    threads.call(&message(2, 100));
    threads.now += 3 * S;
    threads.call(&send(1, 120, 100, true));
    threads.now += 3 * S;
    assert_eq!(threads.due(), None);
    threads.now += 3 * S;
    assert_eq!(threads.due(), Some(130));
    assert_eq!(threads.due(), None);
    // One without an end waits for a call, however long that takes.
    threads.call(&send(2, 900, 100, true));
    threads.now += 5 * S;
    assert_eq!(threads.due(), Some(910));
    assert!(threads.all.pending.is_empty());
}

#[test]
fn threads_are_bounded_and_the_oldest_is_given_up() {
    let mut threads = Threads::new();
    let mut given_up = Vec::new();
    for tid in 0..10_000 {
        given_up.extend(threads.call(&message(tid, 100)));
        let last = send(tid, 200 + u64::from(tid), 100, true);
        assert!(threads.call(&last).is_empty());
    }
    assert_eq!(threads.all.pending.len(), MAX_THREADS);
    assert_eq!(given_up.len(), 10_000 - MAX_THREADS);
    assert!(given_up.is_sorted());
    assert!(!threads.all.promise(key(0, 100), |_| true));
    assert!(threads.all.promise(key(9_999, 100), |_| true));
    for round in 0..20_000 {
        threads.call(&message(1, 1_000 + round));
        threads.now += S / 1_000;
        threads.due();
    }
    assert!(threads.all.due.len() <= 2 * MAX_THREADS + 1);
    assert!(threads.all.aged.len() <= 2 * MAX_THREADS + 1);
    assert!(threads.all.spare.len() <= MAX_SPARE);
}

#[test]
fn room_is_asked_for_until_there_is_some() {
    let mut threads = Threads::new();
    threads.call(&message(1, 100));
    threads.call(&send(1, 120, 100, true));
    let receive = key(1, 100);
    assert!(!threads.all.promise(receive, |_| false));
    assert!(threads.all.promise(receive, |_| true));
    assert!(threads.all.promise(receive, |_| false));
    let all = threads.all.take_all();
    assert!(all.len() == 1 && all[0].is_promised);
    assert!(!threads.all.promise(receive, |_| true));
}
