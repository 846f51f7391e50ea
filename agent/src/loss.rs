//! Every way in which a call, or something known about it, can be lost.
//!
//! One table for metrics, the log and the documents: `make generate` writes the
//! tables of `docs/losses.md` and `ARCHITECTURE.md` from it.

use std::fmt;

macro_rules! losses {
    ($(#[$meta:meta])* $kind:ident {
        $($variant:ident = $name:literal, $when:literal, $then:literal, $place:literal;)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $kind {
            $(#[doc = $when] $variant,)+
        }

        impl $kind {
            /// All of them, in the order in which calls meet them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in metrics and in the log.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            #[cfg(feature = "internals")]
            pub const fn when(self) -> &'static str {
                match self { $(Self::$variant => $when,)+ }
            }

            /// What helps, or the consequence.
            #[cfg(feature = "internals")]
            pub const fn then(self) -> &'static str {
                match self { $(Self::$variant => $then,)+ }
            }

            /// Where in the code it is noticed.
            #[cfg(feature = "internals")]
            pub const fn place(self) -> &'static str {
                match self { $(Self::$variant => $place,)+ }
            }
        }
    };
}

losses! {
    /// Why a call that was seen has no span at its destination. `then` is the
    /// setting that helps.
    Loss {
        RingFull = "ring_full",
            "the buffer between kernel and agent was full, or the caller's owner had its share of it",
            "`capture.ring_buffer_size`",
            "return, `bpf/lost.bpf.h`";
        InFlightFull = "in_flight_full",
            "no room to follow one more thread: the limit, the owner's share of it, or no memory",
            "`capture.max_in_flight`",
            "entry, `bpf/lost.bpf.h`";
        EntryMissed = "entry_missed",
            "the call returned but was not seen to begin: [`backends.md`](backends.md) says when",
            "backend `kprobe`",
            "the return, for the entry";
        ReturnMissed = "return_missed",
            "the return went by unseen: a kretprobe without a free instance, a call that ended while the hooks went in; \
             with fentry, a call blocked while another tracer attaches to the same functions or leaves them",
            "backend `fentry`, no second tracer",
            "the thread's next call or its exit";
        Undecodable = "undecodable",
            "a record that does not have the expected form",
            "a defect: report it",
            "decode, `pipeline.rs`";
        Shutdown = "shutdown",
            "the deadline at the stop left it in the queue",
            "`exporters.otlp.sending_queue.storage`",
            "the stop, `commands/run/output.rs`";
        QueueFull = "queue_full",
            "the collector was away or slow, and the queue full, or the caller's owner had its share of it",
            "`exporters.otlp.sending_queue`",
            "queue, `export/`";
        TooLarge = "too_large",
            "one span alone is larger than a request may be",
            "`exporters.otlp.max_request_size`",
            "queue and send, `export/`";
        RetriesExhausted = "retries_exhausted",
            "the time to retry ran out, or retrying is off; or the collector kept refusing these spans while it took others, \
             and what it refused filled half the queue",
            "`exporters.otlp.retry_on_failure`; the collector's quota",
            "send, `export/deliver.rs`";
        Closed = "closed",
            "the queue was closed already when it came",
            "`exporters.otlp.sending_queue.storage`",
            "the stop, `export/`";
        Storage = "storage",
            "the queue's directory or the file of spans could not be written",
            "room on the disk",
            "queue and file, `export/`";
        Corrupt = "corrupt",
            "a record on disk was damaged",
            "",
            "queue, `export/disk/`";
    }
}

losses! {
    /// What can be missing from a span although its call is not lost. `then` is
    /// what follows.
    IdentityLoss {
        Message = "message",
            "a message's sender, with more than 65,536 messages in queues",
            "the receive is not connected with its send",
            "`bpf/message.bpf.h`";
        Child = "child",
            "that a process is the child of one in `filter.include.pids` or `filter.exclude.pids`, with more than 65,536 of them",
            "it is judged as if these named nobody of its family",
            "`bpf/lifecycle.bpf.h`";
        Process = "process",
            "what the kernel tells of a process, for want of room in the buffer",
            "the kernel tells it again at the next call. Until then spans have the thread's name for the executable's, and what `/proc` tells",
            "`bpf/process.bpf.h`";
        ProcGivenUp = "proc_given_up",
            "what `/proc` would have added, which took longer than 1 s",
            "spans go without it",
            "`process/lookups.rs`";
        ProcLeftOut = "proc_left_out",
            "the same, of too many to look up at a time",
            "spans go without it",
            "`process/lookups.rs`";
        ContextGivenUp = "context_given_up",
            "what a process publishes of its own traces, which took longer than 1 s to find",
            "its spans go without it",
            "`process/lookups.rs`";
        ContextRefused = "context_refused",
            "the same, of a process whose memory map, libraries or payload are larger than the bounds",
            "its spans go without it, until it executes another program",
            "`context/`";
    }
}

/// Calls lost, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses([u64; Loss::ALL.len()]);

impl Losses {
    pub fn add(&mut self, reason: Loss, calls: u64) {
        if let Some(sum) = self.0.get_mut(reason as usize) {
            *sum += calls;
        }
    }

    pub fn add_all(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// Every reason, including those with zero calls.
    pub fn all(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        Loss::ALL.iter().copied().zip(self.0)
    }

    /// The reasons with any calls.
    pub fn some(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        self.all().filter(|(_, calls)| *calls != 0)
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl FromIterator<(Loss, u64)> for Losses {
    fn from_iter<I: IntoIterator<Item = (Loss, u64)>>(losses: I) -> Self {
        let mut sum = Self::default();
        for (reason, calls) in losses {
            sum.add(reason, calls);
        }
        sum
    }
}

/// Displays as `ring_full 3, queue_full 1`.
impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (reason, calls)) in self.some().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} {calls}", reason.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}
