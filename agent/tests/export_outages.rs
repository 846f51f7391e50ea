//! What the exporter does without a collector, and when it is back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod collector;
mod oracle;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use collector::{Agent, Answer, Collector, Options, settings};
use mqspan::config::{Exporters, FileExporter, HumanDuration, Otlp, SendingQueue, Size, Storage};
use mqspan::export::{Exporter, Left};
use mqspan::loss::{Loss, Losses};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A port that nobody listens on, for now.
async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Waits for a counter, which no event tells of.
async fn until(mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("the counter did not move in time");
}

#[tokio::test]
async fn a_collector_may_come_late_go_and_come_back() {
    let address = free_address().await;
    let mut agent = Agent::start(settings(address));
    let sink = agent.exporter.otlp().unwrap().clone();
    agent.push(3);
    until(|| sink.counters().unreachable).await;
    assert_eq!(sink.counters().exported, 0);

    let options = || Options {
        address: Some(address),
        ..Options::default()
    };
    let first = Collector::start(options()).await;
    until(|| sink.counters().exported == 3).await;
    assert!(!sink.counters().unreachable);
    first.kill().await;

    agent.push(4);
    until(|| sink.counters().unreachable).await;
    let second = Collector::start(options()).await;
    until(|| sink.counters().exported == 7).await;
    assert_eq!(second.accepted(), 4);
    let counters = agent.drain().await;
    assert!(
        counters
            .last_error
            .unwrap()
            .text
            .contains("onnection refused")
    );
}

#[tokio::test]
async fn the_last_batch_of_a_capture_that_panics_arrives() {
    let collector = Collector::scripted(vec![]).await;
    let mut agent = Agent::start(settings(collector.address));
    agent.push(2);
    agent.hold(&[oracle::receive()]);
    let Agent {
        sender, exporter, ..
    } = agent;
    let captured = mqspan::panics::caught::<()>(move || {
        let _sender = sender;
        panic!("on purpose")
    });
    assert_eq!(captured.unwrap_err().to_string(), "a defect: on purpose");
    let left = exporter.shutdown(Duration::from_secs(20)).await;
    assert_eq!((collector.accepted(), left), (3, Left::default()));
}

#[tokio::test]
async fn a_stalled_request_is_tried_again_on_a_new_connection() {
    let collector = Collector::scripted(vec![Answer::Stall, Answer::Stall]).await;
    let mut agent = Agent::start(Otlp {
        timeout: HumanDuration::millis(100),
        ..settings(collector.address)
    });
    agent.push(3);
    let counters = agent.drain().await;
    assert_eq!((counters.exported, counters.retries), (3, 2));
    assert_eq!(
        counters.last_error.unwrap().text,
        "no answer within the timeout"
    );
}

/// Forwards; the first connection is reset `after` bytes into what the
/// collector sends once it has seen the request.
async fn cutting_proxy(collector: Collector, after: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(collector.address).await.unwrap();
        let (mut from_server, mut to_server) = server.split();
        let (mut from_client, mut to_client) = client.split();
        let there = async {
            tokio::io::copy(&mut from_client, &mut to_server)
                .await
                .unwrap();
        };
        let back = async {
            let mut left = None;
            let mut bytes = [0; 16];
            while left != Some(0) {
                let read = from_server.read(&mut bytes).await.unwrap();
                if left.is_none() && !collector.seen.borrow().requests.is_empty() {
                    left = Some(after);
                }
                let sent = left.map_or(read, |left| read.min(left));
                to_client.write_all(&bytes[..sent]).await.unwrap();
                left = left.map(|left| left - sent);
            }
        };
        tokio::select! { () = there => {}, () = back => {} }
        client.set_zero_linger().unwrap();
        drop((client, server));
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(collector.address).await.unwrap();
            tokio::spawn(async move {
                tokio::io::copy_bidirectional(&mut client, &mut server)
                    .await
                    .unwrap_or_default()
            });
        }
    });
    address
}

#[tokio::test]
async fn a_connection_reset_in_the_answer_is_tried_again() {
    for after in [1, 9, 20, 40] {
        let collector = Collector::scripted(Vec::new()).await;
        let seen = collector.seen.clone();
        let address = cutting_proxy(collector, after).await;
        let mut agent = Agent::start(settings(address));
        agent.push(3);
        let counters = agent.drain().await;
        assert_eq!((counters.exported, counters.retries), (3, 1), "{after}");
        // At least once: the collector took the first try too.
        assert_eq!(seen.borrow().accepted.len(), 6);
    }
}

#[tokio::test]
async fn the_deadline_of_a_shutdown_leaves_what_it_must() {
    let mut agent = Agent::start(settings(free_address().await));
    for _ in 0..10 {
        agent.push(7);
    }
    let (counters, left) = agent.finish(Duration::from_millis(100)).await;
    assert_eq!(left.otlp_spans, 70);
    assert_eq!(counters.exported, 0);

    let collector = Collector::scripted((0..4).map(|_| Answer::Stall).collect()).await;
    let mut agent = Agent::start(settings(collector.address));
    for _ in 0..10 {
        agent.push(7);
    }
    let (_, left) = agent.finish(Duration::from_millis(300)).await;
    assert_eq!(left.otlp_spans, 70);
}

#[tokio::test]
async fn a_shutdown_cuts_a_long_pause_short() {
    let refusal = tonic::Status::unavailable("later");
    let mut collector = Collector::scripted(vec![Answer::Refuse(refusal)]).await;
    let mut otlp = settings(collector.address);
    otlp.retry_on_failure.initial_interval = HumanDuration::seconds(3_600);
    otlp.retry_on_failure.max_interval = HumanDuration::seconds(3_600);
    let mut agent = Agent::start(otlp);
    agent.push(3);
    collector.until(|seen| seen.requests.len() == 1).await;
    assert_eq!(agent.drain().await.exported, 3);
}

#[tokio::test]
async fn a_full_queue_gives_up_what_is_new() {
    let address = free_address().await;
    let mut agent = Agent::start(Otlp {
        sending_queue: SendingQueue {
            queue_size: Size(10_000),
            ..SendingQueue::default()
        },
        ..settings(address)
    });
    for _ in 0..20 {
        agent.push(4);
    }
    let collector = Collector::start(Options {
        address: Some(address),
        ..Options::default()
    })
    .await;
    let counters = agent.drain().await;
    assert!(counters.exported >= 12, "{counters:?}");
    let lost = [(Loss::QueueFull, 80 - counters.exported)];
    assert_eq!(counters.lost, Losses::from_iter(lost));
    assert_eq!(collector.accepted() as u64, counters.exported);
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_balance_under_load_and_trouble() {
    let refuse = |code| Answer::Refuse(tonic::Status::new(code, "trouble"));
    let script = (0..400)
        .map(|at| match at % 8 {
            0 => refuse(tonic::Code::Unavailable),
            3 => refuse(tonic::Code::InvalidArgument),
            5 => Answer::Partial(2),
            _ => Answer::Ok,
        })
        .collect();
    let collector = Collector::scripted(script).await;
    let mut agent = Agent::start(settings(collector.address));
    for spans in 1..=300 {
        agent.push(spans % 17 + 2);
    }
    let counters = agent.drain().await;
    assert!(counters.exported > 0 && counters.rejected.len() == 2 && counters.retries > 0);
    let partial = counters
        .rejected
        .iter()
        .find(|(name, _)| *name == "partial_success");
    // The mock keeps also what it says that it rejected.
    assert_eq!(
        collector.accepted() as u64,
        counters.exported + partial.unwrap().1
    );
}

/// A file alone.
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
    let left = agent.exporter.shutdown(Duration::from_secs(20)).await;
    assert_eq!(left, Left::default());
    assert_eq!((sink.counters().pushed, sink.counters().exported), (7, 7));
    let text = std::fs::read_to_string(&path).unwrap();
    let spans: Vec<_> = text
        .lines()
        .map(|line| {
            let data: TracesData = serde_json::from_str(line).unwrap();
            data.resource_spans[0].scope_spans[0].spans.len()
        })
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
    agent.exporter.shutdown(Duration::from_secs(20)).await;
    assert_eq!(
        sink.counters().lost,
        Losses::from_iter([(Loss::Storage, 5)])
    );
    assert!(sink.counters().unreachable);
}

/// Settings with a queue on disk.
fn on_disk(address: SocketAddr, directory: &Path) -> Otlp {
    Otlp {
        sending_queue: SendingQueue {
            storage: Storage {
                directory: directory.to_owned(),
                max_size: Size::mib(64),
            },
            ..SendingQueue::default()
        },
        ..settings(address)
    }
}

#[tokio::test]
async fn a_queue_on_disk_keeps_spans_for_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(on_disk(free_address().await, directory.path()));
    for _ in 0..10 {
        agent.push(7);
    }
    let (_, left) = agent.finish(Duration::from_millis(100)).await;
    assert_eq!((left.otlp_spans, left.otlp_kept), (70, true));

    let collector = Collector::scripted(Vec::new()).await;
    let mut agent = Agent::start(on_disk(collector.address, directory.path()));
    agent.push(5);
    let counters = agent.drain().await;
    assert_eq!((counters.recovered, counters.pushed), (70, 5));
    assert_eq!((counters.exported, collector.accepted()), (75, 75));

    let agent = Agent::start(on_disk(collector.address, directory.path()));
    assert_eq!(agent.drain().await.recovered, 0);
}

/// The part of the next test that is killed: pushes, syncs nothing, says so.
#[tokio::test]
#[ignore = "run by what_was_appended_survives_a_kill"]
async fn child_that_is_killed() {
    let Ok(directory) = std::env::var("MQSPAN_TEST_DIRECTORY") else {
        return;
    };
    let mut agent = Agent::start(on_disk(free_address().await, directory.as_ref()));
    for _ in 0..10 {
        agent.push(7);
    }
    let sink = agent.exporter.otlp().unwrap().clone();
    // In flight means read back from disk, so all before it is appended.
    until(|| sink.counters().in_flight == 28).await;
    println!("appended");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_was_appended_survives_a_kill() {
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

    let collector = Collector::scripted(Vec::new()).await;
    let agent = Agent::start(on_disk(collector.address, directory.path()));
    let counters = agent.drain().await;
    // At least what consumers had read, and in whole batches.
    assert!(counters.exported >= 28 && counters.exported % 7 == 0);
    assert_eq!(counters.recovered, counters.exported);
}
