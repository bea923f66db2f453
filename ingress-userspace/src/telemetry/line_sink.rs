//! Lines on their way to stdout or stderr, without ever making a worker wait.
//!
//! A pipe whose reader stops would block whoever writes to it, and `O_NONBLOCK` cannot be set on it: the flag belongs
//! to the open file that we share with the shell, the container runtime or our parent, and would break their writes.
//! So a thread of its own writes, and may block. It is fed by a bounded queue; when that is full, lines are dropped
//! and counted, because serving requests is worth more than telling of them.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Some whole lines in one buffer.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The text; each line ends with a newline.
    pub(crate) text: Vec<u8>,
    /// How many lines.
    pub(crate) count: u64,
}

/// A bounded queue of lines and the thread that writes them.
#[derive(Debug)]
pub struct LineSink {
    queue: SyncSender<Lines>,
    dropped: Arc<AtomicU64>,
    closing: Arc<AtomicBool>,
    /// Disconnected when the writer has ended.
    done: Mutex<Receiver<()>>,
}

impl LineSink {
    /// Starts the writer thread. `capacity` bounds the buffers in the queue.
    pub(crate) fn spawn(name: &str, out: Box<dyn Write + Send>, capacity: usize) -> io::Result<Arc<Self>> {
        let (queue, lines) = sync_channel(capacity);
        let (done_sender, done) = sync_channel(0);
        let sink = Arc::new(Self {
            queue,
            dropped: Arc::default(),
            closing: Arc::default(),
            done: Mutex::new(done),
        });
        let writer = Writer {
            out,
            torn: false,
            dropped: Arc::clone(&sink.dropped),
            closing: Arc::clone(&sink.closing),
            _done: done_sender,
        };
        thread::Builder::new().name(name.to_owned()).spawn(move || writer.run(&lines))?;
        Ok(sink)
    }

    /// Hands lines over, or gives them back if the queue is full or the writer has ended.
    pub(crate) fn offer(&self, lines: Lines) -> Result<(), Lines> {
        self.queue.try_send(lines).map_err(|error| match error {
            TrySendError::Full(lines) | TrySendError::Disconnected(lines) => lines,
        })
    }

    /// Counts lines that nobody will see.
    pub(crate) fn count_dropped(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Lines dropped so far, because the reader was too slow or writing failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what is queued and ends the writer; waits no longer than `limit`, should the reader have stopped.
    /// Tells whether everything was written.
    pub(crate) fn close(&self, limit: Duration) -> bool {
        self.closing.store(true, Ordering::SeqCst);
        // Wakes a writer that waits. A full queue needs no waking: the writer sees the flag when it has emptied it.
        let _ = self.queue.try_send(Lines { text: Vec::new(), count: 0 });
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Stdout as a file without a buffer of its own.
pub(crate) fn stdout() -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
}

/// Stderr as a file.
pub(crate) fn stderr() -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
}

struct Writer {
    out: Box<dyn Write + Send>,
    /// Whether a failed write has left part of a line behind.
    torn: bool,
    dropped: Arc<AtomicU64>,
    closing: Arc<AtomicBool>,
    _done: SyncSender<()>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Lines>) {
        while let Ok(first) = queue.recv() {
            self.write(&first);
            loop {
                match queue.try_recv() {
                    Ok(lines) => self.write(&lines),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Writes a buffer, or drops it: a full disk or a closed pipe today may be open again tomorrow.
    fn write(&mut self, lines: &Lines) {
        if self.torn && self.write_all(b"\n").is_ok() {
            self.torn = false;
        }
        if self.write_all(&lines.text).is_err() {
            self.dropped.fetch_add(lines.count, Ordering::Relaxed);
        }
    }

    fn write_all(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            match self.out.write(text) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.torn |= written < text.len();
                    text = &text[written..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody else made the shared file non-blocking: wait as a blocking write would.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::park_timeout(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        }
        self.torn = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
