//! Files of each kind, and who may read them.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::queue::MemoryQueue;
use super::*;
use crate::config::Size;
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

fn sink(path: &Path) -> (FileSink, Arc<BatchQueue>, Arc<Counters>, CancellationToken) {
    let output = Output::open(path).unwrap();
    let queue = Arc::new(BatchQueue::Memory(MemoryQueue::new(1 << 20)));
    let counters = Arc::<Counters>::default();
    let stop = CancellationToken::new();
    let sink = FileSink {
        queue: Arc::clone(&queue),
        counters: Arc::clone(&counters),
        output,
        config: FileExporter {
            path: path.to_owned(),
            ..FileExporter::default()
        },
        broken: false,
        cannot_rotate: false,
        reopen: Arc::default(),
        stop: stop.clone(),
    };
    (sink, queue, counters, stop)
}

/// An empty request that counts as `spans` spans.
fn batch(spans: u32) -> EncodedBatch {
    let bytes = ExportTraceServiceRequest::default().encode_to_vec().into();
    EncodedBatch { bytes, spans }
}

#[test]
fn a_pipe_without_a_reader_does_not_hold_up_the_start_and_spans_wait() {
    let directory = tempfile::tempdir().unwrap();
    let path = pipe(&directory);
    let (sink, queue, counters, _stop) = sink(&path);
    assert!(
        matches!(sink.output, Output::Unread(_)),
        "{:?}",
        sink.output
    );
    queue.push(batch(3)).unwrap();
    queue.close();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let writer = std::thread::spawn(move || sink.run(&handle));
    while counters.snapshot().exports.in_flight == 0 {
        std::thread::yield_now();
    }
    assert_eq!(counters.snapshot().exports.exported, 0);
    let mut line = String::new();
    File::open(&path)
        .unwrap()
        .read_to_string(&mut line)
        .unwrap();
    writer.join().unwrap();
    assert!(line.ends_with("}\n"), "{line:?}");
    assert_eq!(counters.snapshot().exports.exported, 3);
}

#[test]
fn a_pipe_that_never_has_a_reader_does_not_hold_up_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, queue, counters, stop) = sink(&pipe(&directory));
    queue.push(batch(3)).unwrap();
    queue.close();
    stop.cancel();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    sink.run(runtime.handle());
    let left = queue.level().spans + counters.snapshot().exports.in_flight;
    assert_eq!((left, counters.snapshot().exports.exported), (3, 0));
}

/// Writes `batches` batches and calls `between` after each but the last.
fn write(
    mut sink: FileSink,
    queue: &BatchQueue,
    batches: u32,
    mut between: impl FnMut(&mut FileSink),
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for number in 1..=batches {
        queue.push(batch(1)).unwrap();
        if number == batches {
            queue.close();
            sink.run(runtime.handle());
            return;
        }
        let lease = runtime.block_on(queue.pop()).unwrap();
        sink.counters.enter_flight(1);
        sink.take(&mut Vec::new(), lease);
        between(&mut sink);
    }
}

#[test]
fn full_files_are_renamed_and_the_oldest_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans");
    let (mut sink, queue, counters, _stop) = sink(&path);
    let mut line = Vec::new();
    json::traces_data_line(&mut line, &batch(1).bytes).unwrap();
    sink.config.max_size = Size(2 * line.len() as u64);
    sink.config.max_files = 2;
    sink.broken = true;
    write(sink, &queue, 9, |_| {});
    let lines = |name: &str| {
        let path = directory.path().join(name);
        fs::read_to_string(path)
            .ok()
            .map(|text| text.lines().count())
    };
    // The sink starts out broken, so a line break sets off its very first line.
    let names = ["spans", "spans.1", "spans.2", "spans.3"];
    assert_eq!(names.map(lines), [Some(2), Some(2), Some(2), None]);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(counters.snapshot().exports.exported, 9);
}

#[test]
fn a_file_that_cannot_be_renamed_grows_on() {
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (
        directory.path().join("spans"),
        directory.path().join("link"),
    );
    symlink(&path, &link).unwrap();
    let (mut sink, queue, counters, _stop) = sink(&link);
    sink.config.max_size = Size(1);
    write(sink, &queue, 3, |_| {});
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    assert!(link.is_symlink());
    assert_eq!(counters.snapshot().exports.exported, 3);
}

#[test]
fn a_renamed_file_is_left_alone_once_it_is_to_be_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans");
    let old = directory.path().join("old");
    let (sink, queue, counters, _stop) = sink(&path);
    let reopen = Arc::clone(&sink.reopen);
    write(sink, &queue, 2, |_| {
        fs::rename(&path, &old).unwrap();
        reopen.notify_one();
    });
    for file in [&old, &path] {
        assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 1);
        assert_eq!(mode(file), 0o600);
    }
    assert_eq!(counters.snapshot().exports.exported, 2);
}
