//! The exporter while the collector is away, and once it is back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod exporting;
mod reference;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use exporting::{
    Agent, LONG, Log, collector, collector_on, over_each_protocol, scripted, settings, until,
};
use mqspan::internals::config::{
    Exporters, FileExporter, HumanDuration, Otlp, SendingQueue, Size, Storage,
};
use mqspan::internals::export::{Exporter, Left};
use mqspan::internals::loss::{Loss, Losses};
use mqspan_testkit::collector::{Answer, Collector, Options, Protocol};
use mqspan_testkit::free_address;
use mqspan_testkit::otlp_json::traces_data_lines;
use mqspan_testkit::proxy::{Mode, TcpProxy};

over_each_protocol!(
    a_collector_may_come_late_go_and_come_back,
    a_collector_that_wants_new_connections_costs_no_span,
    the_last_batch_of_a_capture_that_panics_arrives,
    a_stalled_request_is_tried_again_on_a_new_connection,
    a_connection_reset_in_the_answer_is_tried_again,
    the_deadline_of_a_shutdown_leaves_what_it_must,
    a_shutdown_cuts_a_long_pause_short,
    a_full_queue_gives_up_what_is_new,
    sums_balance_under_load_and_trouble,
    a_queue_on_disk_keeps_spans_for_the_next_start,
);

/// Logged once while a collector is away.
const AWAY: &str = "the collector takes no spans";

/// Polls a counter, whose changes raise no event.
async fn until_counted(mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, wait)
        .await
        .expect("the counter did not move in time");
}

async fn a_collector_may_come_late_go_and_come_back(protocol: Protocol) {
    let log = Log::begin();
    let address = free_address().unwrap();
    let mut agent = Agent::start(settings(protocol, address));
    let sink = agent.exporter.otlp().unwrap().clone();
    agent.push(3);
    until_counted(|| log.count(AWAY) == 1).await;
    assert_eq!(sink.counters().exports.exported, 0);

    let first = collector_on(protocol, address);
    until_counted(|| sink.counters().exports.exported == 3).await;
    until_counted(|| log.count("takes spans again") == 1).await;
    first.kill().await.unwrap();

    agent.push(4);
    until_counted(|| log.count(AWAY) == 2).await;
    let second = collector_on(protocol, address);
    until_counted(|| sink.counters().exports.exported == 7).await;
    assert_eq!(second.count(), 4);
    agent.drain().await;
    assert!(log.text().contains("onnection refused"));
}

async fn a_collector_that_wants_new_connections_costs_no_span(protocol: Protocol) {
    let collector = Collector::start_with(Options {
        protocol,
        max_connection_age: Some(Duration::from_millis(20)),
        ..Options::default()
    })
    .unwrap();
    // Keeps some requests in flight when their connection ends.
    collector.answer(|_| Answer::Delay(Duration::from_millis(5)));
    let mut agent = Agent::start(settings(protocol, collector.address));
    let mut pushed = 0;
    for _ in 0..10_000 {
        if collector.seen().peers.len() >= 10 {
            break;
        }
        agent.push(4);
        pushed += 4;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let counters = agent.drain().await;
    assert!(collector.seen().peers.len() >= 10);
    assert_eq!(
        (counters.exports.exported, counters.lost),
        (pushed, Losses::default())
    );
    assert!(collector.count() as u64 >= pushed);
}

async fn the_last_batch_of_a_capture_that_panics_arrives(protocol: Protocol) {
    let collector = collector(protocol);
    let mut agent = Agent::start(settings(protocol, collector.address));
    agent.push(2);
    agent.hold(&[reference::receive()]);
    let Agent {
        sender, exporter, ..
    } = agent;
    let captured = mqspan::internals::panics::caught::<()>(move || {
        let _sender = sender;
        panic!("on purpose")
    });
    assert_eq!(captured.unwrap_err().to_string(), "a defect: on purpose");
    let left = exporter.shutdown(LONG).await;
    assert_eq!((collector.count(), left), (3, Left::default()));
}

async fn a_stalled_request_is_tried_again_on_a_new_connection(protocol: Protocol) {
    let log = Log::begin();
    let collector = scripted(protocol, [Answer::Stall, Answer::Stall]);
    let mut agent = Agent::start(Otlp {
        timeout: HumanDuration::millis(100),
        ..settings(protocol, collector.address)
    });
    agent.push(3);
    let counters = agent.drain().await;
    assert_eq!((counters.exports.exported, counters.retries), (3, 2));
    assert!(log.text().contains("cause=no answer within the timeout\n"));
}

async fn a_connection_reset_in_the_answer_is_tried_again(protocol: Protocol) {
    for after in [1, 9, 20, 40] {
        let collector = collector(protocol);
        let proxy = TcpProxy::start(collector.address).await.unwrap();
        proxy.set(Mode::ResetInResponse { after });
        let mut agent = Agent::start(settings(protocol, proxy.address));
        agent.push(3);
        proxy.wait_for_resets(1, LONG).await.unwrap();
        proxy.set(Mode::Open);
        let counters = agent.drain().await;
        assert_eq!(
            (counters.exports.exported, counters.retries),
            (3, 1),
            "{after}"
        );
        // At least once: the collector took the first attempt too.
        assert_eq!(collector.count(), 6);
    }
}

async fn the_deadline_of_a_shutdown_leaves_what_it_must(protocol: Protocol) {
    let mut agent = Agent::start(settings(protocol, free_address().unwrap()));
    for _ in 0..10 {
        agent.push(7);
    }
    let (counters, left) = agent.finish(Duration::from_millis(100)).await;
    assert_eq!(left.otlp_spans, 70);
    assert_eq!(counters.exports.exported, 0);

    let collector = scripted(protocol, vec![Answer::Stall; 4]);
    let mut agent = Agent::start(settings(protocol, collector.address));
    for _ in 0..10 {
        agent.push(7);
    }
    let (_, left) = agent.finish(Duration::from_millis(300)).await;
    assert_eq!(left.otlp_spans, 70);
}

async fn a_shutdown_cuts_a_long_pause_short(protocol: Protocol) {
    let refusal = tonic::Status::unavailable("later");
    let collector = scripted(protocol, [Answer::Refuse(refusal)]);
    let mut otlp = settings(protocol, collector.address);
    otlp.retry_on_failure.initial_interval = HumanDuration::seconds(3_600);
    otlp.retry_on_failure.max_interval = HumanDuration::seconds(3_600);
    let mut agent = Agent::start(otlp);
    agent.push(3);
    until(&collector, |seen| seen.came.len() == 1).await;
    assert_eq!(agent.drain().await.exports.exported, 3);
}

async fn a_full_queue_gives_up_what_is_new(protocol: Protocol) {
    let address = free_address().unwrap();
    let mut agent = Agent::start(Otlp {
        sending_queue: SendingQueue {
            queue_size: Size(16_000),
            ..SendingQueue::default()
        },
        ..settings(protocol, address)
    });
    for _ in 0..20 {
        agent.push(4);
    }
    let collector = collector_on(protocol, address);
    let counters = agent.drain().await;
    assert!(counters.exports.exported >= 12, "{counters:?}");
    let lost = [(Loss::QueueFull, 80 - counters.exports.exported)];
    assert_eq!(counters.lost, Losses::from_iter(lost));
    assert_eq!(collector.count() as u64, counters.exports.exported);
}

async fn sums_balance_under_load_and_trouble(protocol: Protocol) {
    let refuse = |code| Answer::Refuse(tonic::Status::new(code, "trouble"));
    let collector = scripted(
        protocol,
        (0..400).map(|at| match at % 8 {
            0 => refuse(tonic::Code::Unavailable),
            3 => refuse(tonic::Code::InvalidArgument),
            5 => Answer::partial(2, ""),
            _ => Answer::Accept,
        }),
    );
    let mut agent = Agent::start(settings(protocol, collector.address));
    for spans in 1..=300 {
        agent.push(spans % 17 + 2);
    }
    let counters = agent.drain().await;
    assert!(counters.exports.exported > 0 && counters.rejected.len() == 2 && counters.retries > 0);
    let partial = counters
        .rejected
        .iter()
        .find(|(name, _)| *name == "partial_success");
    // The mock also keeps the spans that it says it rejected.
    assert_eq!(
        collector.count() as u64,
        counters.exports.exported + partial.unwrap().1
    );
}

/// Exports to a file only.
fn into_file(path: &Path) -> Exporters {
    Exporters {
        otlp: Otlp {
            enabled: false,
            ..Otlp::default()
        },
        file: FileExporter {
            path: path.to_owned(),
            ..FileExporter::default()
        },
    }
}

#[tokio::test]
async fn the_file_gets_a_line_a_batch() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    let mut agent = Agent::start_with(&into_file(&path));
    let sink = agent.exporter.file().unwrap().clone();
    for spans in [3, 4] {
        agent.push(spans);
    }
    drop(agent.sender);
    let left = agent.exporter.shutdown(LONG).await;
    assert_eq!(left, Left::default());
    assert_eq!(sink.counters().exports.exported, 7);
    let text = std::fs::read_to_string(&path).unwrap();
    let spans: Vec<_> = text
        .lines()
        .map(|line| traces_data_lines(line).unwrap().len())
        .collect();
    assert_eq!(spans, [3, 4]);

    let missing = directory.path().join("none/spans.jsonl");
    let runtime = tokio::runtime::Handle::current();
    let error = Exporter::start(&into_file(&missing), &runtime).unwrap_err();
    assert!(error.to_string().contains("there is no directory"));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_costs_its_spans_only() {
    let mut agent = Agent::start_with(&into_file(Path::new("/dev/full")));
    let sink = agent.exporter.file().unwrap().clone();
    agent.push(3);
    agent.push(2);
    drop(agent.sender);
    agent.exporter.shutdown(LONG).await;
    let lost = Losses::from_iter([(Loss::Storage, 5)]);
    assert_eq!(sink.counters().lost, lost);
}

fn on_disk(protocol: Protocol, address: SocketAddr, directory: &Path) -> Otlp {
    Otlp {
        sending_queue: SendingQueue {
            storage: Storage {
                directory: directory.to_owned(),
                max_size: Size::mib(64),
            },
            ..SendingQueue::default()
        },
        ..settings(protocol, address)
    }
}

async fn a_queue_on_disk_keeps_spans_for_the_next_start(protocol: Protocol) {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(on_disk(protocol, free_address().unwrap(), directory.path()));
    for _ in 0..10 {
        agent.push(7);
    }
    let (_, left) = agent.finish(Duration::from_millis(100)).await;
    assert_eq!((left.otlp_spans, left.otlp_kept), (70, true));

    let collector = collector(protocol);
    let mut agent = Agent::start(on_disk(protocol, collector.address, directory.path()));
    agent.push(5);
    let counters = agent.drain().await;
    assert_eq!(counters.recovered, 70);
    assert_eq!((counters.exports.exported, collector.count()), (75, 75));

    let agent = Agent::start(on_disk(protocol, collector.address, directory.path()));
    assert_eq!(agent.drain().await.recovered, 0);
}

/// The child process of the next test, which kills it. Pushes, syncs nothing, and reports.
#[tokio::test]
#[ignore = "run by what_was_appended_survives_a_kill"]
async fn child_that_is_killed() {
    let protocol = Protocol::Grpc;
    let Ok(directory) = std::env::var("MQSPAN_TEST_DIRECTORY") else {
        return;
    };
    let mut agent = Agent::start(on_disk(
        protocol,
        free_address().unwrap(),
        directory.as_ref(),
    ));
    for _ in 0..10 {
        agent.push(7);
    }
    let sink = agent.exporter.otlp().unwrap().clone();
    // In flight means read back from disk, so everything before it was appended.
    until_counted(|| sink.counters().exports.in_flight == 28).await;
    println!("appended");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_was_appended_survives_a_kill() {
    let protocol = Protocol::Grpc;
    use std::io::{BufRead as _, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "child_that_is_killed",
        ])
        .env("MQSPAN_TEST_DIRECTORY", directory.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines
            .map(Result::unwrap)
            .any(|line| line.contains("appended"))
    );
    child.kill().unwrap();
    child.wait().unwrap();

    let collector = collector(protocol);
    let agent = Agent::start(on_disk(protocol, collector.address, directory.path()));
    let counters = agent.drain().await;
    // At least what consumers had read, and in whole batches.
    assert!(counters.exports.exported >= 28 && counters.exports.exported % 7 == 0);
    assert_eq!(counters.recovered, counters.exports.exported);
}
