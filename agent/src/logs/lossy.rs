//! Log lines on their way to a reader that may be slow, stuck or gone.
//!
//! Lines go through a bounded queue to a thread that writes them. Nobody waits
//! for that thread: a line that finds no room is lost and counted, and so is one
//! that cannot be written. `non_blocking` of tracing-appender does the first, but
//! it forgets what could not be written, and its end prints to standard output,
//! which is where `exporters.file` may write spans.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Bytes of lines that may wait.
const ROOM_BYTES: usize = 256 << 10;
/// What a line takes besides its text.
const OVERHEAD_BYTES: usize = 64;

enum Message {
    Line(Vec<u8>),
    /// Asks to be told when all lines before it are written or lost.
    Flush(Sender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    lost: AtomicU64,
}

/// The way in. Each write is one line; no write fails or waits.
#[derive(Debug, Clone)]
pub(super) struct Lossy {
    messages: Sender<Message>,
    counts: Arc<Counts>,
}

impl Lossy {
    /// Starts the thread that writes to `out`. Once lines have been lost and one
    /// is written again, the thread calls `tell` with how many were lost.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (messages, received) = channel();
        let counts = Arc::<Counts>::default();
        let worker = Worker {
            received,
            counts: Arc::clone(&counts),
            out,
            tell,
            told: 0,
            is_broken: false,
            is_torn: false,
        };
        thread::Builder::new()
            .name("mqspan-log".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self { messages, counts })
    }

    /// Lines lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Waits until the lines so far are written or lost, but not for ever.
    /// Whether they are.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = channel();
        self.messages.send(Message::Flush(done)).is_ok() && wait.recv_timeout(patience).is_ok()
    }
}

impl Write for Lossy {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let size = line.len() + OVERHEAD_BYTES;
        let waiting = &self.counts.waiting_bytes;
        let has_room = waiting.fetch_add(size, Ordering::Relaxed) + size <= ROOM_BYTES;
        if !has_room || self.messages.send(Message::Line(line.to_vec())).is_err() {
            waiting.fetch_sub(size, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Worker<W, T> {
    received: Receiver<Message>,
    counts: Arc<Counts>,
    out: W,
    tell: T,
    /// How many of the lost lines `tell` was told.
    told: u64,
    /// The last line could not be written.
    is_broken: bool,
    /// A part of the last line may be there.
    is_torn: bool,
}

impl<W: Write, T: Fn(u64)> Worker<W, T> {
    fn run(mut self) {
        while let Ok(message) = self.received.recv() {
            let mut flushed = Vec::new();
            self.take(message, &mut flushed);
            self.take_all(&mut flushed);
            // There is room now for the line that this makes.
            self.tell_lost();
            if !flushed.is_empty() {
                self.take_all(&mut flushed);
            }
            for done in flushed {
                // Who waited may have given up.
                done.send(()).unwrap_or_default();
            }
        }
    }

    fn take_all(&mut self, flushed: &mut Vec<Sender<()>>) {
        while let Ok(message) = self.received.try_recv() {
            self.take(message, flushed);
        }
    }

    fn take(&mut self, message: Message, flushed: &mut Vec<Sender<()>>) {
        match message {
            Message::Line(line) => {
                self.write(&line);
                let size = line.len() + OVERHEAD_BYTES;
                self.counts.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            }
            Message::Flush(done) => flushed.push(done),
        }
    }

    fn write(&mut self, line: &[u8]) {
        let begun = if self.is_torn {
            self.out.write_all(b"\n")
        } else {
            Ok(())
        };
        self.is_broken = begun.and_then(|()| self.out.write_all(line)).is_err();
        self.is_torn = self.is_broken;
        if self.is_broken {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell_lost(&mut self) {
        let lost = self.counts.lost.load(Ordering::Relaxed);
        if !self.is_broken && lost > self.told {
            (self.tell)(lost - self.told);
            self.told = lost;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// What a reader does with what is written to it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Reader {
        Reads,
        IsStuck,
        IsGone,
        /// Takes half of a line, and no more.
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
            // The line begins anew after a part of another.
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
        // The thread may have taken one out before it got stuck.
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
}
