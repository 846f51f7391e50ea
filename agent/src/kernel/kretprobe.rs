//! Return probes with room for many blocked callers.
//!
//! A kretprobe holds one instance for every call that has not returned. By
//! default there are max(10, 2 x CPUs). Only tracefs allows more (`r<N>:`,
//! Documentation/trace/kprobetrace.rst).

use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::process;

use perf_event_open_sys::bindings::{PERF_FLAG_FD_CLOEXEC, PERF_TYPE_TRACEPOINT, perf_event_attr};
use perf_event_open_sys::perf_event_open;

use super::kernel_fs::KernelFs;

/// `KRETPROBE_MAXACTIVE_MAX`, `kernel/trace/trace_kprobe.c`.
pub(super) const MAX_INSTANCES: u32 = 4096;

/// The return probes of this process in tracefs. Dropping removes them.
pub(super) struct ReturnProbes {
    tracefs: KernelFs,
    group: String,
    names: Vec<String>,
}

impl ReturnProbes {
    /// Opens tracefs, and removes probes left behind by agents that were killed.
    ///
    /// # Errors
    /// When tracefs cannot be used.
    pub(super) fn open() -> io::Result<Self> {
        let tracefs = KernelFs::tracefs()?;
        for (group, name) in left_behind(&tracefs.read("kprobe_events")?) {
            if let Err(error) = tracefs.append("kprobe_events", &format!("-:{group}/{name}")) {
                tracing::debug!(%error, group, name, "stale probe stays");
            }
        }
        Ok(Self {
            tracefs,
            group: format!("mqspan_{}", process::id()),
            names: Vec::new(),
        })
    }

    /// Adds a return probe. Returns a perf event that fires at the return of
    /// the function, to which a BPF program can be attached.
    pub(super) fn add(&mut self, name: &str, symbol: &str) -> io::Result<RawFd> {
        let Self { tracefs, group, .. } = self;
        tracefs.append(
            "kprobe_events",
            &format!("r{MAX_INSTANCES}:{group}/{name} {symbol}"),
        )?;
        self.names.push(name.to_owned());
        let id = self
            .tracefs
            .read(&format!("events/{}/{name}/id", self.group))?;
        let id = id.trim().parse().map_err(io::Error::other)?;
        perf_event_of_tracepoint(id)
    }

    /// Returns that found no free instance, summed over all probes. Kernels
    /// before 6.2 do not report them here; pairing entries with returns counts
    /// them in any case.
    pub(super) fn missed(&self) -> io::Result<u64> {
        let profile = self.tracefs.read("kprobe_profile")?;
        Ok(profile
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let name = words.next()?;
                let missed = words.nth(1)?.parse::<u64>().ok()?;
                self.names
                    .iter()
                    .any(|known| known == name)
                    .then_some(missed)
            })
            .sum())
    }
}

impl Drop for ReturnProbes {
    fn drop(&mut self) {
        for name in &self.names {
            let line = format!("-:{}/{name}", self.group);
            if let Err(error) = self.tracefs.append("kprobe_events", &line) {
                tracing::warn!(%error, probe = name, "a return probe stays in tracefs");
            }
        }
    }
}

/// Probes of groups `mqspan_<pid>` whose process is gone.
fn left_behind(kprobe_events: &str) -> Vec<(String, String)> {
    kprobe_events
        .lines()
        .filter_map(|line| {
            let (_, event) = line.split_ascii_whitespace().next()?.split_once(':')?;
            let (group, name) = event.split_once('/')?;
            let pid: u32 = group.strip_prefix("mqspan_")?.parse().ok()?;
            let alive = Path::new(&format!("/proc/{pid}")).exists();
            (!alive).then(|| (group.to_owned(), name.to_owned()))
        })
        .collect()
}

fn perf_event_of_tracepoint(id: u64) -> io::Result<RawFd> {
    let mut attributes = perf_event_attr {
        type_: PERF_TYPE_TRACEPOINT,
        size: size_of::<perf_event_attr>() as u32,
        config: id,
        ..Default::default()
    };
    // SAFETY: the attributes are a whole, initialised perf_event_attr with its
    // own size in it; the call reads it and keeps no reference.
    let fd =
        unsafe { perf_event_open(&raw mut attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC.into()) };
    if fd < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_probes_of_dead_agents_only() {
        let own = process::id();
        let text = format!(
            "r4096:mqspan_4294967295/kr_recv __x64_sys_mq_timedreceive\n\
             r4096:mqspan_{own}/kr_send __x64_sys_mq_timedsend\n\
             p:kprobes/other do_sys_open\n"
        );
        assert_eq!(
            left_behind(&text),
            [("mqspan_4294967295".to_owned(), "kr_recv".to_owned())]
        );
    }
}
