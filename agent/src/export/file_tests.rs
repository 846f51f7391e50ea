//! Files of each kind, and who may read them.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::queue::MemoryQueue;
use super::*;
use crate::encode::EncodedBatch;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_new_file_is_for_this_user_and_an_old_one_keeps_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.json");
    for (before, line) in [(0o600, "a\n"), (0o640, "b\n")] {
        if path.exists() {
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
        }
        Output::open(&path).unwrap().write(line.as_bytes()).unwrap();
        assert_eq!(mode(&path), before);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    Output::open(&link).unwrap().write(b"c\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\nc\n");
}

#[test]
fn devices_can_be_written_to() {
    for device in ["/dev/stdout", "/dev/null"] {
        let output = Output::open(Path::new(device));
        assert!(
            matches!(output, Ok(Output::File(_))),
            "{device}: {output:?}"
        );
    }
    let error = format!("{:#}", Output::open(Path::new("/nowhere/x")).unwrap_err());
    assert!(error.contains("there is no directory /nowhere"), "{error}");
}

fn pipe(directory: &tempfile::TempDir) -> PathBuf {
    let path = directory.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path
}

fn sink(output: Output) -> (FileSink, Arc<Queue>, Arc<Counters>, CancellationToken) {
    let queue = Arc::new(Queue::Memory(MemoryQueue::new(1 << 20)));
    let counters = Arc::<Counters>::default();
    let stop = CancellationToken::new();
    let sink = FileSink {
        queue: Arc::clone(&queue),
        counters: Arc::clone(&counters),
        output,
        broken: false,
        stop: stop.clone(),
    };
    (sink, queue, counters, stop)
}

/// An empty request counted as so many spans.
fn batch(spans: u32) -> EncodedBatch {
    let bytes = ExportTraceServiceRequest::default().encode_to_vec().into();
    EncodedBatch { bytes, spans }
}

#[test]
fn a_pipe_without_a_reader_does_not_hold_up_the_start_and_spans_wait() {
    let directory = tempfile::tempdir().unwrap();
    let path = pipe(&directory);
    let output = Output::open(&path).unwrap();
    assert!(matches!(output, Output::Unread(_)), "{output:?}");
    let (sink, queue, counters, _stop) = sink(output);
    queue.push(batch(3)).unwrap();
    queue.close();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let writer = std::thread::spawn(move || sink.run(&handle));
    while counters.snapshot().in_flight == 0 {
        std::thread::yield_now();
    }
    assert_eq!(counters.snapshot().exported, 0);
    let mut line = String::new();
    File::open(&path)
        .unwrap()
        .read_to_string(&mut line)
        .unwrap();
    writer.join().unwrap();
    assert!(line.ends_with("}\n"), "{line:?}");
    assert_eq!(counters.snapshot().exported, 3);
}

#[test]
fn a_pipe_that_never_has_a_reader_does_not_hold_up_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, queue, counters, stop) = sink(Output::open(&pipe(&directory)).unwrap());
    queue.push(batch(3)).unwrap();
    queue.close();
    stop.cancel();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    sink.run(runtime.handle());
    let left = queue.level().spans + counters.snapshot().in_flight;
    assert_eq!((left, counters.snapshot().exported), (3, 0));
}
