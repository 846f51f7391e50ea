//! Attaches the programs of a backend, and takes them back in the order that
//! loses nothing.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

use libbpf_rs::skel::Skel;
use libbpf_rs::{Iter, Link, MapCore, MapHandle, ProgramMut};

use super::backend::{Backend, BackendChoice};
use super::filter::{self, CgroupVerdict, KernelFilter};
use super::hooks::{Hook, HookTarget, Purpose};
use super::kretprobe::ReturnProbes;
use super::load::{FIRST_GENERATION, Form, KernelSettings, LoadError, Loaded, load};
use super::preemption::kernel_is_preemptible;
use super::probes::KernelMeters;
use super::ring::CaptureRing;
use super::symbols::KernelSymbols;
use crate::skel::MqspanSkel;

/// What became of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookState {
    /// Runs.
    Attached,
    /// The kernel does not have the function.
    Absent,
}

/// One hook and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookStatus {
    /// The hook.
    pub hook: Hook,
    /// What became of it.
    pub state: HookState,
}

/// Why a backend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The list of the kernel's functions cannot be read.
    #[error("cannot read /proc/kallsyms")]
    Symbols(#[source] io::Error),
    /// The programs cannot be loaded.
    #[error("backend {backend}: cannot load: {source}")]
    Load {
        /// The backend that was tried.
        backend: Backend,
        /// Why.
        source: LoadError,
    },
    /// A hook is refused.
    #[error("backend {backend}: cannot attach {program} to {symbol}: {source}")]
    Hook {
        /// The backend that was tried.
        backend: Backend,
        /// The program.
        program: String,
        /// The function or tracepoint.
        symbol: String,
        /// Why.
        source: io::Error,
    },
    /// No backend attaches; one line each.
    #[error("no backend attaches:\n  {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    None(Vec<AttachError>),
}

/// Programs at work in the kernel.
pub struct Tracer {
    /// Entries first: they are the first to go.
    entry_links: Vec<Link>,
    other_links: Vec<Link>,
    /// While calls that were blocked at attach have not returned.
    catch_up: Vec<Link>,
    /// The iterator over threads in calls.
    waiting: Option<Link>,
    /// After the links: a probe in use cannot be taken back.
    return_probes: Option<Arc<ReturnProbes>>,
    /// Why return probes have only as many instances as is the default.
    default_instances: Option<io::Error>,
    skel: MqspanSkel<'static>,
    backend: Backend,
    form: Form,
    /// Entries and returns of calls have several programs each.
    spares: bool,
    filter: KernelFilter,
    /// Counts the filters.
    generation: u32,
    hooks: Vec<HookStatus>,
    passed_over: Vec<AttachError>,
}

impl Tracer {
    /// Loads and attaches by the first backend that can.
    ///
    /// # Errors
    /// When none can, with the reason of each.
    pub fn start(choice: BackendChoice, settings: &KernelSettings) -> Result<Self, AttachError> {
        let symbols = KernelSymbols::read().map_err(AttachError::Symbols)?;
        let mut errors = Vec::new();
        for backend in choice.candidates(kernel_is_preemptible()) {
            match Self::with_backend(backend, settings, &symbols) {
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

    /// Loads and attaches by this backend.
    ///
    /// # Errors
    /// When the kernel refuses a program or a hook.
    pub fn with_backend(
        backend: Backend,
        settings: &KernelSettings,
        symbols: &KernelSymbols,
    ) -> Result<Self, AttachError> {
        if backend == Backend::Kprobe && symbols.has_returns_without_pool() {
            match Self::as_form(backend, Form::KprobeMulti, settings, symbols) {
                Ok(tracer) => return Ok(tracer),
                Err(error) => tracing::debug!(%error, "one perf event for each probe, then"),
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
            waiting: None,
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
        };
        tracer.attach_all(hooks)?;
        Ok(tracer)
    }

    /// Returns before entries, so that no call is entered whose return would
    /// not be seen.
    fn attach_all(&mut self, mut hooks: Vec<Hook>) -> Result<(), AttachError> {
        hooks.sort_by_key(|hook| (hook.purpose() == Purpose::FindBlocked, is_entry(hook)));
        if self.backend == Backend::Kprobe && self.form == Form::Plain {
            match ReturnProbes::open() {
                Ok(probes) => self.return_probes = Some(Arc::new(probes)),
                Err(error) => self.default_instances = Some(error),
            }
        }
        for hook in hooks {
            let link = self.attach(&hook).map_err(|source| AttachError::Hook {
                backend: self.backend,
                program: hook.program.clone(),
                symbol: hook.target.symbol().to_owned(),
                source,
            })?;
            match hook.purpose() {
                Purpose::FindBlocked => find_blocked(&link),
                Purpose::Waiting => self.waiting = Some(link),
                Purpose::CatchUp => self.catch_up.push(link),
                _ if is_entry(&hook) => self.entry_links.push(link),
                _ => self.other_links.push(link),
            }
            self.hooks.push(HookStatus {
                hook,
                state: HookState::Attached,
            });
        }
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: as in filter::store().
            unsafe { (&raw mut bss.found_all).write_volatile(1) };
        }
        Ok(())
    }

    fn attach(&mut self, hook: &Hook) -> io::Result<Link> {
        let program = self
            .skel
            .object_mut()
            .progs_mut()
            .find(|program| program.name().to_str() == Some(&hook.program))
            .ok_or(io::ErrorKind::NotFound)?;
        let return_probes = self.return_probes.as_mut().and_then(Arc::get_mut);
        match (&hook.target, return_probes) {
            (HookTarget::Entry(symbol) | HookTarget::Return(symbol), _)
                if self.form == Form::KprobeMulti =>
            {
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

    /// The backend in use.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The backends that were tried before, and why they cannot be used.
    pub fn passed_over(&self) -> &[AttachError] {
        &self.passed_over
    }

    /// Why calls beyond max(10, 2 x CPUs) that block at once are lost, if they
    /// are: backend `kprobe` without tracefs.
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

    /// Says whether the agent waits, and is to be woken when the ring fills. A
    /// program that wakes it takes this back.
    pub fn set_waits(&mut self, waits: bool) {
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            // SAFETY: as in filter::store().
            unsafe { (&raw mut bss.agent_waits).write_volatile(waits.into()) };
        }
    }

    /// Applies another filter to calls that begin from now on; calls in flight
    /// are judged by it at their return. Hooks and sizes stay as they are.
    ///
    /// # Errors
    /// When the kernel refuses the processes.
    pub fn set_filter(&mut self, settings: &KernelSettings) -> libbpf_rs::Result<()> {
        if self.filter == settings.filter {
            return Ok(());
        }
        let generation = self.generation + 1;
        filter::fill(&settings.filter, generation, &self.skel.maps)?;
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            filter::store(settings, generation, bss);
        }
        self.generation = generation;
        self.filter = settings.filter.clone();
        Ok(())
    }

    /// Tells the kernel of cgroups whose calls it need not send, or must. What
    /// it does not take the agent decides itself, call by call.
    pub fn set_cgroups(&mut self, verdicts: &[CgroupVerdict]) {
        for verdict in verdicts {
            let cgroups = &self.skel.maps.cgroups;
            if let Err(error) = filter::set_cgroup(cgroups, self.generation, *verdict) {
                tracing::debug!(%error, "the kernel does not take a verdict");
            }
        }
    }

    /// What the programs and the kernel itself count, readable from any thread
    /// and after the end of the tracer.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn meters(&self) -> io::Result<KernelMeters> {
        let counts = MapHandle::try_from(&self.skel.maps.counts).map_err(into_io)?;
        let return_probes = self
            .return_probes
            .as_ref()
            .map_or_else(Weak::new, Arc::downgrade);
        let waiting = self.waiting.as_ref().map(AsFd::as_fd);
        let waiting = waiting.map(|link| link.try_clone_to_owned()).transpose()?;
        let lost = MapHandle::try_from(&self.skel.maps.lost_calls).map_err(into_io)?;
        let mut meters = KernelMeters::new(counts, lost, return_probes, waiting);
        for program in self.skel.object().progs() {
            let attached = self.hooks.iter().find(|status| {
                status.state == HookState::Attached
                    && program.name().to_str() == Some(&status.hook.program)
            });
            if let Some(HookStatus { hook, .. }) = attached {
                let symbol = hook.target.symbol();
                let alone = is_entry(hook) && !self.spares;
                meters.add(&hook.program, symbol, alone, program.as_fd())?;
            }
        }
        Ok(meters)
    }

    /// Takes back what only calls needed that were blocked at attach, once
    /// they have all returned.
    pub fn release_catch_up(&mut self) {
        let found_blocked = self.skel.maps.bss_data.as_deref().map_or(0, |bss| {
            // SAFETY: the field is in a page that the kernel writes to as
            // well, so it is read as such: once, whole, aligned.
            unsafe { (&raw const bss.found_blocked).read_volatile() }
        });
        if !self.catch_up.is_empty() && found_blocked == 0 {
            self.catch_up.clear();
            tracing::debug!("no call that was blocked at the start is left");
        }
    }

    /// Stops everything. The ring keeps what is in it.
    pub fn detach(&mut self) {
        self.entry_links.clear();
        self.catch_up.clear();
        self.other_links.clear();
        self.return_probes = None;
    }
}

fn is_entry(hook: &Hook) -> bool {
    match &hook.target {
        HookTarget::Entry(symbol) => symbol.contains("sys_mq_"),
        HookTarget::Tracepoint(name) => name == "sys_enter",
        HookTarget::Return(_) | HookTarget::Iterator(_) => false,
    }
}

/// Reads the iterator to its end, which runs it over all threads.
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

fn into_io(error: libbpf_rs::Error) -> io::Error {
    io::Error::other(format!("{error:#}"))
}
