//! The metrics count every call.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use mqspan_testkit::collector::Collector;
use mqspan_testkit::free_address;
use mqspan_testkit::http;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::filter::ipc_namespace;
use super::limits::kernel_version;
use super::{Case, case};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::scrape::{scrape, sum, wait_for_metrics};
use crate::spawn::cannot_run;
use crate::truth::Call;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("metrics_count_messages", count_messages),
        case!("metrics_failures", failures),
        case!("metrics_exemplars", exemplars),
        case!("metrics_blocked_callers", blocked_callers),
        case!("metrics_blocked_filtered", blocked_filtered),
        case!("metrics_asked_for", asked_for),
        case!("metrics_queues_that_are_gone", queues_that_are_gone),
    ]
}

/// Files that users of Prometheus and Grafana get.
const ALERTS: &str = include_str!("../../../helm/mqspan/files/alerts.yaml");
const DASHBOARD: &str = include_str!("../../../config/grafana/mqspan.json");

/// The first metric that `asking` uses and `text` does not have. Where messages are not connected,
/// the time in the queue is not required.
fn missing(asking: &'static str, text: &str, sees_messages: bool) -> Option<&'static str> {
    let of_agent = |word: &str| {
        [
            "mqspan_",
            "messaging_client_",
            "posix_mq_",
            "otel_",
            "process_cpu_",
            "process_memory_",
        ]
        .iter()
        .any(|start| word.starts_with(start))
    };
    let is_label = |word: &str| {
        [
            "posix_mq_ipc_namespace",
            "posix_mq_errno",
            "mqspan_outcome",
            "mqspan_loss_reason",
        ]
        .contains(&word)
    };
    let names: Vec<&str> = asking
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| of_agent(word) && !is_label(word))
        .filter(|name| sees_messages || !name.starts_with("posix_mq_time_in_queue"))
        .collect();
    if names.len() < 5 {
        return Some("more than a few metrics");
    }
    names.into_iter().find(|name| {
        !text.lines().any(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
    })
}

/// Alerts and dashboard use only metrics that a running agent has.
async fn asked_for(bench: &'static Bench) -> Result<()> {
    let prometheus = free_address()?;
    let collector = Collector::start()?;
    let config = json!({
        "capture": {"ring_buffer_size": "64KiB"},
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    // The metric of whose calls are lost exists only once some are.
    agent.pause()?;
    let flood = Workload::new(bench.workload()?, &["flood", "2000"])?;
    flood.run_untold(bench).await?;
    agent.go_on()?;
    // The ring has no room for the calls below until it has been drained.
    wait_for_metrics(bench, prometheus, 10, |text| {
        let lost = sum(text, "mqspan_owner_call_lost_total", &[]);
        let told = sum(
            text,
            "mqspan_call_count_total",
            &["mqspan_outcome=\"exported\""],
        );
        (lost == 0.0 || told == 0.0).then(|| "no call is lost, or none is told".to_owned())
    })
    .await?;
    let paced = Workload::new(bench.workload()?, &["paced", "20"])?;
    paced.run(bench).await?;
    let filled = Workload::new(bench.workload()?, &["filled"])?;
    let held = filled.hold(bench).await?;
    for asking in [ALERTS, DASHBOARD] {
        wait_for_metrics(bench, prometheus, 10, |text| {
            missing(asking, text, bench.backend.sees_messages())
                .map(|name| format!("{name} is asked for and not there"))
        })
        .await?;
    }
    held.release(bench).await?;
    agent.stop_balanced(bench).await?;
    Ok(())
}

/// The counts are exact although only one span in ten is kept, and the metrics name their
/// deployment.
async fn count_messages(bench: &'static Bench) -> Result<()> {
    let prometheus = free_address()?;
    let collector = Collector::start()?;
    let config = json!({
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
        "sampling": {"ratio": 0.1},
        "resource": {"attributes": {"deployment.environment.name": "e2e"}},
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let workload = Workload::new(bench.workload()?, &["paced", "500"])?;
    let calls = workload.run(bench).await?;
    let queue = calls
        .iter()
        .find_map(|call| call.queue.as_deref())
        .unwrap_or("(none)");
    let of_queue = [format!("messaging_destination_name=\"{queue}\"")];
    let of_queue: Vec<_> = of_queue.iter().map(String::as_str).collect();
    let wanted = [
        ("messaging_client_sent_messages_total", 500.0),
        ("messaging_client_consumed_messages_total", 500.0),
    ];
    wait_for_metrics(bench, prometheus, 10, |text| {
        let got = wanted.map(|(name, _)| sum(text, name, &of_queue));
        let right = got == wanted.map(|(_, count)| count);
        (!right).then(|| format!("{got:?}, not {wanted:?}"))
    })
    .await?;
    let text = scrape(prometheus).await?;
    let of_deployment = ["deployment_environment_name=\"e2e\""];
    ensure!(sum(&text, "target_info", &of_deployment) == 1.0, "{text}");
    agent.stop_well(bench).await
}

/// A failed send counts as an attempt. A failure has its errno, and `error.type` if it is an error.
async fn failures(bench: &'static Bench) -> Result<()> {
    let prometheus = free_address()?;
    let collector = Collector::start()?;
    let config = json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let workload = Workload::new(bench.workload()?, &["basic"])?;
    let calls = workload.run(bench).await?;
    let of_queue = format!("messaging_destination_name=\"{}", workload.prefix());
    let (sent, took) = (
        "messaging_client_sent_messages_total",
        "messaging_client_operation_duration_seconds_count",
    );
    let errno = |name: &str| format!("posix_mq_errno=\"{name}\"");
    let error = |name: &str| format!("error_type=\"{name}\"");
    let count = |is_it: &dyn Fn(&Call) -> bool| calls.iter().filter(|call| is_it(call)).count();
    let ended = |call: &Call, name: &str| call.error_name.as_deref() == Some(name);
    let is_on_a_queue = |call: &Call| call.queue.is_some();
    let wanted = [
        (sent, vec![], count(&|c| c.is_send() && is_on_a_queue(c))),
        (
            sent,
            vec![errno("ETIMEDOUT")],
            count(&|c| c.is_send() && ended(c, "ETIMEDOUT")),
        ),
        (
            sent,
            vec![errno("EMSGSIZE"), error("EMSGSIZE")],
            count(&|c| c.is_send() && ended(c, "EMSGSIZE")),
        ),
        (
            took,
            vec![
                errno("ETIMEDOUT"),
                "messaging_operation_type=\"receive\"".to_owned(),
            ],
            count(&|c| c.is_receive() && ended(c, "ETIMEDOUT")),
        ),
        (
            took,
            vec![
                error("ETIMEDOUT"),
                "messaging_operation_type=\"receive\"".to_owned(),
            ],
            0,
        ),
    ];
    let some = wanted.iter().filter(|(_, _, count)| *count > 0).count();
    ensure!(some == wanted.len() - 1, "{wanted:?}");
    wait_for_metrics(bench, prometheus, 10, |text| {
        wanted.iter().find_map(|(name, labels, count)| {
            let labels = labels.iter().chain([&of_queue]).map(String::as_str);
            let labels: Vec<_> = labels.collect();
            let got = sum(text, name, &labels);
            #[allow(clippy::cast_precision_loss)]
            let is_right = got == *count as f64;
            (!is_right).then(|| format!("{got} {name} {labels:?}, not {count}"))
        })
    })
    .await?;
    agent.stop_balanced(bench).await?;
    Ok(())
}

/// Trace and span ids of the exemplars of a metric in the format of OpenMetrics.
fn exemplar_ids(text: &str, name: &str) -> Result<Vec<(String, String)>> {
    let lines = text.lines().filter(|line| line.starts_with(name));
    let exemplars = lines.filter_map(|line| line.split_once(" # {trace_id=\""));
    exemplars
        .map(|(_, rest)| {
            let (trace_id, rest) = rest.split_once("\",span_id=\"").context("no span id")?;
            let (span_id, _) = rest.split_once('"').context("an end")?;
            Ok((trace_id.to_owned(), span_id.to_owned()))
        })
        .collect()
}

/// Who asks for OpenMetrics gets exemplars, all of spans that the collector got.
async fn exemplars(bench: &'static Bench) -> Result<()> {
    let prometheus = free_address()?;
    let collector = Collector::start()?;
    let config = json!({
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
        "sampling": {"ratio": 0.5},
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let workload = Workload::new(bench.workload()?, &["paced", "100"])?;
    workload.run(bench).await?;
    let accept = "application/openmetrics-text; version=1.0.0";
    let give_up = tokio::time::Instant::now() + bench.bound(10);
    let took = "messaging_client_operation_duration_seconds_bucket";
    let ids = loop {
        let text = http::get_as(prometheus, "/metrics", accept).await?.body;
        ensure!(text.ends_with("\n# EOF\n"), "{text}");
        let ids = exemplar_ids(&text, took)?;
        if ids.len() > 1 {
            break ids;
        }
        ensure!(tokio::time::Instant::now() < give_up, "{text}");
        tokio::time::sleep(agent::POLL).await;
    };
    let plain = scrape(prometheus).await?;
    ensure!(
        !plain.contains("trace_id") && !plain.contains("# EOF"),
        "{plain}"
    );
    agent.stop_balanced(bench).await?;
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let spans = collector.spans();
    let known = |(trace_id, span_id): &(String, String)| {
        spans
            .iter()
            .any(|s| hex(&s.span.trace_id) == *trace_id && hex(&s.span.span_id) == *span_id)
    };
    let unknown: Vec<_> = ids.iter().filter(|ids| !known(ids)).collect();
    ensure!(unknown.is_empty(), "{unknown:?} of {ids:?}");
    Ok(())
}

/// As many callers are counted as are blocked, and none once they are released.
async fn blocked_callers(bench: &'static Bench) -> Result<()> {
    let prometheus = free_address()?;
    let collector = Collector::start()?;
    let config = json!({"metrics": {"prometheus": {"address": prometheus.to_string()}}});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let workload = Workload::new(bench.workload()?, &["blocked", "100", "hold"])?;
    let held = workload.hold(bench).await?;
    // A caller that the backend missed, as it warned, is not known to be blocked.
    let at_least = if agent.may_miss() { 95.0 } else { 100.0 };
    wait_for_callers(bench, prometheus, at_least..=100.0).await?;
    held.release(bench).await?;
    wait_for_callers(bench, prometheus, 0.0..=0.0).await?;
    agent.stop_well(bench).await
}

/// Each filter also applies to callers that were blocked before the agent started: eight on one
/// queue, and one of another program on another.
async fn blocked_filtered(bench: &'static Bench) -> Result<()> {
    let many = Workload::new(bench.workload32()?, &["blocked", "8", "hold"])?;
    let one = Workload::new(bench.workload()?, &["filled"])?;
    let held = [many.hold(bench).await?, one.hold(bench).await?];
    let comm = many.program().file_name().unwrap_or_default();
    let others = [
        (
            json!({"exclude": {"comms": [comm.to_string_lossy()]}}),
            [0, 1],
        ),
        (json!({"exclude": {"uids": [0]}}), [0, 0]),
    ];
    for (filter, counted) in others {
        let (agent, _collector) = start_filtered(bench, &filter, [&many, &one], counted).await?;
        agent.stop_well(bench).await?;
    }
    let filter = json!({
        "include": {"namespaces": [ipc_namespace()?]},
        "exclude": {"queues": ["*.blocked"]},
    });
    let (agent, collector) = start_filtered(bench, &filter, [&many, &one], [0, 1]).await?;
    // Calls that are left out become no spans when they return.
    for held in held {
        held.release(bench).await?;
    }
    let balance = agent.stop_balanced(bench).await?;
    ensure!(balance.filtered >= 8, "{balance:?}");
    let spans = collector.spans();
    let on = |ending| spans.iter().filter(move |s| s.span.name.ends_with(ending));
    let (left_out, wanted) = (on(".blocked").count(), on(".waits").count());
    ensure!(
        left_out == 0 && wanted > 0,
        "{left_out} spans of calls that are left out, {wanted} of others"
    );
    Ok(())
}

/// Starts an agent. Checks how many callers it counts as blocked on the queues of each workload,
/// and that it counts the others as filtered.
async fn start_filtered(
    bench: &'static Bench,
    filter: &Value,
    held: [&Workload; 2],
    counted: [u32; 2],
) -> Result<(Agent, Collector)> {
    let prometheus = free_address()?;
    let collector = Collector::start()?;
    let config = json!({
        "metrics": {"prometheus": {"address": prometheus.to_string()}},
        "filter": filter,
    });
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let left_out = f64::from(9 - counted.iter().sum::<u32>());
    wait_for_metrics(bench, prometheus, 10, |text| {
        let callers = held.map(|workload| {
            let queues = format!("messaging_destination_name=\"{}.", workload.prefix());
            sum(text, "posix_mq_blocked_caller_count", &[&queues])
        });
        let filtered = sum(text, "mqspan_call_count_total", &["filtered"]);
        (callers != counted.map(f64::from) || filtered < left_out)
            .then(|| format!("{callers:?} callers, not {counted:?}; {filtered} filtered"))
    })
    .await
    .with_context(|| filter.to_string())?;
    Ok((agent, collector))
}

/// A queue has a depth as long as it exists, whoever removes it: here `rm`, and the end of its IPC
/// namespace. Its series stay for `metrics.series_timeout` after that.
async fn queues_that_are_gone(bench: &'static Bench) -> Result<()> {
    let prometheus = free_address()?;
    let collector = Collector::start()?;
    let config = json!({"metrics": {
        "prometheus": {"address": prometheus.to_string()},
        "otlp": {"interval": "1s"},
        "series_timeout": "15s",
    }});
    let agent = Agent::sending_to(bench, &collector, config).await?;
    let removed = Workload::new(bench.workload()?, &["left"])?;
    removed.run(bench).await?;
    let with_namespace = Workload::new(bench.workload()?, &["left"])?;
    run("unshare", |unshare| {
        unshare.arg("--ipc").args(with_namespace.command_line())
    })
    .await?;
    // On older kernels, only time shows that a queue is gone.
    let is_told = kernel_version()? >= (5, 11);
    if is_told {
        wait_for_depths(bench, prometheus, [&removed, &with_namespace], [8.0, 0.0]).await?;
    }

    let dir = TempDir::with_prefix("mqspan-e2e")?;
    run("mount", |mount| {
        mount.args(["-t", "mqueue", "mqueue"]).arg(dir.path())
    })
    .await?;
    let file = format!("{}.left", removed.prefix().trim_start_matches('/'));
    let gone = std::fs::remove_file(dir.path().join(file));
    run("umount", |umount| umount.arg(dir.path())).await?;
    gone?;
    if is_told {
        wait_for_depths(bench, prometheus, [&removed, &with_namespace], [0.0, 0.0]).await?;
    } else {
        wait_for_metrics(bench, prometheus, 30, |text| {
            let depth = sum(text, "posix_mq_queue_depth", &[".left\""]);
            (depth != 0.0).then(|| format!("queues that are gone have a depth of {depth}"))
        })
        .await?;
    }
    wait_for_metrics(bench, prometheus, 40, |text| {
        let sent = sum(text, "messaging_client_sent_messages_total", &[".left\""]);
        (sent != 0.0).then(|| format!("{sent} sends to queues that are gone are still told"))
    })
    .await?;
    agent.stop_well(bench).await
}

async fn run(program: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
    let output = with(&mut Command::new(program))
        .output()
        .await
        .map_err(cannot_run(program))?;
    ensure!(output.status.success(), "{program}: {output:?}");
    Ok(())
}

/// Waits until all sends are counted and the depths are as `wanted`. A missing depth counts as 0.
async fn wait_for_depths(
    bench: &Bench,
    prometheus: SocketAddr,
    of: [&Workload; 2],
    wanted: [f64; 2],
) -> Result<()> {
    wait_for_metrics(bench, prometheus, 10, |text| {
        let each = of.map(|workload| {
            let queue = format!("messaging_destination_name=\"{}.left\"", workload.prefix());
            let sent = sum(text, "messaging_client_sent_messages_total", &[&queue]);
            (sent, sum(text, "posix_mq_queue_depth", &[&queue]))
        });
        let wanted = wanted.map(|depth| (8.0, depth));
        (each != wanted).then(|| format!("sends and depths are {each:?}, not {wanted:?}"))
    })
    .await
}

async fn wait_for_callers(
    bench: &Bench,
    prometheus: SocketAddr,
    wanted: RangeInclusive<f64>,
) -> Result<()> {
    let labels = ["\"/e2e.", "messaging_operation_type=\"receive\""];
    wait_for_metrics(bench, prometheus, 10, |text| {
        let callers = sum(text, "posix_mq_blocked_caller_count", &labels);
        (!wanted.contains(&callers)).then(|| format!("{callers} blocked callers, not {wanted:?}"))
    })
    .await
}
