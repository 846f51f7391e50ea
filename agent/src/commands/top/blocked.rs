//! Currently blocked callers, from the kernel's list of threads.

use super::stats::{Limits, QueueId};
use crate::clock::Reading;
use crate::config::{Filter, Selector};
use crate::event::{Abi, Call, Operation, Timeout};
use crate::kernel::WaitingCalls;

/// A thread that waits in a send or receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocked {
    /// Name of the thread.
    pub(super) comm: String,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) abi: Abi,
    pub(super) operation: Operation,
    pub(super) queue: Option<String>,
    pub(super) ipc_namespace: u32,
    pub(super) limits: Option<Limits>,
    pub(super) waited_ns: u64,
    /// The call began before the agent started, so `waited_ns` is a lower bound.
    pub(super) since_before: bool,
    pub(super) deadline: Deadline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    Never,
    /// There is a deadline, but it could not be read.
    Unknown,
    At(Timeout),
}

impl Blocked {
    pub(super) fn queue_id(&self) -> Option<QueueId> {
        Some(QueueId {
            name: self.queue.as_deref()?.into(),
            ipc_namespace: self.ipc_namespace,
        })
    }
}

/// The callers that pass the filter, longest wait first.
pub(super) fn blocked(calls: &WaitingCalls, filter: &Filter, now: Reading) -> Vec<Blocked> {
    let calls = calls.iter().filter(|call| wants(filter, call));
    let mut all: Vec<Blocked> = calls.map(|call| of_call(call, now)).collect();
    all.sort_by_key(|blocked| (std::cmp::Reverse(blocked.waited_ns), blocked.tid));
    all
}

fn of_call(call: Call<'_>, now: Reading) -> Blocked {
    Blocked {
        comm: call.comm.into_owned(),
        pid: call.process.pid,
        tid: call.tid,
        abi: call.abi,
        operation: call.operation,
        queue: call.name.map(|name| name.into_owned()),
        ipc_namespace: call.ipc_namespace,
        limits: call.queue.as_ref().map(Limits::of),
        waited_ns: now.boot_ns.saturating_sub(call.start_ns),
        since_before: call.start_unknown,
        deadline: match call.timeout {
            Some(timeout) => Deadline::At(timeout),
            None if call.has_timeout => Deadline::Unknown,
            None => Deadline::Never,
        },
    }
}

/// Matches names here, because the kernel has not filtered calls that were
/// blocked before the start.
fn wants(filter: &Filter, call: &Call<'_>) -> bool {
    let queue = |list: &Selector| {
        let name = call.name.as_deref();
        name.is_some_and(|name| list.queues.matches_queue(name))
    };
    let comm = |list: &Selector| list.comms.matches(&call.comm);
    let Filter {
        include, exclude, ..
    } = filter;
    (include.queues.is_empty() || queue(include))
        && (include.comms.is_empty() || comm(include))
        && !queue(exclude)
        && !comm(exclude)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Globs;
    use crate::test_calls::receive;

    const NOW: Reading = Reading {
        boot_ns: 3_000_000,
        offset_ns: 0,
    };

    #[test]
    fn how_long_and_until_when() {
        let call = receive();
        let seen = of_call(call.clone(), NOW);
        assert_eq!((seen.waited_ns, seen.since_before), (2_000_000, false));
        assert_eq!(seen.deadline, Deadline::At(call.timeout.unwrap()));
        assert_eq!((seen.pid, seen.tid, &*seen.comm), (100, 101, "orders"));
        assert_eq!(seen.limits, call.queue.as_ref().map(Limits::of));
        for (has_timeout, deadline) in [(true, Deadline::Unknown), (false, Deadline::Never)] {
            let call = Call {
                timeout: None,
                has_timeout,
                reentered: false,
                unlinked: false,
                start_unknown: true,
                start_ns: 9_000_000,
                ..receive()
            };
            let seen = of_call(call, NOW);
            assert_eq!((seen.deadline, seen.since_before), (deadline, true));
            assert_eq!(seen.waited_ns, 0, "the clock was read before the call");
        }
    }

    #[test]
    fn names_are_filtered_here() {
        let globs = |pattern: &str| Globs::new(&[pattern]).unwrap();
        for (queues, comms, wanted) in [
            ("/ord*", "*", true),
            ("ord*", "ord?rs", true),
            ("/acks", "*", false),
            ("*", "acks", false),
        ] {
            let mut filter = Filter::default();
            filter.include.queues = globs(queues);
            filter.include.comms = globs(comms);
            assert_eq!(wants(&filter, &receive()), wanted, "{queues} {comms}");
            let excluding = Filter {
                include: Selector::default(),
                exclude: filter.include.clone(),
                ..Filter::default()
            };
            assert!(!wants(&excluding, &receive()));
        }
        let nameless = Call {
            name: None,
            ..receive()
        };
        assert!(wants(&Filter::default(), &nameless));
    }
}
