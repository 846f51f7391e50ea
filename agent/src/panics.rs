//! Handles panics.
//!
//! A panic is a defect, but it must not end the agent silently. It is logged
//! and counted, and requests a stop; the agent then detaches and sends what it
//! has. A task or thread that panics ends alone, and whatever waits for it must
//! not do so forever. In case something does, the process ends at a deadline
//! whatever happens.

use std::any::Any;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;

use crate::logs;

/// Time from the first panic to the end of the process. An orderly stop takes
/// 14 s at most, and Kubernetes kills after 30 s.
const DEADLINE: Duration = Duration::from_secs(20);

static COUNT: AtomicU64 = AtomicU64::new(0);
static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
static WATCHDOG: Once = Once::new();

/// Installs the hook. From then on a panic in any thread is reported and
/// counted, sets the flag of [`stop_by`], and starts the deadline for the
/// process to end.
pub fn install() {
    install_with(DEADLINE);
}

fn install_with(deadline: Duration) {
    set_hook(Box::new(move |info| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        WATCHDOG.call_once(|| watch(deadline));
        if let Some(stop) = STOP.get() {
            stop.store(true, Ordering::Relaxed);
        }
        report(info);
    }));
}

/// Sets the flag that ends the command. Only the first call counts.
pub fn stop_by(stop: &Arc<AtomicBool>) {
    STOP.get_or_init(|| Arc::clone(stop));
}

pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Runs a part of a command that must not take the rest down with it.
///
/// # Errors
/// The errors of `part`, and its panic, which has been reported.
pub fn caught<T>(part: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(part))
        .unwrap_or_else(|panic| Err(anyhow!("a defect: {}", message(panic.as_ref()))))
}

fn watch(deadline: Duration) {
    let wait_and_end = move || {
        thread::sleep(deadline);
        tracing::error!("the stop after a panic takes too long");
        end_now();
    };
    let started = thread::Builder::new()
        .name("mqspan-watchdog".to_owned())
        .spawn(wait_and_end);
    if started.is_err() {
        end_now();
    }
}

/// Ends without destructors or exit handlers, since they may be what hangs.
fn end_now() -> ! {
    logs::flush();
    // SAFETY: _exit() has no memory of ours to touch.
    unsafe { libc::_exit(1) }
}

fn report(info: &PanicHookInfo<'_>) {
    let current = thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let cause = message(info.payload());
    let place = info.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("unknown");
    if logs::is_started() {
        tracing::error!(
            cause,
            place,
            thread,
            "panic: this is a defect, please report it"
        );
    } else {
        logs::say!(
            "panic: {cause} at {place}, thread {thread}: this is a defect, please report it"
        );
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output, exit};
    use std::sync::Mutex;

    use super::*;
    use crate::config::Config;

    /// Names what is tried; only the children of these tests have it.
    const WAY: &str = "MQSPAN_TEST_PANIC";

    /// Runs the test `child` in a process of its own, as the hook is the whole
    /// process's.
    fn run(way: &str) -> (Output, String) {
        let module = module_path!().split_once("::").unwrap().1;
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", &format!("{module}::child")])
            .env(WAY, way)
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, log)
    }

    fn wait_for(stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    }

    /// What a child does; in the run of all tests it does nothing.
    #[test]
    fn child() {
        let Ok(way) = std::env::var(WAY) else {
            return;
        };
        let stop = Arc::new(AtomicBool::new(false));
        let deadline = if way == "stuck" {
            Duration::from_millis(10)
        } else {
            DEADLINE
        };
        install_with(deadline);
        stop_by(&stop);
        if way != "before the log" {
            logs::start(&Config::default().logs).unwrap();
        }
        match way.as_str() {
            "task" => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .thread_name("the-workers")
                    .build()
                    .unwrap();
                let task = runtime.spawn(async { panic!("on purpose, {}", 1) });
                assert!(runtime.block_on(task).unwrap_err().is_panic());
                // The other tasks go on.
                assert_eq!(runtime.block_on(runtime.spawn(async { 7 })).unwrap(), 7);
            }
            "thread" | "before the log" => {
                let thread = thread::Builder::new().name("a-thread".to_owned());
                let thread = thread.spawn(|| panic!("on purpose, {}", 1)).unwrap();
                thread.join().unwrap_err();
            }
            "caught" => {
                let caught = caught::<()>(|| panic!("on purpose, 1")).unwrap_err();
                assert_eq!(caught.to_string(), "a defect: on purpose, 1");
            }
            "stuck" => {
                let lock = Mutex::new(());
                let held = lock.lock().unwrap();
                drop(caught::<()>(|| panic!("on purpose, 1")));
                drop(lock.lock().unwrap());
                drop(held);
            }
            other => unreachable!("{other}"),
        }
        wait_for(&stop);
        assert_eq!(count(), 1);
        logs::flush();
        exit(7);
    }

    #[test]
    fn a_panic_is_told_counted_and_asks_for_the_stop() {
        for (way, thread) in [
            ("task", "the-workers"),
            ("thread", "a-thread"),
            ("before the log", "a-thread"),
            ("caught", ""),
        ] {
            let (output, log) = run(way);
            assert_eq!(output.status.code(), Some(7), "{way}: {log}");
            for part in ["panic", "on purpose, 1", file!(), thread] {
                assert!(log.contains(part), "{way}: no {part:?} in {log}");
            }
        }
    }

    #[test]
    fn a_stop_that_hangs_ends_at_the_deadline() {
        let (output, log) = run("stuck");
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("takes too long"), "{log}");
    }
}
