//! What each program hooks, derived from its section name, so that only `bpf/`
//! lists the hooks.

use super::backend::Backend;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookTarget {
    /// At the entry of a kernel function.
    Entry(String),
    /// At the return of a kernel function.
    Return(String),
    /// At a tracepoint.
    Tracepoint(String),
    /// Whenever the iterator is read.
    Iterator(String),
    /// Nothing: the agent runs the program.
    Agent,
}

impl HookTarget {
    /// The function's or tracepoint's name.
    pub fn symbol(&self) -> &str {
        match self {
            Self::Entry(name)
            | Self::Return(name)
            | Self::Tracepoint(name)
            | Self::Iterator(name) => name,
            Self::Agent => "BPF_PROG_TEST_RUN",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    pub program: String,
    pub target: HookTarget,
    /// The backend it belongs to; `None` if all backends need it.
    pub backend: Option<Backend>,
    /// Runs the same code as another program, for the events that the kernel
    /// does not run that one for.
    pub spare: bool,
}

/// What a hook is for; decides whether a configuration needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// One system call in one ABI.
    Call {
        /// Base name, such as `mq_timedsend`.
        name: &'static str,
        /// Whether it is the 32-bit ABI.
        compat: bool,
    },
    /// Kernel functions inside sends and receives.
    Transfer,
    /// Every system call.
    AllCalls,
    /// Signals and exits.
    Lifecycle,
    /// Returns from signal handlers, if [`Self::AllCalls`] does not see them.
    HandlerReturn,
    /// Forks of processes named in a filter.
    Fork,
    /// Finds calls that are blocked at attach.
    FindBlocked,
    /// Lists blocked callers, on request.
    Waiting,
    /// Lists processes, on request.
    Processes,
    /// Tells which queues still exist, on request.
    Queues,
    /// Counts followed threads, on request.
    Followed,
    /// Sees calls return that were blocked at attach, if the backend cannot.
    CatchUp,
}

impl Hook {
    /// Derives the hook from a program's name and section, such as `fe_recv`
    /// and `fentry/__x64_sys_mq_timedreceive`.
    pub fn of_program(program: &str, section: &str) -> Option<Self> {
        let (kind, target) = section.split_once('/').unwrap_or((section, ""));
        let target = target.to_owned();
        let (target, backend) = match kind {
            "fentry" => (HookTarget::Entry(target), Some(Backend::Fentry)),
            "fexit" => (HookTarget::Return(target), Some(Backend::Fentry)),
            "kprobe" => (HookTarget::Entry(target), Some(Backend::Kprobe)),
            "kretprobe" => (HookTarget::Return(target), Some(Backend::Kprobe)),
            "tp_btf" if program.starts_with("tp_sys_") => {
                (HookTarget::Tracepoint(target), Some(Backend::Tracepoint))
            }
            "iter" => (HookTarget::Iterator(target), None),
            "raw_tp" => (HookTarget::Agent, None),
            "tp_btf" => (HookTarget::Tracepoint(target), None),
            _ => return None,
        };
        Some(Self {
            program: program.to_owned(),
            target,
            backend,
            spare: ["_2", "_3", "_4"].iter().any(|end| program.ends_with(end)),
        })
    }

    /// `native` or `compat`; `None` if the hook serves both ABIs.
    pub fn abi(&self) -> Option<&'static str> {
        match self.purpose() {
            Purpose::Call { compat, .. } => Some(if compat { "compat" } else { "native" }),
            _ => None,
        }
    }

    /// Whether a kernel without the function misses nothing: a function for
    /// 32-bit structures of x32, or one more way back from a signal handler.
    pub fn may_be_absent(&self) -> bool {
        self.purpose() == Purpose::HandlerReturn || self.target.symbol().starts_with("__x64_compat")
    }

    pub fn purpose(&self) -> Purpose {
        match &self.target {
            HookTarget::Iterator(_) if self.program == "it_waiting" => Purpose::Waiting,
            HookTarget::Iterator(_) if self.program == "it_processes" => Purpose::Processes,
            HookTarget::Iterator(_) if self.program == "it_followed" => Purpose::Followed,
            HookTarget::Iterator(_) => Purpose::FindBlocked,
            HookTarget::Agent => Purpose::Queues,
            HookTarget::Tracepoint(name) if name == "sched_process_fork" => Purpose::Fork,
            HookTarget::Tracepoint(_) if self.program.starts_with("tp_catch_up") => {
                Purpose::CatchUp
            }
            HookTarget::Tracepoint(name) if name.starts_with("sys_") => Purpose::AllCalls,
            HookTarget::Tracepoint(_) => Purpose::Lifecycle,
            HookTarget::Return(symbol) if symbol.ends_with("sigreturn") => Purpose::HandlerReturn,
            HookTarget::Entry(symbol) | HookTarget::Return(symbol) => {
                call_of(symbol, &self.program).unwrap_or(Purpose::Transfer)
            }
        }
    }
}

/// The system call of an entry function such as `__ia32_compat_sys_mq_open`.
fn call_of(symbol: &str, program: &str) -> Option<Purpose> {
    const CALLS: [&str; 6] = [
        "mq_open",
        "mq_unlink",
        "mq_timedsend",
        "mq_timedreceive",
        "mq_notify",
        "mq_getsetattr",
    ];
    let (_, call) = symbol.split_once("sys_")?;
    let name = CALLS.into_iter().find(|name| call.starts_with(name))?;
    // Program names are fe_open, fe_c_open: c for the compat ABI.
    let compat = program.get(2..).is_some_and(|rest| rest.starts_with("_c_"));
    Some(Purpose::Call { name, compat })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_by_name_and_section() {
        let hook =
            Hook::of_program("fx_c_recv32", "fexit/__ia32_sys_mq_timedreceive_time32").unwrap();
        assert_eq!(hook.backend, Some(Backend::Fentry));
        assert_eq!(
            hook.purpose(),
            Purpose::Call {
                name: "mq_timedreceive",
                compat: true
            }
        );
        let hook = Hook::of_program("kp_store_msg", "kprobe/store_msg").unwrap();
        assert_eq!(hook.backend, Some(Backend::Kprobe));
        assert_eq!(hook.purpose(), Purpose::Transfer);
        let hook = Hook::of_program("tp_exit", "tp_btf/sched_process_exit").unwrap();
        assert_eq!((hook.backend, hook.purpose()), (None, Purpose::Lifecycle));
        let hook = Hook::of_program("tp_sys_exit", "tp_btf/sys_exit").unwrap();
        assert_eq!((hook.purpose(), hook.spare), (Purpose::AllCalls, false));
        let hook = Hook::of_program("tp_catch_up_2", "tp_btf/sys_exit").unwrap();
        assert_eq!((hook.purpose(), hook.spare), (Purpose::CatchUp, true));
        let hook = Hook::of_program("fx_handler", "fexit/__do_sys_rt_sigreturn").unwrap();
        assert_eq!(hook.purpose(), Purpose::HandlerReturn);
        assert!(hook.may_be_absent());
        let hook = Hook::of_program("fe_x_notify", "fentry/__x64_compat_sys_mq_notify").unwrap();
        let name = "mq_notify";
        let compat = false;
        assert_eq!(hook.purpose(), Purpose::Call { name, compat });
        assert!(hook.may_be_absent());
    }
}
