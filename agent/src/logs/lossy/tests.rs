use std::sync::{Condvar, Mutex};

use super::*;

const SOON: Duration = Duration::from_secs(30);

/// How a reader behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Reads,
    IsStuck,
    IsGone,
    /// Takes half a line, then goes away.
    TakesHalf,
}

#[derive(Clone)]
struct Pipe {
    state: Arc<Mutex<(Reader, Vec<u8>)>>,
    changed: Arc<Condvar>,
}

impl Pipe {
    fn new(reader: Reader) -> Self {
        Self {
            state: Arc::new(Mutex::new((reader, Vec::new()))),
            changed: Arc::default(),
        }
    }

    fn set(&self, reader: Reader) {
        self.state.lock().unwrap().0 = reader;
        self.changed.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.state.lock().unwrap().1.clone()).unwrap()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.state.lock().unwrap();
        let stuck = |state: &mut (Reader, Vec<u8>)| state.0 == Reader::IsStuck;
        let mut state = self.changed.wait_while(state, stuck).unwrap();
        let size = match state.0 {
            Reader::IsGone => return Err(io::ErrorKind::BrokenPipe.into()),
            Reader::TakesHalf => {
                state.0 = Reader::IsGone;
                bytes.len() / 2
            }
            _ => bytes.len(),
        };
        state.1.extend_from_slice(&bytes[..size]);
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start(pipe: &Pipe) -> Lossy {
    let told = Arc::new(Mutex::new(None::<Lossy>));
    let tell = {
        let told = Arc::clone(&told);
        move |lost| {
            let mut lines = told.lock().unwrap().clone().unwrap();
            writeln!(lines, "{lost} lost").unwrap();
        }
    };
    let lossy = Lossy::start(pipe.clone(), tell).unwrap();
    *told.lock().unwrap() = Some(lossy.clone());
    lossy
}

#[test]
fn lines_come_in_order_and_a_flush_waits_for_them() {
    let pipe = Pipe::new(Reader::Reads);
    let mut lossy = start(&pipe);
    for line in ["a\n", "b\n", "c\n"] {
        lossy.write_all(line.as_bytes()).unwrap();
    }
    assert!(lossy.flush(SOON));
    assert_eq!((pipe.text().as_str(), lossy.lost()), ("a\nb\nc\n", 0));
}

#[test]
fn a_reader_that_has_gone_costs_lines_which_are_told_when_there_is_one_again() {
    for (reader, cut) in [(Reader::IsGone, ""), (Reader::TakesHalf, "12\n")] {
        let pipe = Pipe::new(reader);
        let mut lossy = start(&pipe);
        for line in ["1234", "5678"] {
            lossy.write_all(line.as_bytes()).unwrap();
            assert!(lossy.flush(SOON));
        }
        assert_eq!(lossy.lost(), 2);
        pipe.set(Reader::Reads);
        lossy.write_all(b"here\n").unwrap();
        assert!(lossy.flush(SOON));
        // After a failed or partial write, the next line starts on a line of its own.
        let begin = if cut.is_empty() { "\n" } else { cut };
        assert_eq!(pipe.text(), format!("{begin}here\n2 lost\n"), "{reader:?}");
        lossy.write_all(b"again\n").unwrap();
        assert!(lossy.flush(SOON));
        assert!(pipe.text().ends_with("2 lost\nagain\n"), "{}", pipe.text());
    }
}

#[test]
fn a_reader_that_is_stuck_keeps_nobody_waiting_and_memory_bounded() {
    let pipe = Pipe::new(Reader::IsStuck);
    let mut lossy = start(&pipe);
    let line = [b'x'; 1000];
    let lines = 2 * ROOM_BYTES / line.len();
    for _ in 0..lines {
        lossy.write_all(&line).unwrap();
    }
    assert!(lossy.counts.waiting_bytes.load(Ordering::Relaxed) <= ROOM_BYTES);
    let lost = lossy.lost();
    let fit = (ROOM_BYTES / (line.len() + OVERHEAD_BYTES)) as u64;
    // The thread may have taken one line out before it got stuck.
    assert!(
        (lines as u64 - fit - 1..=lines as u64 - fit).contains(&lost),
        "{lost}"
    );
    assert!(!lossy.flush(Duration::ZERO));
    pipe.set(Reader::Reads);
    assert!(lossy.flush(SOON));
    assert!(pipe.text().ends_with(&format!("{lost} lost\n")));
    assert_eq!(lossy.counts.waiting_bytes.load(Ordering::Relaxed), 0);
}
