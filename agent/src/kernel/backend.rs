//! The three ways to hook a system call.

use std::fmt;

use crate::config::BackendChoice;

/// A kind of hook; see `bpf/backend_*.bpf.h` for what each can do and what it misses.
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

    /// The name in `capture.backend`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// Whether the backend identifies messages, so that a receive finds its send.
    pub fn knows_messages(self) -> bool {
        self != Self::Tracepoint
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The backends to try, in order. `preemptible` says whether the kernel
/// preempts threads inside system calls, see [`super::kernel_is_preemptible`].
///
/// With `auto` the agent first tries backends that see every call on this
/// kernel. A guest tries last what another agent notices: new fentry programs
/// make the kernel rebuild a function's trampoline, and fentry programs of
/// others lose the returns of calls that are blocked in the old one.
pub fn candidates(choice: BackendChoice, as_guest: bool, preemptible: bool) -> Vec<Backend> {
    match choice {
        BackendChoice::Auto if as_guest || preemptible => {
            vec![Backend::Kprobe, Backend::Tracepoint, Backend::Fentry]
        }
        BackendChoice::Auto => Backend::ALL.to_vec(),
        BackendChoice::Fentry => vec![Backend::Fentry],
        BackendChoice::Kprobe => vec![Backend::Kprobe],
        BackendChoice::Tracepoint => vec![Backend::Tracepoint],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misses_calls_comes_last() {
        let of = |as_guest, preemptible| candidates(BackendChoice::Auto, as_guest, preemptible);
        assert_eq!(of(false, false), Backend::ALL);
        assert_eq!(of(false, true).last(), Some(&Backend::Fentry));
        assert_eq!(of(false, true).len(), Backend::ALL.len());
        assert_eq!(of(true, false), of(false, true));
        let only = candidates(BackendChoice::Fentry, true, true);
        assert_eq!(only, [Backend::Fentry]);
    }
}
