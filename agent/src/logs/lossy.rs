//! Writes log lines to a reader that may be slow, stuck or gone.
//!
//! Lines go through a bounded queue to a thread that writes them. Nobody waits
//! for that thread: a line that finds no room is lost and counted, and so is
//! one that cannot be written. `non_blocking` of tracing-appender does the
//! first, but it does not count lines that could not be written. When it ends
//! it prints to standard output, where `exporters.file` may write spans.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Limit on the bytes of lines that wait.
const ROOM_BYTES: usize = 256 << 10;
/// Bytes that a line takes besides its text.
const OVERHEAD_BYTES: usize = 64;

enum Message {
    Line(Vec<u8>),
    /// Asks for a reply when all lines before it are written or lost.
    Flush(Sender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    lost: AtomicU64,
}

/// The sending half. Each write is one line; no write fails or waits.
#[derive(Debug, Clone)]
pub(super) struct Lossy {
    messages: Sender<Message>,
    counts: Arc<Counts>,
}

impl Lossy {
    /// Starts the thread that writes to `out`. After lines were lost, the
    /// thread calls `tell` with their number once it can write again.
    ///
    /// # Errors
    /// If the thread cannot be started.
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

    pub(super) fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Waits until the lines so far are written or lost, for at most
    /// `patience`. Returns whether they are.
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
    /// How many lost lines `tell` has been told of.
    told: u64,
    /// The last line could not be written.
    is_broken: bool,
    /// Part of the last line may have been written.
    is_torn: bool,
}

impl<W: Write, T: Fn(u64)> Worker<W, T> {
    fn run(mut self) {
        while let Ok(message) = self.received.recv() {
            let mut flushed = Vec::new();
            self.take(message, &mut flushed);
            self.take_all(&mut flushed);
            // There is room now for the line that this call makes.
            self.tell_lost();
            if !flushed.is_empty() {
                self.take_all(&mut flushed);
            }
            for done in flushed {
                // The thread that waited may have given up.
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
mod tests;
