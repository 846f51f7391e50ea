//! Attaches the programs of a backend, and detaches them in an order that loses
//! no calls.

mod running;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use libbpf_rs::skel::Skel;
use libbpf_rs::{Iter, Link, MapCore, ProgramMut};

use crate::kernel::backend::{Backend, candidates};
use crate::kernel::bpf_error::into_io;
use crate::kernel::filter;
use crate::kernel::hooks::{Hook, HookTarget, Purpose};
use crate::kernel::kretprobe::ReturnProbes;
use crate::kernel::load::{FIRST_GENERATION, Form, LoadError, Loaded, load};
use crate::kernel::preemption::kernel_is_preemptible;
use crate::kernel::processes::ProcessTable;
use crate::kernel::ring::CaptureRing;
use crate::kernel::settings::{KernelFilter, KernelSettings};
use crate::kernel::symbols::KernelSymbols;
use crate::skel::MqspanSkel;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookState {
    Attached,
    /// The kernel does not have the function.
    Absent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookStatus {
    pub hook: Hook,
    pub state: HookState,
}

/// Why a backend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("cannot read /proc/kallsyms")]
    Symbols(#[source] io::Error),
    #[error("backend {backend}: cannot load: {source}")]
    Load {
        /// The backend that was tried.
        backend: Backend,
        source: LoadError,
    },
    #[error("backend {backend}: cannot attach {program} to {symbol}: {source}")]
    Hook {
        backend: Backend,
        program: String,
        /// The function or tracepoint.
        symbol: String,
        source: io::Error,
    },
    /// No backend attaches. Holds the error of each.
    #[error("no backend attaches:\n  {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    None(Vec<AttachError>),
}

/// Programs attached to the kernel.
pub struct Tracer {
    /// Entries come first, because fields are dropped in order and entries must
    /// go first.
    entry_links: Vec<Link>,
    other_links: Vec<Link>,
    /// Needed until calls that were blocked at attach have returned.
    catch_up: Vec<Link>,
    /// The iterator that finds calls in flight.
    blocked: Option<Link>,
    /// The iterator over threads in calls.
    waiting: Option<Link>,
    /// The iterator over processes.
    processes: Option<Link>,
    /// The iterator over threads that are followed, and when it was last read.
    followed: Option<Link>,
    counted_at: Option<Instant>,
    /// Since when the ring has been under pressure.
    pressure_since: Option<Instant>,
    /// After the links, because a probe in use cannot be removed.
    return_probes: Option<Arc<ReturnProbes>>,
    /// Why return probes have only the default number of instances.
    default_instances: Option<io::Error>,
    skel: MqspanSkel<'static>,
    backend: Backend,
    form: Form,
    /// Whether entries and returns of calls have several programs each.
    spares: bool,
    filter: KernelFilter,
    /// Number of the filter in use.
    generation: u32,
    hooks: Vec<HookStatus>,
    passed_over: Vec<AttachError>,
    /// Process ids in the filter that do not exist in the agent's PID namespace.
    unknown_pids: Vec<u32>,
    max_threads: u64,
}

impl Tracer {
    /// Loads and attaches the first backend that works. A guest prefers one
    /// whose coming and going another agent does not notice.
    ///
    /// # Errors
    /// When no backend works, with the reason of each.
    pub fn start(settings: &KernelSettings, as_guest: bool) -> Result<Self, AttachError> {
        let symbols = KernelSymbols::read().map_err(AttachError::Symbols)?;
        let mut errors = Vec::new();
        let choice = settings.capture.backend;
        for backend in candidates(choice, as_guest, kernel_is_preemptible()) {
            match Self::with_backend(backend, as_guest, settings, &symbols) {
                Ok(mut tracer) => {
                    tracer.passed_over = errors;
                    return Ok(tracer);
                }
                Err(error) => errors.push(error),
            }
        }
        match (errors.pop(), errors.is_empty()) {
            (Some(only), true) => Err(only),
            (last, _) => {
                errors.extend(last);
                Err(AttachError::None(errors))
            }
        }
    }

    /// Loads and attaches this backend. A guest goes without spares.
    ///
    /// # Errors
    /// When the kernel refuses a program or a hook.
    pub fn with_backend(
        backend: Backend,
        as_guest: bool,
        settings: &KernelSettings,
        symbols: &KernelSymbols,
    ) -> Result<Self, AttachError> {
        if backend == Backend::Kprobe {
            let spares = kernel_is_preemptible() && !as_guest;
            let multi = symbols.has_returns_without_pool();
            let forms = [
                (multi && spares, Form::KprobeMulti { spares: true }),
                (multi, Form::KprobeMulti { spares: false }),
                (spares, Form::Kprobe { spares: true }),
            ];
            for (_, form) in forms.into_iter().filter(|(is_possible, _)| *is_possible) {
                match Self::as_form(backend, form, settings, symbols) {
                    Ok(tracer) => return Ok(tracer),
                    Err(error) if form.has_fentry_spares() => tracing::info!(
                        %error,
                        "no fentry programs beside kprobes: calls are missed where another thread of \
                         the CPU is preempted in bpf(2)"
                    ),
                    Err(error) => tracing::debug!(%error, ?form, "without it, then"),
                }
            }
        }
        Self::as_form(backend, Form::Plain, settings, symbols)
    }

    fn as_form(
        backend: Backend,
        form: Form,
        settings: &KernelSettings,
        symbols: &KernelSymbols,
    ) -> Result<Self, AttachError> {
        let Loaded {
            skel,
            hooks,
            absent,
            spares,
        } = load(backend, form, settings, symbols)
            .map_err(|source| AttachError::Load { backend, source })?;
        let absent = absent.into_iter().map(|hook| HookStatus {
            hook,
            state: HookState::Absent,
        });
        let mut tracer = Self {
            entry_links: Vec::new(),
            other_links: Vec::new(),
            catch_up: Vec::new(),
            blocked: None,
            waiting: None,
            processes: None,
            followed: None,
            counted_at: None,
            pressure_since: None,
            max_threads: settings.max_threads().into(),
            return_probes: None,
            default_instances: None,
            skel,
            backend,
            form,
            spares,
            filter: settings.filter.clone(),
            generation: FIRST_GENERATION,
            hooks: absent.collect(),
            passed_over: Vec::new(),
            unknown_pids: Vec::new(),
        };
        tracer.attach_all(hooks)?;
        Ok(tracer)
    }

    /// Attaches returns before entries, so that no call is entered whose return
    /// would be missed.
    fn attach_all(&mut self, mut hooks: Vec<Hook>) -> Result<(), AttachError> {
        hooks.sort_by_key(|hook| {
            let order = match hook.purpose() {
                Purpose::Processes | Purpose::Fork => 0,
                Purpose::FindBlocked => 2,
                _ => 1,
            };
            (order, is_entry(hook))
        });
        let mut knows_processes = false;
        if self.backend == Backend::Kprobe && !self.form.is_multi() {
            match ReturnProbes::open() {
                Ok(probes) => self.return_probes = Some(Arc::new(probes)),
                Err(error) => self.default_instances = Some(error),
            }
        }
        for hook in hooks {
            if !knows_processes && !matches!(hook.purpose(), Purpose::Processes | Purpose::Fork) {
                // Forks are seen from now on, calls not yet.
                self.know_processes().map_err(|source| AttachError::Hook {
                    backend: self.backend,
                    program: "it_processes".to_owned(),
                    symbol: "task".to_owned(),
                    source,
                })?;
                knows_processes = true;
            }
            if hook.target != HookTarget::Agent {
                let link = self.attach(&hook).map_err(|source| AttachError::Hook {
                    backend: self.backend,
                    program: hook.program.clone(),
                    symbol: hook.target.symbol().to_owned(),
                    source,
                })?;
                self.keep(link, &hook);
            }
            self.hooks.push(HookStatus {
                hook,
                state: HookState::Attached,
            });
        }
        self.set_found_all(true);
        Ok(())
    }

    /// Keeps a link for as long as its purpose needs it.
    fn keep(&mut self, link: Link, hook: &Hook) {
        match hook.purpose() {
            Purpose::FindBlocked => {
                find_blocked(&link);
                self.blocked = Some(link);
            }
            Purpose::Waiting => self.waiting = Some(link),
            Purpose::Processes => self.processes = Some(link),
            Purpose::Followed => self.followed = Some(link),
            Purpose::CatchUp => self.catch_up.push(link),
            _ if is_entry(hook) => self.entry_links.push(link),
            _ => self.other_links.push(link),
        }
    }

    /// Tells the programs whether every wanted call in flight has a record. If
    /// so, a return without a record is that of a call whose entry was missed.
    fn set_found_all(&mut self, found_all: bool) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: as in filter::store().
            unsafe { (&raw mut bss.found_all).write_volatile(found_all.into()) };
        }
    }

    /// Tells the programs the level of the agent's PID namespace and, if the
    /// filter names processes, which these and their children are.
    fn know_processes(&mut self) -> io::Result<()> {
        let Some(link) = &self.processes else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let table = ProcessTable::read(link)?;
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: as in filter::store().
            unsafe { (&raw mut bss.agent_pid_level).write_volatile(table.level_here) };
        }
        let pids = &self.skel.maps.pids;
        self.unknown_pids = filter::set_pids(pids, &self.filter, &table).map_err(into_io)?;
        if self.filter.by_process() {
            // Children born between the first read and the update.
            let table = ProcessTable::read(link)?;
            filter::set_pids(pids, &self.filter, &table).map_err(into_io)?;
        }
        Ok(())
    }

    /// Process ids in the filter that do not exist in the agent's PID
    /// namespace. Empty if that is the initial one.
    pub fn unknown_pids(&self) -> &[u32] {
        &self.unknown_pids
    }

    fn attach(&mut self, hook: &Hook) -> io::Result<Link> {
        let program = self
            .skel
            .object_mut()
            .progs_mut()
            .find(|program| program.name().to_str() == Some(&hook.program))
            .ok_or(io::ErrorKind::NotFound)?;
        if hook.backend != Some(Backend::Kprobe) {
            return program.attach().map_err(into_io);
        }
        let return_probes = self.return_probes.as_mut().and_then(Arc::get_mut);
        match (&hook.target, return_probes) {
            (HookTarget::Entry(symbol) | HookTarget::Return(symbol), _) if self.form.is_multi() => {
                let returns = matches!(hook.target, HookTarget::Return(_));
                program
                    .attach_kprobe_multi(returns, vec![symbol])
                    .map_err(into_io)
            }
            (HookTarget::Return(symbol), Some(probes)) => {
                let event = probes.add(&hook.program, symbol)?;
                attach_to_event(&program, event)
            }
            _ => program.attach().map_err(into_io),
        }
    }

    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Why the backends that were tried first cannot be used.
    pub fn passed_over(&self) -> &[AttachError] {
        &self.passed_over
    }

    /// Why calls are lost if more than max(10, 2 x CPUs) block at the same
    /// time: backend `kprobe` without tracefs. `None` if they are not lost.
    pub fn few_instances(&self) -> Option<&io::Error> {
        self.default_instances.as_ref()
    }

    /// Every hook that the settings ask for.
    pub fn hooks(&self) -> &[HookStatus] {
        &self.hooks
    }

    /// The reading end of the ring buffer.
    ///
    /// # Errors
    /// When the kernel refuses to map it.
    pub fn ring<'cb>(&self, record: impl FnMut(&[u8]) + 'cb) -> io::Result<CaptureRing<'cb>> {
        let events = &self.skel.maps.events;
        Ok(CaptureRing::new(
            events.as_fd(),
            events.max_entries(),
            record,
        )?)
    }
}

fn is_entry(hook: &Hook) -> bool {
    match &hook.target {
        HookTarget::Entry(symbol) => symbol.contains("sys_mq_"),
        HookTarget::Tracepoint(name) => name == "sys_enter",
        HookTarget::Return(_) | HookTarget::Iterator(_) | HookTarget::Agent => false,
    }
}

/// Reads the iterator to its end, which runs its program on all threads.
fn find_blocked(link: &Link) {
    let outcome = Iter::new(link)
        .map_err(into_io)
        .and_then(|mut threads| io::copy(&mut threads, &mut io::sink()));
    if let Err(error) = outcome {
        tracing::warn!(%error, "calls that are blocked already will not be seen");
    }
}

fn attach_to_event(program: &ProgramMut<'_>, event: i32) -> io::Result<Link> {
    program.attach_perf_event(event).map_err(into_io)
}
