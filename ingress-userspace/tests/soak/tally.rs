//! What was seen.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts of one run, and what went wrong.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Bodies that arrived whole, every byte compared.
    pub(crate) whole: AtomicU64,
    /// Bytes that arrived, of these and of those that were cut.
    pub(crate) bytes: AtomicU64,
    /// Connections that an end left on purpose.
    pub(crate) cut: AtomicU64,
    /// Requests that had to be refused, and were.
    pub(crate) refused: AtomicU64,
    /// Times that nothing came for longer than the limit, although it had been sent.
    pub(crate) stalls: AtomicU64,
    /// The longest such time, in milliseconds.
    pub(crate) longest: AtomicU64,
    /// The longest time that may pass, without that for which this process was not given the processor.
    pub(crate) limit: Duration,
    pub(crate) failures: Mutex<Vec<String>>,
    begun: Instant,
}

/// How many failures are told.
const TOLD: usize = 20;

impl Tally {
    /// Nothing seen.
    pub(crate) fn new(limit: Duration) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            whole: zero(),
            bytes: zero(),
            cut: zero(),
            refused: zero(),
            stalls: zero(),
            longest: zero(),
            limit,
            failures: Mutex::default(),
            begun: Instant::now(),
        }
    }

    /// A body has arrived whole.
    pub(crate) fn arrived(&self) {
        self.whole.fetch_add(1, Relaxed);
    }

    /// An end has left on purpose.
    pub(crate) fn cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }

    /// A request was refused that had to be.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Bytes have arrived.
    pub(crate) fn moved(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Something went wrong on a connection.
    pub(crate) fn fail(&self, connection: u64, what: &str) {
        self.failures.lock().unwrap().push(format!("connection {connection}: {what}"));
    }

    /// Nothing came for so long. Each wait is counted once.
    pub(crate) fn waited(&self, before: Duration, now: Duration) -> bool {
        self.longest.fetch_max(now.as_millis() as u64, Relaxed);
        let stalled = before < self.limit && now >= self.limit;
        self.stalls.fetch_add(u64::from(stalled), Relaxed);
        stalled
    }

    /// Since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The failures, or none.
    pub(crate) fn told(&self) -> Option<String> {
        let failures = self.failures.lock().unwrap();
        let first: Vec<_> = failures.iter().take(TOLD).map(String::as_str).collect();
        (!failures.is_empty()).then(|| format!("{} failures:\n{}", failures.len(), first.join("\n")))
    }
}
