//! Who a caller is, even where its `/proc` misleads, hangs, or is gone before anyone could look.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join;
use mqspan_testkit::collector::Collector;
use mqspan_testkit::free_address;
use mqspan_testkit::span::{Traced, Value};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use super::{Case, case, defaults};
use crate::Bench;
use crate::agent::Agent;
use crate::attack::Attack;
use crate::compare::is_of;
use crate::scrape::{sum, wait_for_metrics};
use crate::truth::{host_file, user_name};
use crate::workload::Workload;

/// The user of the attacks.
const USER: u32 = 65_000;
/// Limit on a value from `OTEL_*`, in bytes.
const VALUE_LIMIT: usize = 256;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("identity_environ_huge", environ_huge),
        case!("identity_environ_hanging", environ_hanging),
        case!("identity_values_cut", values_cut),
        case!("identity_claims", claims),
        case!("identity_host", host),
        case!("identity_short_life", short_life),
        case!("identity_pid_namespace", pid_namespace),
        case!("identity_environ_unwanted", environ_unwanted),
    ]
}

fn text<'a>(traced: &'a Traced, key: &str) -> Option<&'a str> {
    match traced.origin.resource.get(key) {
        Some(Value::Str(text)) => Some(text),
        _ => None,
    }
}

/// Whether the span is of a process of `hostile`, by the name of its executable.
fn is_hostile(traced: &Traced) -> bool {
    text(traced, "process.executable.name").is_some_and(|name| name.starts_with("hostile-"))
}

fn resident_now(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/statm");
    let statm = std::fs::read_to_string(&path).context(path)?;
    let pages = statm.split(' ').nth(1).context("no resident pages")?;
    Ok(pages.parse::<u64>()? * 4096)
}

/// An environment of 64 GiB costs the agent next to nothing, and the span has what the kernel
/// reported.
async fn environ_huge(bench: &'static Bench) -> Result<()> {
    const GROWTH: u64 = 16 << 20;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let pid = agent.pid()?;
    let before = resident_now(pid)?;
    let grown = async {
        loop {
            let now = resident_now(pid)?;
            ensure!(
                now < before + GROWTH,
                "the agent's memory went from {before} to {now} bytes"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let attack = Attack::new("environ-huge", 2);
    tokio::select! {
        made = attack.run(bench, USER) => made?,
        grown = grown => {
            grown?;
            bail!("the agent's memory is not known")
        }
    };
    collector
        .wait_for_spans(20, bench.bound(30), is_hostile)
        .await?;
    agent.stop_well(bench).await
}

/// While the environments of some processes cannot be read, they and all others are still traced,
/// and what could not be found out is counted.
async fn environ_hanging(bench: &'static Bench) -> Result<()> {
    const SECONDS: u32 = 3;
    let collector = Collector::start()?;
    let prometheus = free_address()?;
    let config = json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    // No read is answered before then.
    let hanging_until = Instant::now() + bench.bound(SECONDS.into());
    let traced = async {
        let bound = bench.bound(30);
        // Each of them makes a call every 10 ms.
        collector.wait_for_spans(10, bound, is_hostile).await?;
        let workload = Workload::new(bench.workload()?, &["paced", "20"])?;
        let calls = workload.run(bench).await?;
        collector
            .wait_for_spans(calls.len(), bound, is_of(&calls))
            .await?;
        Ok(Instant::now())
    };
    let attack = Attack::new("environ-fuse", 1);
    let (_, traced_at) = try_join(attack.run_for(bench, USER, SECONDS), traced).await?;
    ensure!(
        traced_at < hanging_until,
        "nothing was traced until the file system had gone; the log:\n{}",
        agent.log()
    );
    for of in ["proc_given_up", "proc_left_out"] {
        let wrong = |text: &str| {
            let label = format!("mqspan_identity_loss=\"{of}\"");
            let lost = sum(text, "mqspan_identity_lost_total", &[&label]);
            (lost == 0.0).then(|| format!("none is told as {of}"))
        };
        wait_for_metrics(bench, prometheus, 10, wrong).await?;
    }
    agent.stop_well(bench).await
}

/// Values that a program sets itself are cut, but never inside a character.
async fn values_cut(bench: &'static Bench) -> Result<()> {
    const LENGTH: usize = 100_000;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    for character in ["n", "é", "€", "🐇"] {
        for shift in 0..4 {
            let value = "_".repeat(shift) + &character.repeat(LENGTH / character.len());
            for (variable, key) in [
                ("OTEL_SERVICE_NAME", "service.name"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.version"),
            ] {
                let given = if variable == "OTEL_SERVICE_NAME" {
                    value.clone()
                } else {
                    format!("{key}={value}")
                };
                let workload = Workload::new(bench.workload()?, &["paced", "1"])?
                    .with_variable(variable, given);
                ensure_cut(bench, &collector, &workload, key, &value)
                    .await
                    .with_context(|| format!("{key} of {shift} bytes and many {character:?}"))?;
            }
        }
    }
    agent.stop_well(bench).await
}

async fn ensure_cut(
    bench: &Bench,
    collector: &Collector,
    workload: &Workload,
    key: &str,
    value: &str,
) -> Result<()> {
    let calls = workload.run(bench).await?;
    let ours = is_of(&calls);
    collector
        .wait_for_spans(calls.len(), bench.bound(30), &ours)
        .await?;
    for traced in collector.spans_that(&ours) {
        let got = text(&traced, key).with_context(|| format!("no {key}"))?;
        ensure!(
            value.starts_with(got),
            "{} bytes, not how the value begins: {:?}",
            got.len(),
            got.chars().take(300).collect::<String>()
        );
        // Cutting between characters leaves out at most one character more.
        ensure!(
            got.len() <= VALUE_LIMIT && got.len() + 4 > VALUE_LIMIT,
            "{} bytes, not {VALUE_LIMIT}",
            got.len()
        );
    }
    Ok(())
}

/// What a program says of itself is told, except what the kernel and the host know better.
async fn claims(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let said = "deployment.environment.name=test,team=a%2Cb,team=c%2Cd,service.version=7,\
                process.pid=1,process.vpid=1,process.owner=nobody,container.id=x,k8s.pod.uid=x,\
                host.id=x,host.name=x,os.type=plan9,telemetry.distro.name=x";
    let workload = Workload::new(bench.workload()?, &["paced", "5"])?
        .with_variable("OTEL_RESOURCE_ATTRIBUTES", said);
    let calls = workload.run(bench).await?;
    let ours = is_of(&calls);
    collector
        .wait_for_spans(calls.len(), bench.bound(30), &ours)
        .await?;
    agent.stop_well(bench).await?;
    let owner = user_name(0);
    for traced in collector.spans_that(&ours) {
        for (key, wanted) in [
            ("deployment.environment.name", Some("test")),
            ("team", Some("c,d")),
            ("service.version", Some("7")),
            ("process.owner", owner.as_deref()),
            ("container.id", None),
            ("k8s.pod.uid", None),
            ("os.type", Some("linux")),
            ("telemetry.distro.name", Some("mqspan")),
        ] {
            let got = text(&traced, key);
            ensure!(got == wanted, "{key}: {got:?}, not {wanted:?}");
        }
        for key in ["process.vpid", "process.command", "process.command_line"] {
            let got = traced.origin.resource.get(key);
            ensure!(got.is_none(), "{key}: {got:?}");
        }
        for key in ["host.id", "host.name"] {
            ensure!(text(&traced, key) != Some("x"), "{key} is what was said");
        }
    }
    Ok(())
}

/// The host's id and addresses are those that the system itself tells.
async fn host(bench: &'static Bench) -> Result<()> {
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let calls = Workload::new(bench.workload()?, &["paced", "1"])?
        .run(bench)
        .await?;
    let ours = is_of(&calls);
    collector
        .wait_for_spans(calls.len(), bench.bound(30), &ours)
        .await?;
    agent.stop_well(bench).await?;
    let machine = host_file("etc/machine-id").or_else(|| host_file("var/lib/dbus/machine-id"));
    let machine = machine.as_deref().map(str::trim);
    let machine = machine.filter(|id| id.len() == 32);
    let wanted = addresses()?;
    for traced in collector.spans_that(&ours) {
        let id = text(&traced, "host.id");
        ensure!(id == machine, "host.id: {id:?}, not {machine:?}");
        let mut got = match traced.origin.resource.get("host.ip") {
            None => Vec::new(),
            Some(Value::Strings(addresses)) => addresses.clone(),
            Some(other) => bail!("host.ip: {other}"),
        };
        got.sort();
        ensure!(got == wanted, "host.ip: {got:?}, not {wanted:?}");
    }
    Ok(())
}

/// The addresses of this network namespace, without loopback, as `/proc/net` has them.
fn addresses() -> Result<Vec<String>> {
    let table = std::fs::read_to_string("/proc/net/fib_trie")?;
    let mut all = Vec::new();
    let mut address = None;
    for line in table.lines() {
        if let Some((_, leaf)) = line.split_once("|-- ") {
            address = Some(leaf.parse::<Ipv4Addr>()?);
        } else if line.contains("/32 host LOCAL") {
            all.extend(address.filter(|ip| !ip.is_loopback()).map(IpAddr::V4));
        }
    }
    // Without IPv6 there is no such file.
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    for line in table.lines().filter(|line| !line.ends_with(" lo")) {
        let digits = line.get(..32).context("a short line in if_inet6")?;
        let bits = u128::from_str_radix(digits, 16)?;
        all.push(IpAddr::V6(Ipv6Addr::from_bits(bits)));
    }
    let mut texts: Vec<_> = all.iter().map(IpAddr::to_string).collect();
    texts.sort();
    texts.dedup();
    Ok(texts)
}

/// A program that makes one call and is gone when the agent looks still has the name it was given.
async fn short_life(bench: &'static Bench) -> Result<()> {
    const PROGRAMS: usize = 20;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let program = bench.beside_workload("hostile")?;
    agent.pause()?;
    for number in 0..PROGRAMS {
        let status = Command::new(&program)
            .arg("once")
            .env("OTEL_SERVICE_NAME", format!("short-{number}"))
            .status()
            .await?;
        ensure!(status.success(), "{}: {status}", program.display());
    }
    agent.go_on()?;
    collector
        .wait_for_spans(PROGRAMS, bench.bound(30), is_hostile)
        .await?;
    let mut names: Vec<_> = collector
        .spans_that(is_hostile)
        .iter()
        .map(|traced| text(traced, "service.name").unwrap_or("none").to_owned())
        .collect();
    names.sort();
    let mut wanted: Vec<_> = (0..PROGRAMS)
        .map(|number| format!("short-{number}"))
        .collect();
    wanted.sort();
    ensure!(names == wanted, "service.name: {names:?}");
    agent.stop_well(bench).await
}

/// The same bench, with its agents in a namespace of their own, such as `pid-namespace`.
pub(super) fn in_namespace(bench: &Bench, kind: &str, directory: &Path) -> Result<Bench> {
    let script = directory.join("mqspan");
    let text = format!(
        "#!/bin/sh\nexec {} {kind} {} \"$@\"\n",
        bench.beside_workload("hostile")?.display(),
        bench.agent.display()
    );
    std::fs::write(&script, text)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    Ok(Bench {
        agent: script,
        ..bench.clone()
    })
}

/// A process is identified correctly when the kernel's ids are not those of the agent's own
/// `/proc`.
async fn pid_namespace(bench: &'static Bench) -> Result<()> {
    let scripts = TempDir::with_prefix("mqspan-e2e")?;
    let inside = in_namespace(bench, "pid-namespace", scripts.path())?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(&inside, &collector, defaults()).await?;
    let workload = Workload::new(bench.workload()?, &["blocked", "1", "hold"])?
        .with_variable("OTEL_SERVICE_NAME", "outside");
    let held = workload.hold(bench).await?;
    let pid = i64::from(held.pid()?);
    let ours = move |traced: &Traced| traced.pid() == Some(pid);
    // Wait for a span while the process is still there.
    collector.wait_for_spans(1, bench.bound(30), ours).await?;
    held.release(bench).await?;
    let count = workload.truth()?.len();
    collector
        .wait_for_spans(count, bench.bound(30), ours)
        .await?;
    agent.stop_well(bench).await?;
    let path = workload.program().to_string_lossy().into_owned();
    for traced in collector.spans_that(ours) {
        // What it would see of the host from there is not the host's.
        for key in ["host.id", "host.ip", "process.owner"] {
            let got = traced.origin.resource.get(key);
            ensure!(got.is_none(), "{key} from another PID namespace: {got:?}");
        }
        let got = ["service.name", "process.executable.path"].map(|key| text(&traced, key));
        ensure!(
            got == [Some("outside"), Some(&path)],
            "name and executable: {got:?}, not \"outside\" and {path:?}"
        );
    }
    Ok(())
}

/// A program's environment enters the agent's memory if its identity is wanted, and not otherwise.
async fn environ_unwanted(bench: &'static Bench) -> Result<()> {
    let program = bench.beside_workload("hostile")?;
    for (wanted, name) in [(true, "wanted"), (false, "unwanted")] {
        let secret = format!("secret-{name}-{}", std::process::id());
        let collector = Collector::start()?;
        let over = json!({"enrich": {"process": wanted}});
        let agent = Agent::sending_to(bench, &collector, over).await?;
        let mut child = Command::new(&program)
            .arg("once")
            .env("PASSWORD", &secret)
            .spawn()?;
        let pid = i64::from(child.id().context("it has ended already")?);
        ensure!(child.wait().await?.success(), "{}", program.display());
        let its = move |traced: &Traced| traced.tid() == Some(pid);
        collector.wait_for_spans(1, bench.bound(30), its).await?;
        let found = shared_memory_has(agent.pid()?, secret.as_bytes())?;
        ensure!(
            found == wanted,
            "enrich.process {wanted}: the environment is in the ring: {found}"
        );
        agent.stop_well(bench).await?;
    }
    Ok(())
}

/// Whether the memory that the process shares with BPF programs contains `bytes`.
fn shared_memory_has(pid: u32, bytes: &[u8]) -> Result<bool> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut any = false;
    for line in maps.lines().filter(|line| line.contains("bpf-map")) {
        let (begin, end) = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'))
            .context("no range")?;
        let [begin, end] = [begin, end].map(|at| u64::from_str_radix(at, 16));
        let (begin, end) = (begin?, end?);
        let mut content = vec![0; usize::try_from(end - begin)?];
        memory
            .read_exact_at(&mut content, begin)
            .with_context(|| line.to_owned())?;
        any = true;
        if content.windows(bytes.len()).any(|part| part == bytes) {
            return Ok(true);
        }
    }
    ensure!(
        any,
        "the process shares no memory with the kernel's programs:\n{maps}"
    );
    Ok(false)
}
