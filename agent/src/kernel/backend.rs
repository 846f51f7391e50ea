//! The three ways to hook a system call.

use std::fmt;

/// A kind of hook; see `bpf/backend_*.bpf.h` for what each can and misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// BTF trampolines on the entry functions.
    Fentry,
    /// kprobe and kretprobe on the entry functions.
    Kprobe,
    /// The raw tracepoints `sys_enter` and `sys_exit`.
    Tracepoint,
}

impl Backend {
    /// From the cheapest to the one that works nearly everywhere.
    pub const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Tracepoint];

    /// As `capture.backend` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// Can tell which message is which, so that a receive finds its send.
    pub fn knows_messages(self) -> bool {
        self != Self::Tracepoint
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which backends may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// The first that attaches, of those that see every call on this kernel
    /// and then of the others.
    #[default]
    Auto,
    /// The first that attaches, and those last that an agent beside notices
    /// when they come and go: new fentry programs make the kernel build a
    /// function's trampoline anew, and fentry programs of others lose the
    /// returns of calls that are blocked in the old one.
    Guest,
    /// This one or none.
    Only(Backend),
}

impl BackendChoice {
    /// The backends to try, in order, on a kernel that preempts threads inside
    /// system calls or not; see [`super::kernel_is_preemptible`].
    pub fn candidates(self, preemptible: bool) -> Vec<Backend> {
        match self {
            Self::Guest => vec![Backend::Kprobe, Backend::Tracepoint, Backend::Fentry],
            Self::Auto if preemptible => {
                vec![Backend::Kprobe, Backend::Tracepoint, Backend::Fentry]
            }
            Self::Auto => Backend::ALL.to_vec(),
            Self::Only(backend) => vec![backend],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misses_calls_comes_last() {
        let of = |choice: BackendChoice, preemptible| choice.candidates(preemptible);
        assert_eq!(of(BackendChoice::Auto, false), Backend::ALL);
        assert_eq!(of(BackendChoice::Auto, true).last(), Some(&Backend::Fentry));
        assert_eq!(of(BackendChoice::Auto, true).len(), Backend::ALL.len());
        assert_eq!(
            of(BackendChoice::Guest, false),
            of(BackendChoice::Auto, true)
        );
        let only = BackendChoice::Only(Backend::Fentry);
        assert_eq!(of(only, true), [Backend::Fentry]);
    }
}
