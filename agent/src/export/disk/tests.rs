//! Tests the queue on disk against a model, with crashes and damage.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::Size;

const MAX_SIZE: u64 = 40_000;

fn open(path: &Path, counters: &Arc<Counters>) -> DiskQueue {
    let config = Storage {
        directory: path.to_owned(),
        max_size: Size(MAX_SIZE),
    };
    DiskQueue::open(&config, u64::MAX, Arc::clone(counters)).unwrap()
}

/// A batch that begins with its id and contains the magic of records.
fn batch(id: u64, len: usize) -> EncodedBatch {
    let mut bytes = id.to_le_bytes().to_vec();
    while bytes.len() < len.max(8) {
        bytes.extend_from_slice(b"mqr1 and some text ");
    }
    EncodedBatch {
        bytes: bytes.into(),
        spans: id as u32 % 50 + 1,
    }
}

fn id(batch: &EncodedBatch) -> u64 {
    u64::from_le_bytes(batch.bytes[..8].try_into().unwrap())
}

fn size(path: &Path) -> u64 {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().map_or(0, |data| data.len()))
        .sum()
}

/// Copies the files as a crash would leave them.
fn crash(path: &Path) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        // The writer may be removing consumed segments.
        match fs::copy(entry.path(), left.path().join(entry.file_name())) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => panic!("{cause}"),
            _ => {}
        }
    }
    left
}

/// Applies what a power failure does to unsynced bytes. Those beyond `keep` bytes after the last
/// sync are gone. Some sectors of the rest never reached the disk and read as zeros.
fn lose_unsynced(left: &Path, synced: &BTreeMap<OsString, u64>, keep: u64, zeroed: &[bool]) {
    const SECTOR: u64 = 512;
    for entry in fs::read_dir(left).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_none_or(|ext| ext != "spans") {
            continue;
        }
        let from = synced.get(&entry.file_name()).copied().unwrap_or(0);
        let mut bytes = fs::read(entry.path()).unwrap();
        bytes.truncate(usize::try_from(from + keep).unwrap());
        let sectors = (from.div_ceil(SECTOR)..).map(|n| usize::try_from(n * SECTOR).unwrap());
        for (at, is_zeroed) in sectors.zip(zeroed) {
            let end = bytes.len().min(at + usize::try_from(SECTOR).unwrap());
            if let (true, Some(sector)) = (is_zeroed, bytes.get_mut(at..end)) {
                sector.fill(0);
            }
        }
        fs::write(entry.path(), bytes).unwrap();
    }
}

/// The newest segment that holds anything. A crash can come between creating a segment and writing
/// its first record.
fn last_segment(path: &Path) -> Option<std::path::PathBuf> {
    let paths = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "spans"))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .max()
}

#[derive(Debug, Clone)]
enum Op {
    Push(usize),
    Done,
    Hold,
    Sync,
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_usize..6_000).prop_map(Op::Push),
        3 => Just(Op::Done),
        1 => Just(Op::Hold),
        1 => Just(Op::Sync),
    ]
}

/// The state at the end of a run.
struct Run {
    queue: DiskQueue,
    counters: Arc<Counters>,
    /// Every batch, by id.
    pushed: BTreeMap<u64, EncodedBatch>,
    /// Ids of batches that were synced and are not done.
    owed: Vec<u64>,
    /// Length of each segment at the last sync, in bytes.
    synced: BTreeMap<OsString, u64>,
    held: Vec<Lease>,
}

async fn run(path: &Path, ops: &[Op]) -> Run {
    let counters = Arc::<Counters>::default();
    let mut run = Run {
        queue: open(path, &counters),
        counters,
        pushed: BTreeMap::new(),
        owed: Vec::new(),
        synced: BTreeMap::new(),
        held: Vec::new(),
    };
    let mut waiting = Vec::new();
    for op in ops {
        match op {
            Op::Push(len) => {
                let next = run.pushed.len() as u64;
                let lost = run.counters.snapshot().lost.total();
                run.pushed.insert(next, batch(next, *len));
                run.queue.push(batch(next, *len)).unwrap();
                run.queue.sync();
                assert!(size(path) <= MAX_SIZE);
                if run.counters.snapshot().lost.total() == lost {
                    waiting.push(next);
                    run.owed.push(next);
                }
            }
            Op::Done | Op::Hold if waiting.is_empty() => {}
            Op::Done => {
                let lease = run.queue.pop().await.unwrap();
                assert_eq!(id(&lease.batch), waiting.remove(0));
                run.owed.retain(|owed| *owed != id(&lease.batch));
                run.queue.done(&lease);
            }
            Op::Hold => {
                let lease = run.queue.pop().await.unwrap();
                assert_eq!(id(&lease.batch), waiting.remove(0));
                run.held.push(lease);
            }
            Op::Sync => run.queue.sync(),
        }
    }
    run.queue.sync();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let len = entry.metadata().map_or(0, |data| data.len());
        run.synced.insert(entry.file_name(), len);
    }
    run
}

/// Everything that a new process finds, and its counters.
async fn reopen(path: &Path) -> (Vec<EncodedBatch>, crate::export::counters::SinkCounts) {
    let counters = Arc::<Counters>::default();
    let queue = open(path, &counters);
    queue.close();
    let mut found = Vec::new();
    while let Some(lease) = queue.pop().await {
        found.push(lease.batch.clone());
        queue.done(&lease);
    }
    assert_eq!(queue.level().spans, 0);
    assert_eq!(queue.finish(), 0);
    (found, counters.snapshot())
}

fn spans<'a>(batches: impl IntoIterator<Item = &'a EncodedBatch>) -> u64 {
    batches
        .into_iter()
        .map(|batch| u64::from(batch.spans))
        .sum()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A power failure may lose unsynced bytes, at the end or anywhere in between.
    #[test]
    fn what_is_synced_and_not_done_comes_back(
        ops in proptest::collection::vec(any_op(), 1..60),
        unsynced in proptest::collection::vec(0_usize..3_000, 0..4),
        keep in 0_u64..10_000,
        zeroed in proptest::collection::vec(prop::bool::weighted(0.3), 0..20),
    ) {
        runtime().block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut run = run(directory.path(), &ops).await;
            for len in unsynced {
                let next = run.pushed.len() as u64;
                run.pushed.insert(next, batch(next, len));
                run.queue.push(batch(next, len)).unwrap();
            }
            let left = crash(directory.path());
            lose_unsynced(left.path(), &run.synced, keep, &zeroed);
            let (found, counters) = reopen(left.path()).await;
            let ids: Vec<_> = found.iter().map(id).collect();
            for owed in &run.owed {
                assert!(ids.contains(owed), "{owed} of {ids:?}");
            }
            assert!(ids.is_sorted_by(|a, b| a < b));
            for batch in &found {
                assert_eq!(batch, &run.pushed[&id(batch)]);
            }
            assert_eq!(counters.recovered, spans(&found) + counters.lost.total());
            // A second start finds nothing, because everything was consumed.
            let (again, _) = reopen(left.path()).await;
            assert_eq!(again, []);
        });
    }

    /// Damage loses only what it hits, is counted, and invents nothing.
    #[test]
    fn damage_is_counted(
        ops in proptest::collection::vec(any_op(), 10..60),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..9), 1..4),
    ) {
        runtime().block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let run = run(directory.path(), &ops).await;
            // Let the writer finish first. A segment that it starts during the copy would be
            // missing from it, which neither damage nor a crash can cause.
            run.queue.sync();
            let left = crash(directory.path());
            let mut files: Vec<_> = fs::read_dir(left.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| !path.ends_with("lock"))
                .collect();
            files.sort();
            for (file, offset, bit) in damage {
                if files.is_empty() {
                    continue;
                }
                let path = file.get(&files);
                let mut bytes = fs::read(path).unwrap();
                if bytes.is_empty() {
                    continue;
                }
                let at = offset.index(bytes.len());
                // The other test covers the end of the last segment.
                let is_last = Some(path) == last_segment(left.path()).as_ref();
                match bit {
                    8 if is_last => bytes[at] ^= 1,
                    // A segment cut to nothing looks consumed and removed, which leaves no trace.
                    8 => bytes.truncate(at.max(1)),
                    bit => bytes[at] ^= 1 << bit,
                }
                fs::write(path, bytes).unwrap();
            }
            let (found, counters) = reopen(left.path()).await;
            let ids: Vec<_> = found.iter().map(id).collect();
            assert!(ids.is_sorted_by(|a, b| a < b));
            for batch in &found {
                assert_eq!(batch, &run.pushed[&id(batch)]);
            }
            let missing: Vec<_> = run.owed.iter().filter(|id| !ids.contains(id)).collect();
            let missing_spans = spans(missing.iter().map(|id| &run.pushed[id]));
            assert!(
                missing_spans <= counters.lost.total()
                    || counters.corrupt_records > 0,
                "{missing:?} {counters:?}"
            );
            assert_eq!(counters.recovered, spans(&found) + counters.lost.total());
        });
    }
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let counters = Arc::<Counters>::default();
    let first = open(directory.path(), &counters);
    let config = Storage {
        directory: directory.path().to_owned(),
        max_size: Size(MAX_SIZE),
    };
    let error = DiskQueue::open(&config, 1, counters.clone()).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error:#}");
    drop(first);
    drop(open(directory.path(), &counters));
}

#[tokio::test]
async fn a_full_disk_queue_gives_up_what_is_new_and_has_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let counters = Arc::<Counters>::default();
    let queue = open(directory.path(), &counters);
    for id in 0..100 {
        queue.push(batch(id, 1_000)).unwrap();
    }
    queue.sync();
    let lost = counters.snapshot().lost.total();
    assert!(lost > 0 && size(directory.path()) <= MAX_SIZE);
    let mut found = 0;
    while queue.level().spans > 0 {
        let lease = queue.pop().await.unwrap();
        assert_eq!(id(&lease.batch), found);
        found += 1;
        queue.done(&lease);
    }
    assert!(found > 30);
    queue.push(batch(100, 30_000)).unwrap();
    queue.sync();
    assert_eq!(counters.snapshot().lost.total(), lost);
    assert_eq!(id(&queue.pop().await.unwrap().batch), 100);
}
