//! How the source does, for metrics: counts that the source writes and a scrape reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ingress_core::objects::Kind;

/// How a request for a Secret ended.
#[derive(Clone, Copy)]
pub(super) enum ReadResult {
    Found,
    Absent,
    Forbidden,
    Failed,
}

const READ_RESULTS: [(ReadResult, &str); 4] = [
    (ReadResult::Found, "found"),
    (ReadResult::Absent, "absent"),
    (ReadResult::Forbidden, "forbidden"),
    (ReadResult::Failed, "failed"),
];

/// The state of the API source.
pub struct SourceState {
    kinds: Vec<KindState>,
    demanded: AtomicU64,
    reads: [AtomicU64; READ_RESULTS.len()],
}

/// The state of the watches of one kind.
struct KindState {
    kind: Kind,
    watches: u64,
    connected: AtomicU64,
    relists: AtomicU64,
    errors: AtomicU64,
    /// Milliseconds since the epoch.
    last_event: AtomicU64,
}

/// The state of the watches of one kind at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindSnapshot {
    /// The kind.
    pub kind: Kind,
    /// Whether every watch of it stands.
    pub connected: bool,
    /// Lists after the first.
    pub relists: u64,
    /// Lists and watches that failed.
    pub errors: u64,
    /// When the API server last said anything about it, since the epoch.
    pub last_event: Duration,
}

impl SourceState {
    /// For these kinds, each with its number of watches.
    pub(super) fn new(kinds: impl IntoIterator<Item = (Kind, usize)>) -> Self {
        let kind = |(kind, watches)| KindState {
            kind,
            watches: watches as u64,
            connected: AtomicU64::new(0),
            relists: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            last_event: AtomicU64::new(0),
        };
        let kinds = kinds.into_iter().map(kind).collect();
        Self { kinds, demanded: AtomicU64::new(0), reads: Default::default() }
    }

    fn with(&self, kind: Kind, count: impl Fn(&KindState)) {
        self.kinds.iter().filter(|state| state.kind == kind).for_each(count);
    }

    pub(super) fn connected(&self, kind: Kind, connected: bool) {
        self.with(kind, |state| {
            if connected {
                state.connected.fetch_add(1, Ordering::Relaxed);
            } else {
                state.connected.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }

    pub(super) fn relisted(&self, kind: Kind) {
        self.with(kind, |state| _ = state.relists.fetch_add(1, Ordering::Relaxed));
    }

    pub(super) fn failed(&self, kind: Kind) {
        self.with(kind, |state| _ = state.errors.fetch_add(1, Ordering::Relaxed));
    }

    pub(super) fn heard(&self, kind: Kind, now: Duration) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.with(kind, |state| state.last_event.store(millis, Ordering::Relaxed));
    }

    pub(super) fn set_demanded(&self, demanded: usize) {
        self.demanded.store(demanded as u64, Ordering::Relaxed);
    }

    pub(super) fn count_read(&self, result: ReadResult) {
        self.reads[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The state of each kind.
    pub fn kinds(&self) -> impl Iterator<Item = KindSnapshot> {
        self.kinds.iter().map(|state| KindSnapshot {
            kind: state.kind,
            connected: state.connected.load(Ordering::Relaxed) == state.watches,
            relists: state.relists.load(Ordering::Relaxed),
            errors: state.errors.load(Ordering::Relaxed),
            last_event: Duration::from_millis(state.last_event.load(Ordering::Relaxed)),
        })
    }

    /// How many Secrets are demanded.
    pub fn demanded(&self) -> u64 {
        self.demanded.load(Ordering::Relaxed)
    }

    /// Requests for Secrets, by how they ended.
    pub fn reads(&self) -> impl Iterator<Item = (&'static str, u64)> {
        READ_RESULTS
            .iter()
            .map(|(result, word)| (*word, self.reads[*result as usize].load(Ordering::Relaxed)))
    }
}
