//! Opens and loads the programs that a backend and a configuration need.

use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Mutex;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{PrintLevel, ProgramAttachType, set_print};

use super::backend::Backend;
use super::filter;
use super::hooks::{Hook, HookTarget, Purpose};
use super::preemption::kernel_is_preemptible;
use super::settings::KernelSettings;
use super::symbols::KernelSymbols;
use crate::config::Abi;
use crate::skel::{MqspanSkel, MqspanSkelBuilder, OpenMqspanSkel};

/// Number of the filter that the programs start with. It is not 0, so that a
/// new record has no verdict yet.
pub(super) const FIRST_GENERATION: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object itself, or a map, is refused.
    #[error("{0}")]
    Libbpf(#[from] libbpf_rs::Error),
    /// A program is refused.
    #[error("{source}: {log}")]
    Program {
        source: libbpf_rs::Error,
        /// The last lines that libbpf and the verifier logged.
        log: String,
    },
    #[error("the BPF object has no section {0}")]
    Section(&'static str),
    #[error("this kernel has no kprobes (CONFIG_KPROBES)")]
    NoKprobes,
    #[error("this kernel has no function {0}")]
    Symbol(String),
}

/// Programs that are loaded but not attached yet, and their hooks.
pub(super) struct Loaded {
    pub(super) skel: MqspanSkel<'static>,
    pub(super) hooks: Vec<Hook>,
    /// Wanted hooks whose function the kernel does not have.
    pub(super) absent: Vec<Hook>,
    /// Whether entries and returns of calls have several programs each.
    pub(super) spares: bool,
}

/// libbpf's last messages, which explain a refusal better than the errno.
static LIBBPF_LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn keep_libbpf_line(level: PrintLevel, line: String) {
    let line = line.trim_end();
    tracing::trace!(target: "libbpf", ?level, line);
    if level != PrintLevel::Debug
        && let Ok(mut log) = LIBBPF_LOG.lock()
    {
        log.extend(line.lines().map(str::to_owned));
    }
}

/// Takes the lines that give the reason from libbpf's messages.
fn take_libbpf_log() -> String {
    let lines = LIBBPF_LOG
        .lock()
        .map(|mut log| std::mem::take(&mut *log))
        .unwrap_or_default();
    let telling: Vec<&str> = lines
        .iter()
        .map(|line| line.trim_start_matches("libbpf: "))
        .filter(|line| {
            !line.is_empty()
                && !line.starts_with("processed ")
                && !line.contains("PROG LOAD LOG")
                // The build removes them; the object is a third smaller.
                && !line.contains("missing .BTF.ext line info")
                // libbpf adds this to every EPERM; memory is rarely the reason.
                && !line.contains("try raising 'ulimit -l'")
                // These only repeat the failure for the whole object.
                && !line.contains("': failed to load: ")
                && !line.starts_with("failed to load ")
        })
        .collect();
    let start = telling.len().saturating_sub(6);
    telling.get(start..).unwrap_or_default().join("; ")
}

/// Suffix of the name of a program's first spare.
const FIRST_SPARE: &str = "_2";

/// Whether the hooks at entries and returns of calls have several programs each.
fn has_spares(hooks: &[Hook]) -> bool {
    hooks.iter().any(|hook| {
        hook.spare && matches!(hook.purpose(), Purpose::Call { .. } | Purpose::AllCalls)
    })
}

fn is_needed(
    hook: &Hook,
    backend: Backend,
    form: Form,
    settings: &KernelSettings,
    spares: bool,
) -> bool {
    let stands_in = form.has_fentry_spares()
        && hook.backend == Some(Backend::Fentry)
        && hook.program.ends_with(FIRST_SPARE);
    let is_other = hook.backend.is_some_and(|of| of != backend);
    if is_other && !stands_in || hook.spare && !spares {
        return false;
    }
    let traces = |name: &str| {
        settings
            .capture
            .syscalls
            .iter()
            .any(|call| call.as_str() == name)
    };
    match hook.purpose() {
        Purpose::Call { name, compat } => {
            // A native function can be shared with the 32-bit ABI (arm64).
            let shared = !compat && cfg!(target_arch = "aarch64");
            traces(name)
                && if compat {
                    settings.traces(Abi::Compat)
                } else {
                    settings.traces(Abi::Native) || shared
                }
        }
        Purpose::Transfer | Purpose::HandlerReturn => {
            traces("mq_timedsend") || traces("mq_timedreceive")
        }
        Purpose::AllCalls
        | Purpose::Lifecycle
        | Purpose::Fork
        | Purpose::Processes
        | Purpose::Followed => true,
        Purpose::FindBlocked | Purpose::Waiting | Purpose::Queues => {
            traces("mq_timedsend") || traces("mq_timedreceive")
        }
        Purpose::CatchUp => backend != Backend::Tracepoint,
    }
}

fn has_task_storage() -> bool {
    // The helper came to tracing programs together with bpf_get_current_task_btf().
    libbpf_rs::ProgramType::Tracing
        .is_helper_supported(libbpf_rs::libbpf_sys::BPF_FUNC_task_storage_get)
        .unwrap_or(false)
}

/// Selects programs, sizes maps, and sets what is constant after load.
fn prepare(
    open: &mut OpenMqspanSkel<'static>,
    backend: Backend,
    form: Form,
    settings: &KernelSettings,
    symbols: &KernelSymbols,
) -> Result<(Vec<Hook>, Vec<Hook>), LoadError> {
    let (mut hooks, mut absent) = (Vec::new(), Vec::new());
    let spares = kernel_is_preemptible();
    // libbpf's probe wrongly says no on Linux 7.3.
    let task_storage = symbols.has_task_storage() || has_task_storage();
    for mut program in open.open_object_mut().progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        let section = program.section().to_string_lossy().into_owned();
        let needed = Hook::of_program(&name, &section)
            .filter(|hook| is_needed(hook, backend, form, settings, spares))
            // Without task storage (Linux 5.10) an iterator over the table called every
            // queue gone. The program in its place has not been tried there.
            .filter(|hook| task_storage || hook.purpose() != Purpose::Queues);
        let mut load = false;
        if let Some(hook) = needed {
            load = matches!(
                hook.target,
                HookTarget::Tracepoint(_) | HookTarget::Iterator(_) | HookTarget::Agent
            ) || symbols.has(hook.target.symbol());
            if load {
                hooks.push(hook);
            } else if !hook.may_be_absent() {
                absent.push(hook);
            }
        }
        program.set_autoload(load);
        if form.is_multi() && program.section().to_string_lossy().starts_with('k') {
            program.set_attach_type(ProgramAttachType::KprobeMulti);
        }
    }

    // Programs at trampolines can be preempted; those at kprobes and, before
    // 7.0, at tracepoints cannot.
    let fentry = backend == Backend::Fentry || form.has_fentry_spares();
    let task_storage = task_storage && (!spares || !fentry || symbols.has_reentrant_task_storage());
    let rodata = open
        .maps
        .rodata_data
        .as_deref_mut()
        .ok_or(LoadError::Section(".rodata"))?;
    rodata.use_task_storage = task_storage;
    rodata.has_spares = has_spares(&hooks);
    rodata.entries_go_missing = spares;
    rodata.hooks_every_call = backend == Backend::Tracepoint;
    rodata.follows_messages = backend.knows_messages();
    rodata.use_casts = backend != Backend::Kprobe && symbols.has_rdonly_cast();
    rodata.payload_max = settings.payload_max();
    rodata.max_threads = settings.max_threads().into();
    rodata.ring_bytes = settings.ring_bytes().into();
    rodata.pressure_bytes = u64::from(settings.ring_bytes()) / 8;
    rodata.wakeup_bytes = u64::from(settings.ring_bytes()) / 8;
    // A small ring could fill between two looks that are far apart.
    rodata.look_mask = if settings.ring_bytes() < 1 << 20 {
        0
    } else {
        31
    };
    let bss = open
        .maps
        .bss_data
        .as_deref_mut()
        .ok_or(LoadError::Section(".bss"))?;
    filter::store(settings, FIRST_GENERATION, bss);
    bss.send_environment = settings.environments.into();

    open.maps.events.set_max_entries(settings.ring_bytes())?;
    let payload = settings.payload_max() != 0;
    let maps = &mut open.maps;
    maps.threads.set_autocreate(task_storage && !payload)?;
    maps.threads_payload
        .set_autocreate(task_storage && payload)?;
    maps.threads_by_id
        .set_autocreate(!task_storage && !payload)?;
    maps.tids_payload.set_autocreate(!task_storage && payload)?;
    maps.threads_by_id.set_max_entries(settings.max_threads())?;
    maps.tids_payload.set_max_entries(settings.max_threads())?;
    open.maps
        .messages
        .set_autocreate(backend.knows_messages())?;
    Ok((hooks, absent))
}

/// A variant of a backend's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The backend as it is on most kernels.
    Plain,
    /// Backend fentry where the verifier refuses the argument of the entry
    /// functions.
    RegistersOnStack,
    /// Backend kprobe, with fentry programs as spares or without.
    Kprobe { spares: bool },
    /// Like [`Self::Kprobe`], with `BPF_TRACE_KPROBE_MULTI` links.
    KprobeMulti { spares: bool },
}

impl Form {
    pub(super) fn is_multi(self) -> bool {
        matches!(self, Self::KprobeMulti { .. })
    }

    pub(super) fn has_fentry_spares(self) -> bool {
        let (Self::Kprobe { spares } | Self::KprobeMulti { spares }) = self else {
            return false;
        };
        spares
    }
}

/// Loads the programs of one backend. If the verifier refuses the argument of
/// the entry functions, loads them again without it.
pub(super) fn load(
    backend: Backend,
    form: Form,
    settings: &KernelSettings,
    symbols: &KernelSymbols,
) -> Result<Loaded, LoadError> {
    match load_as(backend, form, settings, symbols) {
        Err(LoadError::Program { source, log })
            if backend == Backend::Fentry && log.contains("FWD is not a struct") =>
        {
            tracing::debug!(%source, log, "the registers are read from the stack");
            load_as(backend, Form::RegistersOnStack, settings, symbols)
        }
        outcome => outcome,
    }
}

/// sysfs lists the sources of perf events; kprobes are one since 4.17.
fn has_kprobes() -> bool {
    let sources = Path::new("/sys/bus/event_source/devices");
    !sources.exists() || sources.join("kprobe").exists()
}

fn load_as(
    backend: Backend,
    form: Form,
    settings: &KernelSettings,
    symbols: &KernelSymbols,
) -> Result<Loaded, LoadError> {
    if backend == Backend::Kprobe && !form.is_multi() && !has_kprobes() {
        return Err(LoadError::NoKprobes);
    }
    // Debug output has twenty thousand lines, so it is only produced on request.
    let level = if tracing::enabled!(target: "libbpf", tracing::Level::TRACE) {
        PrintLevel::Debug
    } else {
        PrintLevel::Info
    };
    set_print(Some((level, keep_libbpf_line)));
    take_libbpf_log();
    // Leaked, because the skeleton borrows it for as long as the process lives.
    // It is a few hundred bytes for each backend tried.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = MqspanSkelBuilder::default().open(storage)?;
    tracing::debug!(%backend, ?form, "object opened");
    let (hooks, absent) = prepare(&mut open, backend, form, settings, symbols)?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.registers_on_stack = form == Form::RegistersOnStack;
    }
    if let Some(hook) = absent.iter().find(|hook| is_essential(hook)) {
        return Err(LoadError::Symbol(hook.target.symbol().to_owned()));
    }
    let skel = open.load().map_err(|source| LoadError::Program {
        source,
        log: take_libbpf_log(),
    })?;
    tracing::debug!(programs = hooks.len(), "programs loaded");
    filter::set_ids(&skel.maps.ids, &settings.filter, FIRST_GENERATION)?;
    Ok(Loaded {
        spares: has_spares(&hooks),
        skel,
        hooks,
        absent,
    })
}

/// A backend needs the native entry functions. The 32-bit ones are absent if
/// the kernel runs no 32-bit programs.
fn is_essential(hook: &Hook) -> bool {
    matches!(hook.purpose(), Purpose::Call { compat: false, .. })
}
