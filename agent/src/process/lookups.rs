//! Look-ups in `/proc`, each on a thread of its own that nothing waits for.
//!
//! A process can make a reader of its files there wait for as long as it likes
//! (its pages can be on a file system that does not answer), and such a reader
//! cannot be stopped. So a look-up has a deadline, after which its thread is
//! given up. Few look-ups run at a time, and one per user.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::proc::{Missing, ProcFacts};
use crate::event::ProcessKey;

/// Maximum number of threads that read or have been given up.
const MAX_THREADS: usize = 8;
/// Maximum number of these that are within their deadline.
const MAX_READING: usize = 2;
pub(super) const DEADLINE: Duration = Duration::from_secs(1);
/// Look-ups begun per second. A thread for each of many processes that live
/// only for a moment would cost more than it is worth.
const MAX_A_SECOND: u32 = 50;
/// Enough to read a few files.
const STACK_BYTES: usize = 128 << 10;

/// Look-ups that failed, readable from any thread.
#[derive(Debug, Clone, Default)]
pub struct LookupLosses {
    given_up: Arc<AtomicU64>,
    left_out: Arc<AtomicU64>,
    contexts_given_up: Arc<AtomicU64>,
    contexts_refused: Arc<AtomicU64>,
}

impl LookupLosses {
    /// Look-ups that passed their deadline.
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Look-ups that were not begun, because there were too many.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// The same of what processes publish: look-ups that passed their deadline.
    pub fn contexts_given_up(&self) -> u64 {
        self.contexts_given_up.load(Ordering::Relaxed)
    }

    /// Processes that were larger than the bounds.
    pub fn contexts_refused(&self) -> u64 {
        self.contexts_refused.load(Ordering::Relaxed)
    }

    pub(super) fn context_refused(&self) {
        self.contexts_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// For look-ups of what processes publish. What is left out is looked up
    /// later, so nobody counts it.
    pub(super) fn of_contexts(&self) -> Self {
        Self {
            given_up: Arc::clone(&self.contexts_given_up),
            ..Self::default()
        }
    }
}

#[derive(Debug)]
struct Lookup {
    uid: u32,
    began: Instant,
    given_up: bool,
}

/// Look-ups of one kind, each of which finds a `T`.
#[derive(Debug)]
pub(super) struct Lookups<T> {
    threads: HashMap<ProcessKey, Lookup>,
    send: Sender<(ProcessKey, T)>,
    found: Receiver<(ProcessKey, T)>,
    losses: LookupLosses,
    second: Option<Instant>,
    begun: u32,
}

impl<T: Send + 'static> Lookups<T> {
    pub(super) fn new(losses: LookupLosses) -> Self {
        let (send, found) = channel();
        Self {
            threads: HashMap::new(),
            send,
            found,
            losses,
            second: None,
            begun: 0,
        }
    }

    /// Begins a look-up about a process of this user. Returns whether there is
    /// room for it.
    pub(super) fn begin_with(
        &mut self,
        key: ProcessKey,
        uid: u32,
        now: Instant,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> bool {
        if !self.has_room(key, uid, now) {
            self.losses.left_out.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let send = self.send.clone();
        let thread = thread::Builder::new()
            .name("mqspan-proc".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // Without a receiver the agent has ended, so the result is not needed.
                send.send((key, read())).unwrap_or_default();
            });
        match thread {
            Ok(_) => {
                let lookup = Lookup {
                    uid,
                    began: now,
                    given_up: false,
                };
                self.threads.insert(key, lookup);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "no thread for a look-up in /proc");
                self.losses.left_out.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    fn has_room(&mut self, key: ProcessKey, uid: u32, now: Instant) -> bool {
        let reading = self.threads.values().filter(|lookup| !lookup.given_up);
        if self.threads.len() >= MAX_THREADS
            || reading.count() >= MAX_READING
            || self.threads.contains_key(&key)
            || self.threads.values().any(|lookup| lookup.uid == uid)
        {
            return false;
        }
        if self
            .second
            .is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1))
        {
            (self.second, self.begun) = (Some(now), 0);
        }
        self.begun += 1;
        self.begun <= MAX_A_SECOND
    }

    /// Returns what was found since the last call. Gives up look-ups that take
    /// too long.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(ProcessKey, T)> {
        if self.threads.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (key, facts) in self.found.try_iter() {
            let lookup = self.threads.remove(&key);
            if lookup.is_some_and(|lookup| !lookup.given_up) {
                found.push((key, facts));
            }
        }
        for lookup in self.threads.values_mut() {
            if !lookup.given_up && now.duration_since(lookup.began) >= DEADLINE {
                lookup.given_up = true;
                self.losses.given_up.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    uid = lookup.uid,
                    "reading /proc of a process takes too long and is given up"
                );
            }
        }
        found
    }
}

/// Look-ups of what is missing about a process.
pub(super) type ProcLookups = Lookups<ProcFacts>;

impl ProcLookups {
    /// `pid` is the id of the process in the agent's PID namespace.
    pub(super) fn begin(
        &mut self,
        pid: u32,
        key: ProcessKey,
        uid: u32,
        missing: Missing,
        now: Instant,
    ) {
        self.begin_with(key, uid, now, move || ProcFacts::read(pid, &key, missing));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn key(pid: u32) -> ProcessKey {
        ProcessKey {
            pid,
            start_ns: 1,
            exec_id: 1,
        }
    }

    fn facts(path: &str) -> ProcFacts {
        ProcFacts {
            exe_path: Some(path.to_owned()),
            ..ProcFacts::default()
        }
    }

    /// All that are within their deadline.
    fn take_all(lookups: &mut ProcLookups, now: Instant) -> Vec<(ProcessKey, ProcFacts)> {
        let mut all = Vec::new();
        while lookups.threads.values().any(|lookup| !lookup.given_up) {
            all.extend(lookups.take(now));
            thread::yield_now();
        }
        all
    }

    #[test]
    fn one_that_hangs_is_given_up_and_others_notice_nothing() {
        let losses = LookupLosses::default();
        let mut lookups = ProcLookups::new(losses.clone());
        let now = Instant::now();
        let (release, hangs) = sync_channel::<()>(0);
        lookups.begin_with(key(1), 1000, now, move || {
            hangs.recv().unwrap();
            facts("/late")
        });
        // The same user again, and another one.
        lookups.begin_with(key(2), 1000, now, || facts("/never"));
        lookups.begin_with(key(3), 1001, now, || facts("/b"));
        assert_eq!(losses.left_out(), 1);
        let found = loop {
            let found = lookups.take(now);
            if !found.is_empty() {
                break found;
            }
            thread::yield_now();
        };
        assert_eq!(found, [(key(3), facts("/b"))]);
        assert_eq!(losses.given_up(), 0);
        assert_eq!(lookups.take(now + DEADLINE), []);
        assert_eq!(losses.given_up(), 1);
        lookups.begin_with(key(4), 1000, now + DEADLINE, || facts("/c"));
        assert_eq!(losses.left_out(), 2);
        release.send(()).unwrap();
        while !lookups.threads.is_empty() {
            assert_eq!(lookups.take(now + DEADLINE), []);
            thread::yield_now();
        }
        lookups.begin_with(key(4), 1000, now + DEADLINE, || facts("/c"));
        let found = take_all(&mut lookups, now + DEADLINE);
        assert_eq!(found, [(key(4), facts("/c"))]);
    }

    #[test]
    fn there_are_few_at_a_time_and_few_a_second() {
        let losses = LookupLosses::default();
        let mut lookups = ProcLookups::new(losses.clone());
        let mut now = Instant::now();
        let mut releases = Vec::new();
        for uid in 0..20 {
            let (release, hangs) = sync_channel::<()>(0);
            lookups.begin_with(key(uid), uid, now, move || {
                hangs.recv().unwrap_or_default();
                ProcFacts::default()
            });
            lookups.take(now + DEADLINE);
            now += DEADLINE;
            releases.push(release);
        }
        assert_eq!(lookups.threads.len(), MAX_THREADS);
        assert_eq!(losses.given_up(), MAX_THREADS as u64);
        drop(releases);
        while !lookups.threads.is_empty() {
            lookups.take(now);
            thread::yield_now();
        }
        let before = losses.left_out();
        now += DEADLINE;
        for uid in 0..MAX_A_SECOND + 7 {
            lookups.begin_with(key(uid), uid, now, ProcFacts::default);
            take_all(&mut lookups, now);
        }
        assert_eq!(losses.left_out() - before, 7);
    }
}
