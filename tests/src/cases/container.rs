//! Programs in runc containers: whose they are, and which queues they use.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::span::{Traced, Value, attributes};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::{Case, case, defaults};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::attack::Attack;
use crate::cgroup::ContainerGroups;
use crate::spawn::cannot_run;
use crate::truth::{self, Call, user_name};
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("container_64", |b: &'static Bench| container(
            b,
            b.workload()
        )),
        case!("container_32", |b: &'static Bench| container(
            b,
            b.workload32()
        )),
        case!("container_forms", forms),
        case!("container_hybrid", hybrid),
    ]
}

/// An OCI bundle that runs one program in namespaces of its own.
struct Bundle {
    dir: TempDir,
    id: String,
    pod: String,
}

impl Bundle {
    /// The program is `/mqwork` in the container and writes its truth to `/truth`.
    async fn new(program: &Path, args: &[&str]) -> Result<Bundle> {
        let dir = TempDir::with_prefix("mqspan-e2e")?;
        let rootfs = dir.path().join("rootfs");
        std::fs::create_dir(&rootfs)?;
        std::fs::copy(program, rootfs.join("mqwork"))?;
        let spec = Command::new("runc")
            .args(["spec", "--bundle"])
            .arg(dir.path())
            .status()
            .await
            .map_err(cannot_run("runc"))?;
        ensure!(spec.success(), "runc spec: {spec}");
        // Named as Docker and containerd name containers, where the kubelet's cgroupfs driver puts
        // them.
        let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let pod = uuid.trim().to_owned();
        let id = pod.replace('-', "").repeat(2);
        let path = dir.path().join("config.json");
        let mut config: Json = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        let command: Vec<_> = ["/mqwork", "--truth", "/truth"]
            .iter()
            .chain(args)
            .collect();
        agent::merge(
            &mut config,
            json!({
                "process": {"terminal": false, "args": command},
                "root": {"readonly": false},
                "linux": {"cgroupsPath": format!("/kubepods/burstable/pod{pod}/{id}")},
            }),
        );
        std::fs::write(&path, config.to_string())?;
        Ok(Bundle { dir, id, pod })
    }

    async fn run(&self, bench: &Bench) -> Result<Vec<Call>> {
        let mut command = Command::new("runc");
        command.arg("run").arg("--bundle").arg(self.dir.path());
        command.arg(&self.id).kill_on_drop(true);
        let output = tokio::time::timeout(bench.bound(60), command.output())
            .await
            .context("the container did not end")?
            .map_err(cannot_run("runc"))?;
        ensure!(
            output.status.success(),
            "runc run: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        truth::read(&self.dir.path().join("rootfs/truth"))
    }
}

impl Drop for Bundle {
    /// runc removes the container's groups and leaves those above them.
    fn drop(&mut self) {
        let pod = format!("kubepods/burstable/pod{}", self.pod);
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
        let mut roots: Vec<_> = hierarchies.flatten().map(|entry| entry.path()).collect();
        roots.push("/sys/fs/cgroup".into());
        for root in roots {
            for group in [pod.as_str(), "kubepods/burstable", "kubepods"] {
                // Groups that others use stay.
                std::fs::remove_dir(root.join(group)).unwrap_or_default();
            }
        }
    }
}

/// A process on the host and one in a container use a queue of the same name. Their IPC namespaces
/// tell the two queues apart, and all spans of the short-lived container have its id and its pod's.
async fn container(bench: &'static Bench, program: Result<std::path::PathBuf>) -> Result<()> {
    let program = program?;
    let host = Workload::new(program.clone(), &["paced", "20"])?;
    let prefix = host.prefix().to_owned();
    let bundle = Bundle::new(&program, &["--prefix", &prefix, "paced", "20"]).await?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let on_host = host.run(bench).await?;
    let inside = bundle.run(bench).await?;
    let queue = on_host.iter().find_map(|call| call.queue.clone());
    let of_queue = move |traced: &Traced| {
        let (attributes, _) = attributes(&traced.span.attributes);
        attributes.get("messaging.destination.name") == queue.as_deref().map(Value::from).as_ref()
    };
    let count = on_host.len() + inside.len();
    collector
        .wait_for_spans(count, bench.bound(30), of_queue.clone())
        .await?;
    agent.stop_well(bench).await?;

    let spans: Vec<_> = collector.spans().into_iter().filter(of_queue).collect();
    let id = Value::from(bundle.id.as_str());
    let pod = Value::from(bundle.pod.as_str());
    let (contained, others): (Vec<_>, Vec<_>) = spans.iter().partition(|traced| {
        let resource = &traced.origin.resource;
        resource.get("container.id") == Some(&id) && resource.get("k8s.pod.uid") == Some(&pod)
    });
    ensure!(
        (contained.len(), others.len()) == (inside.len(), on_host.len()),
        "{} spans with the container's id and its pod's, and {} without, not {} and {}",
        contained.len(),
        others.len(),
        inside.len(),
        on_host.len()
    );
    ensure!(
        others
            .iter()
            .all(|traced| !traced.origin.resource.contains_key("container.id")),
        "a container's id on spans of a process of the host"
    );
    // The container's first process is its own pid 1, and its root is no user of the host.
    for traced in &contained {
        let resource = &traced.origin.resource;
        let got = ["process.vpid", "process.owner"].map(|key| resource.get(key));
        ensure!(
            matches!(got, [Some(Value::Int(1..)), None]),
            "process.vpid and process.owner in a container: {got:?}"
        );
    }
    let owner = user_name(0).as_deref().map(Value::from);
    for traced in &others {
        let resource = &traced.origin.resource;
        let got = ["process.vpid", "process.owner"].map(|key| resource.get(key));
        ensure!(
            got == [None, owner.as_ref()],
            "process.vpid and process.owner on the host: {got:?}"
        );
    }
    let namespaces = |spans: &[&Traced]| {
        let mut all: Vec<_> = spans
            .iter()
            .filter_map(|traced| {
                let (attributes, _) = attributes(&traced.span.attributes);
                attributes.get("posix_mq.ipc_namespace").cloned()
            })
            .map(|value| value.to_string())
            .collect();
        all.sort();
        all.dedup();
        all
    };
    let (inner, outer) = (namespaces(&contained), namespaces(&others));
    ensure!(
        inner.len() == 1 && outer.len() == 1 && inner != outer,
        "IPC namespaces: {inner:?} in the container, {outer:?} on the host"
    );
    Ok(())
}

/// A container's id is found, and filters apply to its calls, in whatever form its runtime names
/// its groups.
async fn forms(bench: &'static Bench) -> Result<()> {
    const GROUPS: u32 = 4;
    // One call from each of several groups inside the container's.
    let attack = Attack::new("cgroups", 1).with_count(GROUPS);
    for form in [
        "system.slice/orders.service/libpod-payload-ID",
        "system.slice/orders.service/libpod-payload-ID/init.scope",
        "system.slice/nerdctl-ID.scope",
        "machine.slice/libpod-ID.scope/container",
        "docker/ID",
    ] {
        for way in ["include", "exclude"] {
            let groups = ContainerGroups::named(form)?;
            let id = Value::from(groups.id.as_str());
            let collector = Collector::start()?;
            let config = json!({"filter": {way: {"containers": [&groups.id]}}});
            let agent = Agent::sending_to(bench, &collector, config).await?;
            let made = attack.run_in(bench, 0, 1, &groups.paths).await?;
            ensure!(made == u64::from(GROUPS), "{form}: {made} calls");
            agent.stop_balanced(bench).await?;
            let of_it = |traced: &Traced| traced.origin.resource.get("container.id") == Some(&id);
            let (traced, all) = (collector.spans_that(of_it).len(), collector.spans().len());
            let wanted = if way == "include" { made as usize } else { 0 };
            ensure!(
                traced == wanted && (way == "exclude" || all == wanted),
                "{form}, {way}: {traced} spans with the container's id of {all}, not {wanted}"
            );
        }
    }
    Ok(())
}

/// A filter on one of two containers does not affect the other, although both share a group of
/// version 2 and have their own only in version 1: in all hierarchies, or in that of memory alone.
/// Without version 1, each has its own group of version 2.
async fn hybrid(bench: &'static Bench) -> Result<()> {
    const CALLS: u32 = 4;
    let attack = Attack::new("cgroups", 1).with_count(CALLS);
    let v1 = Path::new("/sys/fs/cgroup");
    for only in ["", "memory"] {
        let (mut a, mut b) = (ContainerGroups::new()?, ContainerGroups::new()?);
        for groups in [&mut a, &mut b] {
            let is_wanted = |path: &PathBuf| {
                !path.starts_with(v1.join("unified"))
                    && (only.is_empty() || path.starts_with(v1.join(only)))
            };
            if groups.paths.iter().any(is_wanted) {
                groups.retain(is_wanted);
            }
        }
        for way in ["include", "exclude"] {
            let collector = Collector::start()?;
            let config = json!({"filter": {way: {"containers": [&a.id]}}});
            let agent = Agent::sending_to(bench, &collector, config).await?;
            for groups in [&a, &b, &a, &b] {
                let made = attack.run_in(bench, 0, 1, &groups.paths).await?;
                ensure!(made == u64::from(CALLS), "{made} calls");
            }
            agent.stop_balanced(bench).await?;
            let of = |groups: &ContainerGroups| {
                let id = Value::from(groups.id.as_str());
                collector
                    .spans_that(|traced| traced.origin.resource.get("container.id") == Some(&id))
                    .len()
            };
            let all = 2 * CALLS as usize;
            let wanted = if way == "include" { (all, 0) } else { (0, all) };
            let found = (of(&a), of(&b));
            ensure!(
                found == wanted,
                "{way}, hierarchy {only:?}: {found:?} spans of the one and of the other, not {wanted:?}"
            );
        }
    }
    Ok(())
}
